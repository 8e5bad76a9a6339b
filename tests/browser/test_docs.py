"""The service's calls at `/docs`, shown from this machine alone: `visit` holds that nothing else is
asked, and that the page's policy forbids nothing it needs."""

from tests.browser.conftest import Open
from tests.support.page_objects import expect, save_screenshot


def test_the_calls_are_shown_and_tried_with_nothing_from_elsewhere(visit: Open) -> None:
    page = visit("/docs")
    expect(page.get_by_role("heading", name="kindred")).to_be_visible()
    call = page.locator(".opblock").filter(has_text="/livez")
    call.locator("button.opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    save_screenshot(page, "docs")
