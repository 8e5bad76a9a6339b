"""The page as people use it: with a mouse, a keyboard, a phone, a screen reader."""

import base64
import io
import re
import statistics

import pytest
from PIL import Image

from tests.browser.conftest import Open, Watched
from tests.browser.gestures import (
    GIVE,
    KIND,
    PHONE,
    Route,
    drop,
    expect,
    give,
    grave,
    number,
    overflow,
    picture,
    row,
    scores,
    shoot,
)
from tests.pictures import KINDS, stripes

VIEWS = {"look": "/", "gallery": "/#/gallery", "experiments": "/#/experiments"}


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_given_gets_its_class_and_two_rows_of_kin(visit: Open, event: str) -> None:
    page = visit()
    give(page, picture(), event)
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
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": picture()})
    expect(page.get_by_role("heading", level=1)).to_have_text(KINDS[KIND])


def test_the_query_is_shown_as_the_network_sees_it(visit: Open) -> None:
    page = visit()
    small = Image.fromarray(stripes(KIND, 7_000))
    wide = Image.new("RGB", (64, 32), "red")
    wide.paste(small, (16, 0))
    stream = io.BytesIO()
    wide.save(stream, "PNG")
    drop(page, stream.getvalue())
    seen = page.evaluate(
        """() => {
          const canvas = document.querySelector(".query-pictures canvas");
          return [...canvas.getContext("2d").getImageData(0, 0, 32, 32).data];
        }"""
    )
    assert bytes(seen) == small.convert("RGBA").tobytes()


def test_a_neighbour_of_another_class_is_marked_by_more_than_colour(visit: Open) -> None:
    page = visit()
    between = Image.blend(Image.fromarray(stripes(1, 0)), Image.fromarray(stripes(KIND, 0)), 0.5)
    stream = io.BytesIO()
    between.save(stream, "PNG")
    drop(page, stream.getvalue())
    for button in page.get_by_role("button", name="Show 6 more").all()[::-1]:
        button.click()
    answer = page.get_by_role("heading", level=1).inner_text()
    cards = page.locator(".row .card").all()
    differing = [card for card in cards if card.locator(".card-label").inner_text() != answer]
    assert len(cards) == 24
    assert differing
    for card in cards:
        assert card.locator(".differs").count() == int(card in differing)
        spoken = card.get_by_role("button").get_attribute("aria-label") or ""
        assert (f"not {answer}" in spoken) == (card in differing)


def test_more_neighbours_are_shown_on_demand(visit: Open) -> None:
    page = visit()
    drop(page)
    row(page, "logits").get_by_role("button", name="Show 6 more").click()
    expect(row(page, "logits").locator(".card")).to_have_count(12)


def test_the_map_lies_over_both_pictures_and_adds_up_to_the_score(visit: Open) -> None:
    page = visit()
    drop(page)
    [score, *_] = scores(page, "conv2")
    row(page, "conv2").locator("button.look").first.click()
    cells = page.get_by_role("grid").get_by_role("gridcell")
    expect(cells).to_have_count(64)
    expect(page.locator(".mapped .cell")).to_have_count(128)
    spoken = [cell.get_attribute("aria-label") or "" for cell in cells.all()]
    terms = [number(text.split(": ")[1].split(",")[0]) for text in spoken]
    assert sum(terms) == pytest.approx(score, abs=64 * 5e-5 + 5e-4)
    said = re.search(
        r"64 cells add up to (\d\.\d+); the score is (\d\.\d+)", page.inner_text(".why")
    )
    assert said is not None
    assert float(said[1]) == pytest.approx(float(said[2]), abs=1e-3)


def test_pointing_at_a_cell_tells_its_share_on_both_pictures(visit: Open) -> None:
    page = visit()
    drop(page)
    row(page, "conv2").locator("button.look").first.click()
    page.locator(".mapped").last.locator(".cell").nth(8 * 2 + 5).hover()
    expect(page.locator(".readout")).to_contain_text("at row 3, column 6")
    expect(page.locator(".cell.pointed")).to_have_count(2)


