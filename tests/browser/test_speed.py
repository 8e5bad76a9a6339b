"""How soon the page answers, and what it shows until then."""

import base64
import statistics

import pytest

from tests.browser.conftest import Open
from tests.support.page_objects import SEND_FILE, Route, expect, png_image, send_file

PHOTO = (1024, 768)
"""The size of what people drop: what is larger than the network's eye is decoded and shrunk."""


def test_the_page_says_that_it_works_when_an_answer_takes_long(visit: Open) -> None:
    page = visit()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict*", hold)
    send_file(page, png_image())
    expect(page.locator("#busy")).to_be_visible(timeout=2_000)
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    held.pop().continue_()
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


@pytest.mark.parametrize("visiting", ["visit", "visit_real"])
def test_from_the_drop_to_the_rows_is_a_blink(
    visiting: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    visit: Open = request.getfixturevalue(visiting)
    page = visit()
    size = page.evaluate("fetch('/model').then((answer) => answer.json())")["gallery"]["size"]
    times = []
    for seed in range(20):
        content = png_image(seed=8_000 + seed, size=PHOTO)
        carried = ["drop", base64.b64encode(content).decode(), "a.png", "image/png"]
        times.append(
            page.evaluate(
                f"""async (carried) => {{
                  document.querySelectorAll(".row").forEach((row) => row.remove());
                  const started = performance.now();
                  ({SEND_FILE})(carried);
                  while (document.querySelectorAll(".row").length < 2) {{
                    await new Promise(requestAnimationFrame);
                  }}
                  return performance.now() - started;
                }}""",
                carried,
            )
        )
    median = statistics.median(times)
    with capsys.disabled():
        print(
            f"\nfrom the drop to the rows: {median:.0f} ms before a gallery of {size:,} "
            f"(median of {len(times)}, {min(times):.0f} to {max(times):.0f})"
        )
    assert median < 300
