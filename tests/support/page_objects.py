"""What people do with the page, and what they see there, as the tests of it say it."""

import base64
import io
import json
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import BROWSERS, browser_path
from tests.support.images import stripes
from tests.support.processes import ROOT

for missing in ("playwright", "axe_playwright_python"):
    if find_spec(missing) is None:
        pytest.skip(
            f"left out: {missing} is not installed; the dev dependencies have it (make test)",
            allow_module_level=True,
        )
if browser_path() is None:
    pytest.skip(
        f"left out: none of {', '.join(BROWSERS)} is on the path; apt-get install chromium",
        allow_module_level=True,
    )

from playwright.sync_api import Locator, Page, Route, expect  # noqa: E402  only where installed

__all__ = [
    "GIVE",
    "KIND",
    "PHONE",
    "SCREENSHOTS",
    "Page",
    "Route",
    "drop",
    "encoded",
    "expect",
    "give",
    "grave",
    "number",
    "overflow",
    "picture",
    "row",
    "scores",
    "shoot",
]

KIND = 3
PHONE = {
    "viewport": {"width": 375, "height": 812},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
SCREENSHOTS = ROOT / "build" / "screenshots"


def picture(kind: int = KIND, seed: int = 7_000, size: tuple[int, int] = (64, 48)) -> bytes:
    """A picture that the network was not trained on, as a PNG."""
    image = Image.fromarray(stripes(kind, seed))
    return encoded(image.resize(size, Image.Resampling.NEAREST))


def encoded(image: Image.Image) -> bytes:
    """A picture as a PNG."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


GIVE = """([event, content, name, type]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type }));
  const made = event === "paste"
    ? new ClipboardEvent("paste", { clipboardData: carried, bubbles: true })
    : new DragEvent(event, { dataTransfer: carried, bubbles: true, cancelable: true });
  document.body.dispatchEvent(made);
}"""


def give(
    page: Page, content: bytes, event: str = "drop", name: str = "a.png", kind: str = "image/png"
) -> None:
    """Drop or paste a file on the page."""
    page.evaluate(GIVE, [event, base64.b64encode(content).decode(), name, kind])


def drop(page: Page, content: bytes | None = None) -> None:
    """Drop a picture and wait for its rows."""
    give(page, picture() if content is None else content)
    expect(page.locator(".row")).to_have_count(2)


def row(page: Page, layer: str) -> Locator:
    title = {"conv2": "Second block: shapes and parts", "logits": "Output: classes"}[layer]
    return page.get_by_role("region", name=title)


def number(text: str) -> float:
    """A figure of the page, which has a true minus sign."""
    return float(text.replace("\N{MINUS SIGN}", "-"))


def scores(page: Page, layer: str) -> list[float]:
    texts = row(page, layer).locator(".card-score").all_inner_texts()
    return [number(text) for text in texts]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def shoot(page: Page, name: str) -> None:
    """Leave a screenshot for a person to look at."""
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def grave(page: Page) -> list[str]:
    """What axe-core finds serious or critical on the page."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        json.dumps([violation["id"], violation["help"], violation["nodes"][0]["html"]])
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
