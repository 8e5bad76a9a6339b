"""Uploads of any size and number: a small copy is sent, and no dropped file is lost."""

import base64
import io

import pytest
from PIL import Image

from tests.browser.conftest import OpenPage, PageLog
from tests.support.page_objects import (
    PHONE,
    Page,
    Route,
    accessibility_violations,
    drop,
    expect,
    horizontal_overflow,
    png_image,
    save_screenshot,
    send_file,
    to_png,
)

LONGEST = 512


def sent_image(page: Page, content: bytes, kind: str) -> tuple[bytes, str]:
    """Drop a file; return what the page sent for it, and its media type."""
    page.evaluate(
        """() => {
          const send = window.fetch;
          window.fetch = (path, options) => {
            if (path.startsWith("/predict")) window.sent = options.body;
            return send(path, options);
          };
        }"""
    )
    send_file(page, content, kind=kind)
    expect(page.locator(".row")).to_have_count(2)
    body, media_type = page.evaluate(
        """async () => {
          const bytes = new Uint8Array(await window.sent.arrayBuffer());
          const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
          return [btoa(text), window.sent.type];
        }"""
    )
    return base64.b64decode(body), media_type


def encoded(image: Image.Image, form: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (600, 3000)])
def test_a_large_image_is_sent_as_a_small_copy(
    open_page: OpenPage, width: int, height: int
) -> None:
    page = open_page()
    photo = encoded(Image.effect_noise((width, height), 90).convert("RGB"), "JPEG")
    body, kind = sent_image(page, photo, "image/jpeg")
    copy = Image.open(io.BytesIO(body))
    assert kind == "image/jpeg"
    assert max(copy.size) == LONGEST
    assert copy.width / copy.height == pytest.approx(width / height, rel=0.01)
    assert len(body) < len(photo) / 5


def test_a_small_image_is_sent_as_it_is(open_page: OpenPage) -> None:
    page = open_page()
    content = png_image()
    assert sent_image(page, content, "image/png") == (content, "image/png")


def test_a_format_that_only_the_browser_reads_is_converted(open_page: OpenPage) -> None:
    page = open_page()
    drawing = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320">'
        b'<rect width="640" height="320" fill="#c22"/></svg>'
    )
    body, kind = sent_image(page, drawing, "image/svg+xml")
    copy = Image.open(io.BytesIO(body))
    assert (kind, copy.size) == ("image/jpeg", (LONGEST, LONGEST // 2))
    expect(page.locator("figure.original img")).not_to_have_js_property("naturalWidth", 0)


def test_transparent_parts_become_white(open_page: OpenPage) -> None:
    page = open_page()
    body, _ = sent_image(page, to_png(Image.new("RGBA", (900, 900))), "image/png")
    assert Image.open(io.BytesIO(body)).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_dropped_image_can_be_searched(open_page: OpenPage, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    send_file(page, png_image(1), more=(png_image(2), png_image(3)))
    expect(page.locator(".row")).to_have_count(2)
    first = page.get_by_role("heading", level=1).inner_text()
    tray = page.get_by_role("navigation", name="Your images")
    expect(tray.get_by_role("link")).to_have_count(3)
    tray.get_by_role("link", name="Your image 3").focus()
    page.keyboard.press("Enter")
    expect(tray.locator("[aria-current]")).to_have_attribute("aria-label", "Your image 3")
    expect(page.get_by_role("heading", level=1)).not_to_have_text(first)
    drop(page, png_image(4))
    expect(tray.get_by_role("link")).to_have_count(4)
    assert accessibility_violations(page) == []
    save_screenshot(page, f"tray-{scheme}")


def test_a_phone_shows_three_bars_and_the_neighbours_first(open_page: OpenPage) -> None:
    page = open_page(**PHONE)
    drop(page)
    bars = page.locator(".prediction .bars li")
    expect(bars).to_have_count(10)
    expect(bars.nth(2)).to_be_visible()
    expect(bars.nth(3)).to_be_hidden()
    card = page.locator(".row .card").first.bounding_box()
    again = page.locator(".upload-again").bounding_box()
    assert card is not None
    assert again is not None
    assert card["y"] < 844 - card["height"] / 2, "the first neighbours are on the first screen"
    assert card["y"] < again["y"]
    assert horizontal_overflow(page) <= 0
    save_screenshot(page, "search-phone")
    page.get_by_role("button", name="All 10 classes").click()
    expect(bars.nth(9)).to_be_visible()
    expect(bars.nth(3)).to_be_focused()


@pytest.mark.parametrize("options", [{}, PHONE])
def test_a_long_label_and_its_score_do_not_collide(
    open_page: OpenPage, options: dict[str, object]
) -> None:
    long = "Staatliche-Porzellan-Manufaktur Meissen teapot"

    def before(page: Page) -> None:
        def answer(route: Route) -> None:
            response = route.fetch()
            body = response.json()
            for neighbours in body["similar"].values():
                for one in neighbours:
                    one["label"] = long
            route.fulfill(response=response, json=body)

        page.route("**/predict?*", answer)

    page = open_page("/", before, **options)
    drop(page)
    for card in page.locator(".row .card").all():
        label, score, mark, picture = (
            card.locator(selector).bounding_box()
            for selector in (".card-label", ".card-score", ".mismatch-mark", ".card-action")
        )
        assert label is not None
        assert score is not None
        assert mark is not None
        assert picture is not None
        beside = label["x"] + label["width"] <= score["x"]
        assert beside or label["y"] + label["height"] <= score["y"]
        assert mark["x"] + mark["width"] <= label["x"]
        assert mark["y"] >= picture["y"] + picture["height"], "the mark covers no picture"
    assert horizontal_overflow(page) <= 0


@pytest.mark.parametrize(
    ("status", "problem", "said"),
    [
        (415, "not-an-image", "Try a JPEG or a PNG"),
        (413, "too-large", "Try a smaller picture"),
        (400, "malformed-body", "Try another copy"),
        (500, "internal", "Something went wrong"),
    ],
)
def test_errors_are_said_for_people(
    open_page: OpenPage, page_log: PageLog, status: int, problem: str, said: str
) -> None:
    page = open_page()
    body = {"type": f"urn:kindred:problem:{problem}", "title": "x", "detail": "technical"}
    page.route("**/predict?*", lambda route: route.fulfill(status=status, json=body))
    send_file(page, png_image())
    expect(page.locator(".prediction").get_by_role("alert")).to_contain_text(said)
    page_log.messages.clear()
