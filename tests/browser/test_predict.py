"""A picture comes in, its class and its kin come out, or why they do not."""

import io
import re

import pytest
from PIL import Image

from tests.browser.conftest import Open, PageLog
from tests.support.images import KINDS, striped_image
from tests.support.page_objects import (
    KIND,
    Route,
    accessibility_violations,
    drop,
    expect,
    png_image,
    row,
    scores,
    send_file,
)


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_given_gets_its_class_and_two_rows_of_kin(visit: Open, event: str) -> None:
    page = visit()
    send_file(page, png_image(), event)
    expect(page.locator(".row")).to_have_count(2)
    expect(page.get_by_role("heading", level=1)).to_have_text(KINDS[KIND])
    bars = page.get_by_role("list", name="Probability of each class").get_by_role("listitem")
    expect(bars).to_have_count(10)
    expect(bars.first).to_contain_text(KINDS[KIND])
    for layer in ("conv2", "logits"):
        found = scores(page, layer)
        assert len(found) == 6
        assert found == sorted(found, reverse=True)


def test_a_chosen_file_works_like_a_dropped_one(visit: Open) -> None:
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": png_image()})
    expect(page.get_by_role("heading", level=1)).to_have_text(KINDS[KIND])


def test_the_query_is_shown_as_the_network_sees_it(visit: Open) -> None:
    page = visit()
    small = Image.fromarray(striped_image(KIND, 7_000))
    wide = Image.new("RGB", (64, 32), "red")
    wide.paste(small, (16, 0))
    stream = io.BytesIO()
    wide.save(stream, "PNG")
    drop(page, stream.getvalue())
    seen = page.evaluate(
        """() => {
          const canvas = document.querySelector(".query-images canvas");
          return [...canvas.getContext("2d").getImageData(0, 0, 32, 32).data];
        }"""
    )
    assert bytes(seen) == small.convert("RGBA").tobytes()


def test_a_neighbour_of_another_class_is_marked_by_more_than_colour(visit: Open) -> None:
    page = visit()
    between = Image.blend(
        Image.fromarray(striped_image(1, 0)), Image.fromarray(striped_image(KIND, 0)), 0.5
    )
    stream = io.BytesIO()
    between.save(stream, "PNG")
    drop(page, stream.getvalue())
    for button in page.get_by_role("button", name="Show 6 more").all()[::-1]:
        button.click()
    answer = page.get_by_role("heading", level=1).inner_text().removesuffix("?")
    cards = page.locator(".row .card").all()
    differing = [card for card in cards if card.locator(".card-label").inner_text() != answer]
    assert len(cards) == 24
    assert differing
    for card in cards:
        assert card.locator(".mismatch-mark").count() == int(card in differing)
        spoken = card.get_by_role("button").get_attribute("aria-label") or ""
        assert (f"not {answer}" in spoken) == (card in differing)


def test_more_neighbours_are_shown_on_demand(visit: Open) -> None:
    page = visit()
    drop(page)
    row(page, "logits").get_by_role("button", name="Show 6 more").click()
    expect(row(page, "logits").locator(".card")).to_have_count(12)


def test_a_gallery_picture_is_classified_and_told_from_its_label(visit: Open) -> None:
    page = visit()
    page.locator(".examples a.card-action").first.click()
    expect(page.locator(".true-label")).to_have_text(
        re.compile(r"^It is (right|mistaken): the label is")
    )


def test_an_own_picture_does_not_outlive_its_tab_and_the_page_says_so(visit: Open) -> None:
    page = visit("/#/picture/1")
    expect(page.get_by_role("alert")).to_contain_text("Give it again")


def test_what_is_no_picture_is_refused_in_words_beside_it(visit: Open, page_log: PageLog) -> None:
    page = visit()
    send_file(page, b"not a picture at all", name="a.txt", kind="text/plain")
    refusal = page.locator(".prediction").get_by_role("alert")
    expect(refusal).to_be_visible()
    assert len(refusal.inner_text()) > 20
    drop(page)
    # The browser itself reports the refused request on its console.
    assert all("415" in said or "400" in said for said in page_log.said)
    page_log.said.clear()


