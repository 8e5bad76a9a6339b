"""The API reference at `/docs`. Teardown checks that it needs no other host, and that its
Content-Security-Policy blocks nothing."""

from tests.browser.conftest import OpenPage
from tests.support.page_objects import expect, save_screenshot


def test_the_api_reference_lists_and_executes_calls(open_page: OpenPage) -> None:
    page = open_page("/docs")
    expect(page.get_by_role("heading", name="kindred")).to_be_visible()
    call = page.locator(".opblock").filter(has_text="/livez")
    call.locator("button.opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    save_screenshot(page, "docs")
