"""What a layer keeps: strips of pictures drawn from vectors, and tiles without pixels."""

import httpx

from tests.browser.conftest import OpenPage, PageLog
from tests.support.page_objects import (
    PHONE,
    Page,
    accessibility_violations,
    drop,
    expect,
    horizontal_overflow,
    png_image,
    row,
    save_screenshot,
)


def layers(page: Page) -> list[str]:
    model = page.evaluate("fetch('/model').then((response) => response.json())")
    return list(model["reconstruction"]["layers"])


def test_a_strip_shows_what_each_layer_keeps_of_the_query(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    strip = page.locator(".query-extra .reconstructions li")
    expect(strip).to_have_text(layers(page))
    for image in strip.locator("img").all():
        expect(image).not_to_have_js_property("naturalWidth", 0)
    save_screenshot(page, "strip")


def test_an_explanation_has_the_strips_of_both_images(open_page: OpenPage) -> None:
    for options in ({}, PHONE):
        page = open_page(**options)
        drop(page)
        row(page, "conv2").locator("button.card-action").first.click()
        strips = page.locator(".explanation .reconstructions")
        expect(strips).to_have_count(2)
        for image in strips.locator("img").all():
            image.scroll_into_view_if_needed()
            expect(image).not_to_have_js_property("naturalWidth", 0)
        assert horizontal_overflow(page) <= 0
        assert accessibility_violations(page) == []


def test_tiles_without_pixels_are_drawn_from_their_vectors(
    open_page_without_pixels: OpenPage, page_log: PageLog
) -> None:
    for options in ({"color_scheme": "dark"}, PHONE):
        page = open_page_without_pixels("/", **options)
        banner = page.locator(".banner")
        expect(banner).to_contain_text("make serve DATA=photos/")
        assert banner.inner_text().count(". ") == 0, "one sentence"
        drop(page)
        expect(page.locator(".placeholder")).to_have_count(0)
        expect(page.locator(".row .drawn-note")).to_have_count(12)
        expect(page.locator(".row .drawn-note").first).to_have_text("drawn from its vector")
        image = page.locator(".row img.pixels").first
        expect(image).not_to_have_js_property("naturalWidth", 0)
        assert horizontal_overflow(page) <= 0
        assert accessibility_violations(page) == []
        save_screenshot(page, f"drawn-{options.get('color_scheme', 'phone')}")
        page.locator(".card a.find-similar").first.click()
        captions = page.locator(".query-images figcaption")
        expect(captions).to_have_count(1)  # the query of the page before has two
        expect(captions).to_contain_text("drawn from its vector")
    assert not [url for url in page_log.requests if url.endswith("/image")]


def test_what_was_added_shows_its_own_picture(
    open_page_without_pixels: OpenPage, server_url_without_pixels: str
) -> None:
    with httpx.Client(base_url=server_url_without_pixels, timeout=60) as client:
        client.post("/gallery?label=jade&id=own-picture", content=png_image(4, 8_100))
        page = open_page_without_pixels("/#/gallery?source=added")
        card = page.locator(".card[data-id=own-picture]")
        expect(card.locator("img")).to_have_js_property("naturalWidth", 32)
        expect(card.locator(".drawn-note")).to_have_count(0)
        client.delete("/gallery/own-picture")
