"""The predict view: an uploaded image, its class and its neighbours, or an error."""

import io
import re

import pytest
from PIL import Image

from tests.browser.conftest import OpenPage, PageLog
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
def test_an_uploaded_image_gets_its_class_and_two_rows_of_neighbours(
    open_page: OpenPage, event: str
) -> None:
    page = open_page()
    send_file(page, png_image(), event)
    expect(page.locator(".row")).to_have_count(2)
    expect(page.get_by_role("heading", level=1)).to_have_text(KINDS[KIND])
    bars = page.get_by_role("list", name="Probability of each class").get_by_role("listitem")
    expect(bars).to_have_count(10)
    expect(bars.first).to_contain_text(KINDS[KIND])
    for layer in ("conv2", "logits"):
        cosines = scores(page, layer)
        assert len(cosines) == 6
        assert cosines == sorted(cosines, reverse=True)


def test_an_image_can_be_chosen_as_a_file(open_page: OpenPage) -> None:
    page = open_page()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose an image").click()
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": png_image()})
    expect(page.get_by_role("heading", level=1)).to_have_text(KINDS[KIND])


def test_the_query_is_shown_as_the_network_receives_it(open_page: OpenPage) -> None:
    page = open_page()
    small = Image.fromarray(striped_image(KIND, 7_000))
    wide = Image.new("RGB", (64, 32), "red")
    wide.paste(small, (16, 0))
    stream = io.BytesIO()
    wide.save(stream, "PNG")
    drop(page, stream.getvalue())
    shown = page.evaluate(
        """() => {
          const canvas = document.querySelector(".query-images canvas");
          return [...canvas.getContext("2d").getImageData(0, 0, 32, 32).data];
        }"""
    )
    assert bytes(shown) == small.convert("RGBA").tobytes()


def test_a_neighbour_of_another_class_is_marked_by_a_sign_and_in_its_name(
    open_page: OpenPage,
) -> None:
    page = open_page()
    blend = Image.blend(
        Image.fromarray(striped_image(1, 0)), Image.fromarray(striped_image(KIND, 0)), 0.5
    )
    stream = io.BytesIO()
    blend.save(stream, "PNG")
    drop(page, stream.getvalue())
    for button in page.get_by_role("button", name="Show 6 more").all()[::-1]:
        button.click()
    predicted = page.get_by_role("heading", level=1).inner_text().removesuffix("?")
    cards = page.locator(".row .card").all()
    differing = [card for card in cards if card.locator(".card-label").inner_text() != predicted]
    assert len(cards) == 24
    assert differing
    for card in cards:
        assert card.locator(".mismatch-mark").count() == int(card in differing)
        name = card.get_by_role("button").get_attribute("aria-label") or ""
        assert (f"not {predicted}" in name) == (card in differing)