def test_at_the_output_the_classes_add_up_to_the_score(visit: Open) -> None:
    page = visit()
    drop(page)
    row(page, "logits").locator("button.look").nth(1).click()
    bars = page.get_by_role("list", name="Share of each class in the score").get_by_role("listitem")
    expect(bars).to_have_count(10)
    terms = [number(text) for text in bars.locator(".bar-figure").all_inner_texts()]
    assert sum(terms) == pytest.approx(scores(page, "logits")[1], abs=6e-3)
    expect(page.locator(".why")).to_contain_text("The 10 classes add up to")


def test_one_explanation_is_open_at_a_time(visit: Open) -> None:
    page = visit()
    drop(page)
    row(page, "conv2").locator("button.look").first.click()
    row(page, "logits").locator("button.look").first.click()
    expect(page.locator(".why")).to_have_count(1)
    expect(page.locator("button.look[aria-expanded=true]")).to_have_count(1)


def test_walking_to_a_neighbour_and_back_again(visit: Open) -> None:
    page = visit()
    drop(page)
    before = scores(page, "conv2")
    page.get_by_role("link", name="Look from here").first.click()
    expect(page.locator(".query-pictures")).to_contain_text("From the gallery")
    walked = page.url
    assert "#/image/" in walked
    page.go_back()
    expect(page.locator(".query-pictures")).to_contain_text("Your picture")
    assert scores(page, "conv2") == before
    page.go_forward()
    expect(page.locator(".query-pictures")).to_contain_text("From the gallery")
    assert page.url == walked


def test_a_shared_address_opens_the_same_view(visit: Open) -> None:
    page = visit()
    page.locator(".offered a.look").first.click()
    row(page, "conv2").locator("button.look").nth(2).click()
    expect(page.locator(".why")).to_have_count(1)
    address = "/#" + page.url.split("#")[1]
    title, why = page.title(), page.inner_text(".why")
    other = visit(address)
    expect(other.locator(".why")).to_have_count(1)
    assert (other.title(), other.inner_text(".why")) == (title, why)


def test_a_gallery_picture_is_classified_and_told_from_its_label(visit: Open) -> None:
    page = visit()
    page.locator(".offered a.look").first.click()
    expect(page.locator(".truth")).to_have_text(
        re.compile(r"^It is (right|mistaken): the label is")
    )


def test_an_own_picture_does_not_outlive_its_tab_and_the_page_says_so(visit: Open) -> None:
    page = visit("/#/picture/1")
    expect(page.get_by_role("alert")).to_contain_text("Give it again")


def test_what_is_no_picture_is_refused_in_words_beside_it(visit: Open, watched: Watched) -> None:
    page = visit()
    give(page, b"not a picture at all", name="a.txt", kind="text/plain")
    refusal = page.locator(".answer").get_by_role("alert")
    expect(refusal).to_be_visible()
    assert len(refusal.inner_text()) > 20
    drop(page)
    # The browser itself reports the refused request on its console.
    assert all("415" in said or "400" in said for said in watched.said)
    watched.said.clear()


def test_an_unknown_image_is_said_to_be_unknown(visit: Open, watched: Watched) -> None:
    page = visit("/#/image/nobody")
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    assert all("404" in said for said in watched.said)
    watched.said.clear()


def test_the_page_says_that_it_works_when_an_answer_takes_long(visit: Open) -> None:
    page = visit()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict*", hold)
    give(page, picture())
    expect(page.locator("#busy")).to_be_visible(timeout=2_000)
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    held.pop().continue_()
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


def test_the_gallery_pages_on_by_class(visit: Open) -> None:
    page = visit("/#/gallery")
    expect(page.locator(".gallery .card")).to_have_count(60)
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("link", name="Previous page")).to_be_visible()
    assert page.locator(".gallery .card").count() <= 60
    page.get_by_role("link", name="Previous page").click()
    expect(page.get_by_role("link", name="Previous page")).to_have_count(0)
    page.get_by_role("link", name=KINDS[KIND], exact=True).click()
    expect(page.locator(".classes [aria-current]")).to_have_text(KINDS[KIND])
    for link in page.locator(".gallery a.look").all():
        assert (link.get_attribute("aria-label") or "").startswith(f"Look from {KINDS[KIND]},")


