"""Accessibility: keyboard, phone width, large text, dark mode, reduced motion, and axe-core."""

import pytest

from tests.browser.conftest import OpenPage, PageLog
from tests.support.page_objects import (
    PHONE,
    Route,
    accessibility_violations,
    drop,
    expect,
    horizontal_overflow,
    row,
    save_screenshot,
)

VIEWS = {"predict": "/", "gallery": "/#/gallery", "experiments": "/#/experiments"}


def test_all_controls_can_be_reached_by_keyboard(open_page: OpenPage) -> None:
    page = open_page()
    page.locator(".examples a.card-action").first.wait_for()
    focused = "document.activeElement"

    def tab_to(selector: str, limit: int = 60) -> None:
        for _ in range(limit):
            page.keyboard.press("Tab")
            if page.evaluate(f"{focused}.matches({selector!r})"):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to(".skip-link", limit=1)
    tab_to(".upload-buttons button")
    tab_to(".examples a.card-action")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(2)
    tab_to("button.card-action")
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.matches('.explanation h3')")
    tab_to("[role=gridcell]")
    assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none"
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    expect(page.locator(".readout")).to_contain_text("at row 1,")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".readout")).to_contain_text("at row 2,")
    page.keyboard.press("Escape")
    expect(page.locator(".explanation")).to_have_count(0)
    assert page.evaluate(f"{focused}.matches('button.card-action')")
    tab_to("a.find-similar")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_is_wider_than_a_phone(open_page: OpenPage, view: str) -> None:
    page = open_page(VIEWS[view], **PHONE)
    expect(page.locator(".card, .confusion").first).to_be_visible()
    assert horizontal_overflow(page) <= 0
    save_screenshot(page, f"{view}-phone")


def test_explanations_fit_a_phone(open_page: OpenPage) -> None:
    page = open_page("/", **PHONE)
    drop(page)
    row(page, "conv2").locator("button.card-action").first.click()
    assert horizontal_overflow(page) <= 0
    row(page, "logits").locator("button.card-action").first.click()
    assert horizontal_overflow(page) <= 0
    save_screenshot(page, "explanation-phone")


def test_explanations_fit_at_twice_the_text_size(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    drop(page)
    for layer in ("conv2", "logits"):
        row(page, layer).locator("button.card-action").first.click()
        image = page.locator(".explanation .pixels").first.bounding_box()
        assert image is not None
        assert image["width"] > 96, "no smaller than in the gallery"
        assert horizontal_overflow(page) <= 0


def test_reduced_motion_stops_all_animations(open_page: OpenPage) -> None:
    page = open_page("/", reduced_motion="reduce")
    page.evaluate("document.getElementById('busy').hidden = false")
    assert page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: OpenPage, scheme: str) -> None:
    for name, address in VIEWS.items():
        page = open_page(address, color_scheme=scheme)
        expect(page.locator(".card, .confusion").first).to_be_visible()
        assert accessibility_violations(page) == [], name
        save_screenshot(page, f"{name}-{scheme}")
    page = open_page("/", color_scheme=scheme)
    page.locator(".examples a.card-action").first.click()
    expect(page.locator(".row")).to_have_count(2)
    assert accessibility_violations(page) == [], "from the gallery"
    page = open_page("/", color_scheme=scheme)
    drop(page)
    for layer in ("conv2", "logits"):
        row(page, layer).locator("button.card-action").first.click()
        assert accessibility_violations(page) == [], layer
        save_screenshot(page, f"{layer}-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_warnings_and_errors(
    open_page: OpenPage, page_log: PageLog, scheme: str
) -> None:
    page = open_page("/", color_scheme=scheme)

    def unfamiliar(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "familiar": False, "novelty": 1.0})

    page.route("**/predict?*", unfamiliar)
    drop(page)
    assert accessibility_violations(page) == []
    save_screenshot(page, f"unfamiliar-{scheme}")
    page.goto(page.url.split("#")[0] + "#/image/unknown")
    expect(page.get_by_role("alert")).to_be_visible()
    assert accessibility_violations(page) == []
    save_screenshot(page, f"error-{scheme}")
    page_log.messages.clear()
