"""How long a search takes on the page, and what the page shows until then."""

import base64
import statistics

import pytest

from tests.browser.conftest import OpenPage
from tests.support.page_objects import SEND_FILE, Route, expect, png_image, send_file

PHOTO = (1024, 768)
"""Width and height of a typical upload. It is decoded and resized to the input of the network."""


def test_a_busy_indicator_is_shown_until_a_slow_response_arrives(open_page: OpenPage) -> None:
    page = open_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict?*", hold)
    send_file(page, png_image())
    expect(page.locator("#busy")).to_be_visible()
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    held.pop().continue_()
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


@pytest.mark.serial
@pytest.mark.parametrize("opener", ["open_page", "open_real_page"])
def test_the_median_time_from_drop_to_rows_is_under_300_ms(
    opener: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    open_page: OpenPage = request.getfixturevalue(opener)
    page = open_page()
    size = page.evaluate("fetch('/model').then((response) => response.json())")["gallery"]["size"]
    times = []
    for seed in range(20):
        content = png_image(seed=8_000 + seed, size=PHOTO)
        upload = ["drop", base64.b64encode(content).decode(), "a.png", "image/png"]
        times.append(
            page.evaluate(
                f"""async (upload) => {{
                  document.querySelectorAll(".row").forEach((row) => row.remove());
                  const started = performance.now();
                  ({SEND_FILE})(upload);
                  while (document.querySelectorAll(".row").length < 2) {{
                    await new Promise(requestAnimationFrame);
                  }}
                  return performance.now() - started;
                }}""",
                upload,
            )
        )
    median = statistics.median(times)
    with capsys.disabled():
        print(
            f"\nfrom the drop to the rows: {median:.0f} ms with a gallery of {size:,} images "
            f"(median of {len(times)}, {min(times):.0f} to {max(times):.0f})"
        )
    assert median < 300
