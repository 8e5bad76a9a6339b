"""The page with a keyboard, on a phone, in the dark, held still, and before axe-core."""

import pytest

from tests.browser.conftest import Open, PageLog
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

VIEWS = {"look": "/", "gallery": "/#/gallery", "experiments": "/#/experiments"}


def test_everything_can_be_reached_by_keyboard_alone(visit: Open) -> None:
    page = visit()
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
def test_nothing_sticks_out_of_a_phone(visit: Open, view: str) -> None:
    page = visit(VIEWS[view], **PHONE)
    expect(page.locator(".card, .confusion").first).to_be_visible()
    assert horizontal_overflow(page) <= 0
    save_screenshot(page, f"{view}-phone")


def test_the_explanation_fits_a_phone(visit: Open) -> None:
    page = visit("/", **PHONE)
    drop(page)
    row(page, "conv2").locator("button.card-action").first.click()
    assert horizontal_overflow(page) <= 0
    row(page, "logits").locator("button.card-action").first.click()
    assert horizontal_overflow(page) <= 0
    save_screenshot(page, "why-phone")


def test_the_explanation_fits_letters_of_twice_the_size(visit: Open) -> None:
    page = visit()
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    drop(page)
    for layer in ("conv2", "logits"):
        row(page, layer).locator("button.card-action").first.click()
        picture = page.locator(".explanation .pixels").first.bounding_box()
        assert picture is not None
        assert picture["width"] > 96, "no smaller than in the gallery"
        assert horizontal_overflow(page) <= 0


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
        assert accessibility_violations(page) == [], name
        save_screenshot(page, f"{name}-{scheme}")
    page = visit("/", color_scheme=scheme)
    page.locator(".examples a.card-action").first.click()
    expect(page.locator(".row")).to_have_count(2)
    assert accessibility_violations(page) == [], "from the gallery"
    page = visit("/", color_scheme=scheme)
    drop(page)
    for layer in ("conv2", "logits"):
        row(page, layer).locator("button.card-action").first.click()
        assert accessibility_violations(page) == [], layer
        save_screenshot(page, f"{layer}-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_doubt_and_in_trouble(
    visit: Open, page_log: PageLog, scheme: str
) -> None:
    page = visit("/", color_scheme=scheme)

    def doubt(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "familiar": False, "novelty": 1.0})

    page.route("**/predict*", doubt)
    drop(page)
    assert accessibility_violations(page) == []
    save_screenshot(page, f"doubt-{scheme}")
    page.goto(page.url.split("#")[0] + "#/image/nobody")
    expect(page.get_by_role("alert")).to_be_visible()
    assert accessibility_violations(page) == []
    save_screenshot(page, f"trouble-{scheme}")
    page_log.said.clear()