def test_an_unknown_image_is_said_to_be_unknown(visit: Open, page_log: PageLog) -> None:
    page = visit("/#/image/nobody")
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    assert all("404" in said for said in page_log.said)
    page_log.said.clear()


@pytest.mark.parametrize(
    ("familiar", "novelty", "said"),
    [
        (
            False,
            0.996,
            "Unfamiliar: more than 99 % of the held-out pictures are more like what the network",
        ),
        (False, 1.0, "Unfamiliar: all of the held-out pictures are more like"),
        (True, 0.3, "Confident: "),
        (None, None, "Confident: "),
    ],
)
def test_doubt_is_said_plainly_where_the_picture_is_unfamiliar(
    visit: Open, familiar: bool | None, novelty: float | None, said: str
) -> None:
    page = visit()

    def answer(route: Route) -> None:
        told = {"familiar": familiar, "novelty": novelty}
        route.fulfill(json={**route.fetch().json(), **told})

    page.route("**/predict*", answer)
    drop(page)
    expect(page.locator(".confidence")).to_contain_text(said)
    guess = familiar is False
    expect(page.locator(".prediction-lead")).to_have_text(
        "The network can only guess" if guess else "The network says"
    )
    expect(page.get_by_role("heading", level=1)).to_have_text(KINDS[KIND] + "?" * guess)


def test_without_pixels_every_neighbour_is_a_labelled_tile(
    visit_without_pixels: Open, page_log: PageLog
) -> None:
    page = visit_without_pixels()
    drop(page)
    expect(page.locator(".row .placeholder")).to_have_count(12)
    page.get_by_role("link", name="Find similar").first.click()
    expect(page.locator(".prediction-lead")).to_have_text("It is labelled")
    expect(page.locator(".confidence")).to_contain_text("The network took it for")
    row(page, "conv2").locator("button.card-action").first.click()
    expect(page.get_by_role("gridcell")).to_have_count(64)
    assert accessibility_violations(page) == []
    assert not [url for url in page_log.asked if url.endswith("/image")]


@pytest.mark.parametrize(("size", "inside"), [((96, 48), (24, 0)), ((48, 96), (0, 24))])
def test_what_is_cut_off_to_make_a_square_is_veiled_on_the_original(
    visit: Open, size: tuple[int, int], inside: tuple[int, int]
) -> None:
    page = visit()
    drop(page, png_image(size=size))
    whole = page.locator("figure.original img").bounding_box()
    mark = page.locator(".crop-mark").bounding_box()
    assert whole is not None
    assert mark is not None
    scale = whole["width"] / size[0]
    found = [(mark[side] - whole[side]) / scale for side in ("x", "y")]
    assert found == pytest.approx(inside, abs=1)
    assert mark["width"] == pytest.approx(mark["height"], abs=1)


def test_the_first_pictures_offered_are_of_every_class(visit: Open) -> None:
    page = visit()
    page.locator(".examples .card").first.wait_for()
    assert page.locator(".examples .card-label").all_inner_texts() == list(KINDS) * 2


@pytest.mark.parametrize("address", ["/", "/#/gallery", "drop"])
def test_pictures_are_crisp_in_whole_multiples_of_their_pixels_and_in_true_colours(
    visit: Open, address: str
) -> None:
    page = visit("/" if address == "drop" else address)
    if address == "drop":
        drop(page)
    page.locator(".card .pixels").first.wait_for()
    looks = page.evaluate(
        """() => [...document.querySelectorAll(".pixels")].map((shown) => {
          const style = getComputedStyle(shown);
          return [shown.getBoundingClientRect().width % 32, style.imageRendering, style.filter];
        })"""
    )
    assert {tuple(look) for look in looks} == {(0, "pixelated", "none")}


def test_what_the_browser_cannot_show_is_no_broken_picture(visit: Open, page_log: PageLog) -> None:
    page = visit()
    send_file(page, b"not a picture at all", name="a.png")
    expect(page.locator(".original")).to_contain_text("This browser cannot show it")
    expect(page.locator(".original img")).to_have_count(0)
    expect(page.locator(".prediction").get_by_role("alert")).to_be_visible()
    page_log.said.clear()
