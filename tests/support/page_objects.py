"""Actions on the web page and readings of it, for the tests in a browser."""

import base64
import io
import json
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import BROWSERS, browser_path
from tests.support.images import striped_image
from tests.support.processes import ROOT

for missing in ("playwright", "axe_playwright_python"):
    if find_spec(missing) is None:
        pytest.skip(
            f"{missing} is not installed; `make test` installs it",
            allow_module_level=True,
        )
if browser_path() is None:
    pytest.skip(
        f"none of {', '.join(BROWSERS)} is on the path; run apt-get install chromium",
        allow_module_level=True,
    )

from playwright.sync_api import Locator, Page, Route, expect  # noqa: E402  only where installed

__all__ = [
    "KIND",
    "PHONE",
    "SCREENSHOTS",
    "Page",
    "Route",
    "accessibility_violations",
    "drop",
    "expect",
    "horizontal_overflow",
    "parse_number",
    "png_image",
    "row",
    "save_screenshot",
    "scores",
    "send_file",
    "to_png",
]

KIND = 3
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
SCREENSHOTS = ROOT / "build" / "screenshots"


def png_image(kind: int = KIND, seed: int = 7_000, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return an image that the network was not trained on, as a PNG."""
    image = Image.fromarray(striped_image(kind, seed))
    return to_png(image.resize(size, Image.Resampling.NEAREST))


def to_png(image: Image.Image) -> bytes:
    """Encode an image as a PNG."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


SEND_FILE = """([event, content, name, type, ...more]) => {
  const transfer = new DataTransfer();
  for (const one of [content, ...more]) {
    const bytes = Uint8Array.from(atob(one), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  const dropped = event === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
    : new DragEvent(event, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.body.dispatchEvent(dropped);
}"""


def send_file(
    page: Page,
    content: bytes,
    event: str = "drop",
    name: str = "a.png",
    kind: str = "image/png",
    more: tuple[bytes, ...] = (),
) -> None:
    """Drop or paste a file on the page, and more of its kind."""
    first, *others = (base64.b64encode(one).decode() for one in (content, *more))
    page.evaluate(SEND_FILE, [event, first, name, kind, *others])


def drop(page: Page, content: bytes | None = None) -> None:
    """Drop an image, and wait for its rows."""
    send_file(page, png_image() if content is None else content)
    expect(page.locator(".row")).to_have_count(2)


def row(page: Page, layer: str) -> Locator:
    return page.locator(f".row[data-layer={layer}]")


def parse_number(text: str) -> float:
    """Read a figure of the page, which has the typographic minus sign."""
    return float(text.replace("\N{MINUS SIGN}", "-"))


def scores(page: Page, layer: str) -> list[float]:
    texts = row(page, layer).locator(".card-score").all_inner_texts()
    return [parse_number(text) for text in texts]


def horizontal_overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


def save_screenshot(page: Page, name: str) -> None:
    """Save a screenshot of the full page in `build/screenshots`, once its images are there."""
    page.evaluate(
        """Promise.allSettled([...document.images]
          .filter((one) => one.checkVisibility() && one.getBoundingClientRect().top < innerHeight)
          .map((one) => one.decode()))"""
    )
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def accessibility_violations(page: Page) -> list[str]:
    """Return what axe-core rates as serious or critical on the page."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        json.dumps([violation["id"], violation["help"], violation["nodes"][0]["html"]])
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