def test_more_neighbours_are_shown_on_demand(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    row(page, "logits").get_by_role("button", name="Show 6 more").click()
    expect(row(page, "logits").locator(".card")).to_have_count(12)


def test_the_class_of_a_gallery_image_is_compared_with_its_label(open_page: OpenPage) -> None:
    page = open_page()
    page.locator(".examples a.card-action").first.click()
    expect(page.locator(".true-label")).to_have_text(
        re.compile(r"^It is (right|mistaken): the label is")
    )


def test_the_address_of_an_upload_of_another_tab_asks_for_the_image_again(
    open_page: OpenPage,
) -> None:
    page = open_page("/#/picture/1")
    expect(page.get_by_role("alert")).to_contain_text("Upload it again")


def test_a_file_that_is_no_image_shows_an_error_beside_it(
    open_page: OpenPage, page_log: PageLog
) -> None:
    page = open_page()
    send_file(page, b"not an image at all", name="a.txt", kind="text/plain")
    error = page.locator(".prediction").get_by_role("alert")
    expect(error).to_be_visible()
    assert len(error.inner_text()) > 20
    drop(page)
    # The browser itself reports the refused request on its console.
    assert all("415" in text or "400" in text for text in page_log.messages)
    page_log.messages.clear()


def test_an_unknown_gallery_id_shows_an_error(open_page: OpenPage, page_log: PageLog) -> None:
    page = open_page("/#/image/unknown-id")
    expect(page.get_by_role("alert")).to_contain_text("unknown-id")
    assert all("404" in text for text in page_log.messages)
    page_log.messages.clear()


@pytest.mark.parametrize(
    ("familiar", "novelty", "message"),
    [
        (
            False,
            0.996,
            "Unfamiliar: more than 99 % of the held-out images are more like what the network",
        ),
        (False, 1.0, "Unfamiliar: all of the held-out images are more like"),
        (True, 0.3, "Confident: "),
        (None, None, "Confident: "),
    ],
)
def test_the_page_warns_of_an_unfamiliar_image(
    open_page: OpenPage, familiar: bool | None, novelty: float | None, message: str
) -> None:
    page = open_page()

    def respond(route: Route) -> None:
        result = route.fetch().json()
        route.fulfill(json={**result, "familiar": familiar, "novelty": novelty})

    page.route("**/predict?*", respond)
    drop(page)
    expect(page.locator(".confidence")).to_contain_text(message)
    guess = familiar is False
    expect(page.locator(".prediction-lead")).to_have_text(
        "The network can only guess" if guess else "The network says"
    )
    expect(page.get_by_role("heading", level=1)).to_have_text(KINDS[KIND] + "?" * guess)


def test_neighbours_without_pixels_are_explained(
    open_page_without_pixels: OpenPage, page_log: PageLog
) -> None:
    page = open_page_without_pixels()
    drop(page)
    page.get_by_role("link", name="Find similar").first.click()
    expect(page.locator(".prediction-lead")).to_have_text("It is labelled")
    expect(page.locator(".confidence")).to_contain_text("The network took it for")
    row(page, "conv2").locator("button.card-action").first.click()
    expect(page.get_by_role("gridcell")).to_have_count(64)
    assert accessibility_violations(page) == []
    assert not [url for url in page_log.requests if url.endswith("/image")]


@pytest.mark.parametrize(("size", "expected"), [((96, 48), (24, 0)), ((48, 96), (0, 24))])
def test_the_centre_crop_is_marked_on_the_original(
    open_page: OpenPage, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    page = open_page()
    drop(page, png_image(size=size))
    whole = page.locator("figure.original img").bounding_box()
    mark = page.locator(".crop-mark").bounding_box()
    assert whole is not None
    assert mark is not None
    scale = whole["width"] / size[0]
    offset = [(mark[side] - whole[side]) / scale for side in ("x", "y")]
    assert offset == pytest.approx(expected, abs=1)
    assert mark["width"] == pytest.approx(mark["height"], abs=1)


def test_the_example_images_include_every_class(open_page: OpenPage) -> None:
    page = open_page()
    page.locator(".examples .card").first.wait_for()
    assert page.locator(".examples .card-label").all_inner_texts() == list(KINDS) * 2


@pytest.mark.parametrize("address", ["/", "/#/gallery", "drop"])
def test_images_are_scaled_by_whole_numbers_without_smoothing_or_filter(
    open_page: OpenPage, address: str
) -> None:
    page = open_page("/" if address == "drop" else address)
    if address == "drop":
        drop(page)
    page.locator(".card .pixels").first.wait_for()
    styles = page.evaluate(
        """() => [...document.querySelectorAll(".pixels:not(.photo)")].map((shown) => {
          const style = getComputedStyle(shown);
          return [shown.getBoundingClientRect().width % 32, style.imageRendering, style.filter];
        })"""
    )
    assert {tuple(style) for style in styles} == {(0, "pixelated", "none")}


def test_a_file_that_the_browser_cannot_show_gets_a_text_instead(
    open_page: OpenPage, page_log: PageLog
) -> None:
    page = open_page()
    send_file(page, b"not an image at all", name="a.png")
    expect(page.locator(".original")).to_contain_text("This browser cannot show it")
    expect(page.locator(".original img")).to_have_count(0)
    expect(page.locator(".prediction").get_by_role("alert")).to_be_visible()
    page_log.messages.clear()
