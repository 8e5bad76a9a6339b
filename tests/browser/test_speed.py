"""What the page shows until a slow response arrives. `python -m benchmarks.page` measures times."""

from tests.browser.conftest import OpenPage
from tests.support.page_objects import Route, expect, png_image, send_file


def test_a_busy_indicator_is_shown_until_a_slow_response_arrives(open_page: OpenPage) -> None:
    page = open_page()
    page.locator(".examples .card").first.wait_for()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict?*", hold)
    with page.expect_request("**/predict?*"):
        send_file(page, png_image())
    expect(page.locator("#busy")).to_be_visible()
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    held.pop().continue_()
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")
