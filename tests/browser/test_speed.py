"""How soon the page answers, and what it shows until then."""

import base64
import statistics

import pytest

from tests.browser.conftest import Open
from tests.browser.gestures import (
    GIVE,
    Route,
    expect,
    give,
    picture,
)


def test_the_page_says_that_it_works_when_an_answer_takes_long(visit: Open) -> None:
    page = visit()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/predict*", hold)
    give(page, picture())
    expect(page.locator("#busy")).to_be_visible(timeout=2_000)
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    held.pop().continue_()
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


def test_from_the_drop_to_the_rows_is_a_blink(
    visit: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    page = visit()
    times = []
    for seed in range(20):
        content = picture(seed=8_000 + seed)
        carried = ["drop", base64.b64encode(content).decode(), "a.png", "image/png"]
        times.append(
            page.evaluate(
                f"""async (carried) => {{
                  document.querySelectorAll(".row").forEach((row) => row.remove());
                  const started = performance.now();
                  ({GIVE})(carried);
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
        print(f"\nfrom the drop to the rows: {median:.0f} ms (median of {len(times)})")
    assert median < 300