def test_without_pixels_every_neighbour_is_a_labelled_tile(
    visit_without_pixels: Open, watched: Watched
) -> None:
    page = visit_without_pixels()
    drop(page)
    expect(page.locator(".row .lettered")).to_have_count(12)
    page.get_by_role("link", name="Look from here").first.click()
    expect(page.locator(".says")).to_have_text("It is labelled")
    expect(page.locator(".certainty")).to_contain_text("The network took it for")
    row(page, "conv2").locator("button.look").first.click()
    expect(page.get_by_role("gridcell")).to_have_count(64)
    assert grave(page) == []
    assert not [url for url in watched.asked if url.endswith("/image")]


def test_everything_can_be_reached_by_keyboard_alone(visit: Open) -> None:
    page = visit()
    page.locator(".offered a.look").first.wait_for()
    focused = "document.activeElement"

    def tab_to(selector: str, limit: int = 60) -> None:
        for _ in range(limit):
            page.keyboard.press("Tab")
            if page.evaluate(f"{focused}.matches({selector!r})"):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to(".skip", limit=1)
    tab_to(".ways-in button")
    tab_to(".offered a.look")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(2)
    tab_to("button.look")
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.matches('.why h3')")
    tab_to("[role=gridcell]")
    assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none"
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    expect(page.locator(".readout")).to_contain_text("at row 1,")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".readout")).to_contain_text("at row 2,")
    page.keyboard.press("Escape")
    expect(page.locator(".why")).to_have_count(0)
    assert page.evaluate(f"{focused}.matches('button.look')")
    tab_to("a.walk")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize(
    ("familiar", "novelty", "said"),
    [
        (
            False,
            0.996,
            "A guess: more than 99 % of held-out pictures are more like what the network knows",
        ),
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
    expect(page.locator(".certainty")).to_contain_text(said)


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_sticks_out_of_a_phone(visit: Open, view: str) -> None:
    page = visit(VIEWS[view], **PHONE)
    expect(page.locator(".card, .confusion").first).to_be_visible()
    assert overflow(page) <= 0
    shoot(page, f"{view}-phone")


def test_the_explanation_fits_a_phone(visit: Open) -> None:
    page = visit("/", **PHONE)
    drop(page)
    row(page, "conv2").locator("button.look").first.click()
    assert overflow(page) <= 0
    row(page, "logits").locator("button.look").first.click()
    assert overflow(page) <= 0
    shoot(page, "why-phone")


def test_nothing_moves_for_those_who_want_it_still(visit: Open) -> None:
    page = visit("/", reduced_motion="reduce")
    page.evaluate("document.getElementById('busy').hidden = false")
    moving = page.evaluate("document.getAnimations().length")
    assert moving == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Open, scheme: str) -> None:
    for name, address in VIEWS.items():
        page = visit(address, color_scheme=scheme)
        expect(page.locator(".card, .confusion").first).to_be_visible()
        assert grave(page) == [], name
        shoot(page, f"{name}-{scheme}")
    page = visit("/", color_scheme=scheme)
    drop(page)
    for layer in ("conv2", "logits"):
        row(page, layer).locator("button.look").first.click()
        assert grave(page) == [], layer
        shoot(page, f"{layer}-{scheme}")


def test_from_the_drop_to_the_rows_is_a_blink(
    visit: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    page = visit()
    times = []
    for seed in range(20):
        content = picture(seed=8_000 + seed)
        carried = ["drop", base64.b64encode(content).decode(), "a.png", "image/png"]
        times.append(
            page.evaluate(
                f"""async (carried) => {{
                  document.querySelectorAll(".row").forEach((row) => row.remove());
                  const started = performance.now();
                  ({GIVE})(carried);
                  while (document.querySelectorAll(".row").length < 2) {{
                    await new Promise(requestAnimationFrame);
                  }}
                  return performance.now() - started;
                }}""",
                carried,
            )
        )
    median = statistics.median(times)
    with capsys.disabled():
        print(f"\nfrom the drop to the rows: {median:.0f} ms (median of {len(times)})")
    assert median < 300
