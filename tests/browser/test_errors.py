"""What stands between a visitor and an answer: a service that is away, or that asks for a key."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Open, PageLog, visits
from tests.support.images import KINDS
from tests.support.page_objects import (
    PHONE,
    Page,
    Route,
    accessibility_violations,
    drop,
    expect,
    horizontal_overflow,
    save_screenshot,
)
from tests.support.processes import running_server, serve_command

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KEY = "the-right-key"


def failing(path: str, times: int) -> Callable[[Page], None]:
    """Let the first requests of a page for a path come to nothing."""
    left = iter(range(times))

    def fail(route: Route) -> None:
        if next(left, None) is None:
            route.continue_()
        else:
            route.abort()

    def before(page: Page) -> None:
        page.route(path, fail)

    return before


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
def test_what_could_not_be_loaded_is_said_and_tried_again_by_itself(
    visit: Open, page_log: PageLog, path: str, address: str, times: int
) -> None:
    page = visit(address, before=failing(path, times))
    expect(page.get_by_role("alert")).to_have_text(re.compile("The service does not answer"))
    expect(page.locator(".error-message")).to_contain_text("Trying again in 1 s.")
    expect(page.locator(".error-message")).to_contain_text("Trying again in 2 s.")
    expect(page.locator(".card, .confusion").first).to_be_visible()
    expect(page.locator(".error-message")).to_have_count(0)
    expect(page.locator("#about")).to_contain_text("gallery pictures")
    page_log.said.clear()  # the browser itself reports what failed


def test_or_by_a_button(visit: Open, page_log: PageLog) -> None:
    page = visit(before=failing("**/model", times=4))
    again = page.get_by_role("button", name="Try again now")
    for seconds in (1, 2, 4, 8):
        expect(page.locator(".error-message")).to_contain_text(f"Trying again in {seconds} s.")
        again.click()
    expect(page.locator(".card").first).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    page_log.said.clear()


def test_a_picture_given_while_the_service_is_away_is_answered_when_it_is_back(
    visit: Open, page_log: PageLog
) -> None:
    page = visit(before=failing("**/predict*", times=1))
    drop(page)
    assert any("ERR_FAILED" in said for said in page_log.said)
    page_log.said.clear()


# Keys.


@pytest.fixture(scope="module")
def locked_home(studied_path: Path) -> Iterator[str]:
    """The URL of a server that answers those who have a key."""
    with running_server(serve_command(studied_path), KINDRED_API_KEYS=KEY) as client:
        yield str(client.base_url)


@pytest.fixture
def visit_locked(browser: "Browser", locked_home: str, page_log: PageLog) -> Iterator[Open]:
    """Open a page that has no key yet; the browser tells of what that fails."""
    yield from visits(browser, locked_home, page_log, expected="401")


def unlock(page: Page, key: str = KEY) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def test_a_key_is_asked_for_and_then_it_goes_on(visit_locked: Open) -> None:
    page = visit_locked()
    expect(page.get_by_label("Key", exact=True)).to_be_focused()
    unlock(page)
    expect(page.locator(".examples .card").first).to_be_visible()
    expect(page.get_by_label("Key", exact=True)).to_have_count(0)
    drop(page)


def test_a_wrong_key_is_said_to_be_wrong(visit_locked: Open) -> None:
    page = visit_locked()
    unlock(page, "a-wrong-key")
    expect(page.get_by_role("alert")).to_contain_text("Unknown API key")
    field = page.get_by_label("Key", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    unlock(page)
    expect(page.locator(".examples .card").first).to_be_visible()


def test_every_view_works_with_a_key(visit_locked: Open) -> None:
    page = visit_locked("/#/experiments")
    unlock(page)
    expect(page.locator(".chart")).to_have_count(2)
    page.get_by_role("link", name="Gallery").click()
    page.locator(".gallery a.card-action").first.click()
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator(".query img")).to_have_js_property("naturalWidth", 32)


def test_pictures_come_with_the_key_and_only_those_in_sight(
    visit_locked: Open, page_log: PageLog
) -> None:
    page = visit_locked("/#/gallery", viewport={"width": 800, "height": 400})
    unlock(page)
    images = page.locator("img.pixels")
    expect(images).to_have_count(60)
    expect(images.first).to_have_js_property("naturalWidth", 32)
    assert (images.first.get_attribute("src") or "").startswith("blob:")
    assert images.last.get_attribute("src") is None
    images.last.scroll_into_view_if_needed()
    expect(images.last).to_have_js_property("naturalWidth", 32)


def test_the_key_stays_in_its_tab(visit_locked: Open) -> None:
    page = visit_locked()
    unlock(page)
    expect(page.locator(".examples .card").first).to_be_visible()
    page.reload()
    expect(page.locator(".examples .card").first).to_be_visible()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    other = visit_locked()
    expect(other.get_by_label("Key", exact=True)).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_where_a_key_is_asked_for(
    visit_locked: Open, scheme: str
) -> None:
    page = visit_locked(color_scheme=scheme, **PHONE)
    unlock(page, "a-wrong-key")
    expect(page.get_by_role("alert")).to_be_visible()
    assert accessibility_violations(page) == []
    assert horizontal_overflow(page) <= 0
    save_screenshot(page, f"key-{scheme}")
