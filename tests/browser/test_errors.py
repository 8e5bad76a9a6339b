"""Errors that the page recovers from: an unreachable service, and a missing or wrong API key."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import OpenPage, PageLog, page_opener, server
from tests.support.images import KINDS
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
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KEY = "the-right-key"


def failing(path: str, times: int) -> Callable[[Page], None]:
    """Return a function that makes the first requests of a page for a path fail.

    It also stops the page's clock, so that countdowns proceed only by `count_down`.
    """
    failures = iter(range(times))

    def fail(route: Route) -> None:
        if next(failures, None) is None:
            route.continue_()
        else:
            route.abort()

    def before(page: Page) -> None:
        page.clock.install(time=0)
        page.clock.pause_at(1)
        page.route(path, fail)

    return before


def count_down(page: Page, seconds: int) -> None:
    """Advance the page's clock until the next retry."""
    for left in range(seconds, 0, -1):
        expect(page.locator(".error-message")).to_contain_text(f"Trying again in {left} s.")
        page.clock.run_for(1_000)


@pytest.mark.parametrize(
    ("path", "address", "times"),
    [
        ("**/model", "/", 2),
        ("**/gallery?*", "/", 2 * len(KINDS)),
        ("**/gallery?*", "/#/gallery", 2),
        ("**/experiments", "/#/experiments", 2),
        ("**/experiments/curves/loss.svg", "/#/experiments", 2),
    ],
)
def test_a_failed_request_shows_an_error_and_is_retried_after_a_countdown(
    open_page: OpenPage, page_log: PageLog, path: str, address: str, times: int
) -> None:
    page = open_page(address, before=failing(path, times))
    expect(page.get_by_role("alert")).to_have_text(re.compile("The service does not answer"))
    count_down(page, 1)
    count_down(page, 2)
    expect(page.locator(".card, .confusion").first).to_be_visible()
    expect(page.locator(".error-message")).to_have_count(0)
    expect(page.locator("#about")).to_contain_text("gallery images")
    page_log.messages.clear()  # the browser itself reports failed requests


def test_a_failed_request_can_be_retried_by_a_button(
    open_page: OpenPage, page_log: PageLog
) -> None:
    page = open_page(before=failing("**/model", times=4))
    retry = page.get_by_role("button", name="Try again now")
    for seconds in (1, 2, 4, 8):
        expect(page.locator(".error-message")).to_contain_text(f"Trying again in {seconds} s.")
        retry.click()
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    page_log.messages.clear()


def test_an_upload_is_retried_until_the_service_responds(
    open_page: OpenPage, page_log: PageLog
) -> None:
    page = open_page(before=failing("**/predict?*", times=1))
    send_file(page, png_image())
    count_down(page, 1)
    expect(page.locator(".row")).to_have_count(2)
    assert any("ERR_FAILED" in text for text in page_log.messages)
    page_log.messages.clear()


@pytest.fixture(scope="module")
def locked_server_url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that requires an API key."""
    gallery = tmp_path_factory.mktemp("gallery")
    with server(bundle_path, gallery, KINDRED_API_KEYS=KEY) as url:
        yield url


@pytest.fixture
def open_locked_page(
    browser: "Browser", locked_server_url: str, page_log: PageLog
) -> Iterator[OpenPage]:
    """Open pages without a key. The browser reports the 401 responses on the console."""
    yield from page_opener(browser, locked_server_url, page_log, expected="401")


def unlock(page: Page, key: str = KEY) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def test_the_page_asks_for_a_key_and_continues_with_it(open_locked_page: OpenPage) -> None:
    page = open_locked_page()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    unlock(page)
    expect(page.locator(".examples .card").first).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_have_count(0)
    drop(page)


def test_a_wrong_key_is_reported_and_can_be_corrected(open_locked_page: OpenPage) -> None:
    page = open_locked_page()
    unlock(page, "a-wrong-key")
    expect(page.get_by_role("alert")).to_contain_text("Unknown API key")
    field = page.get_by_label("Key", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    unlock(page)
    expect(page.locator(".examples .card").first).to_be_visible()


def test_every_view_works_with_a_key(open_locked_page: OpenPage) -> None:
    page = open_locked_page("/#/experiments")
    unlock(page)
    expect(page.locator(".chart")).to_have_count(2)
    page.get_by_role("link", name="Gallery").click()
    page.locator(".gallery a.card-action").first.click()
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator(".query img")).to_have_js_property("naturalWidth", 32)


def test_only_the_images_in_view_are_fetched_with_the_key(
    open_locked_page: OpenPage, page_log: PageLog
) -> None:
    page = open_locked_page("/#/gallery", viewport={"width": 800, "height": 700})
    unlock(page)
    images = page.locator("img.pixels")
    expect(images).to_have_count(60)
    expect(images.first).to_have_js_property("naturalWidth", 32)
    assert (images.first.get_attribute("src") or "").startswith("blob:")
    assert images.last.get_attribute("src") is None
    images.last.scroll_into_view_if_needed()
    expect(images.last).to_have_js_property("naturalWidth", 32)


def test_the_key_is_kept_for_its_tab_only(open_locked_page: OpenPage) -> None:
    page = open_locked_page()
    unlock(page)
    expect(page.locator(".examples .card").first).to_be_visible()
    page.reload()
    expect(page.locator(".examples .card").first).to_be_visible()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    other = open_locked_page()
    expect(other.get_by_label("Key", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_key_form(open_locked_page: OpenPage, scheme: str) -> None:
    page = open_locked_page(color_scheme=scheme, **PHONE)
    unlock(page, "a-wrong-key")
    expect(page.get_by_role("alert")).to_be_visible()
    assert accessibility_violations(page) == []
    assert horizontal_overflow(page) <= 0
    save_screenshot(page, f"key-{scheme}")
