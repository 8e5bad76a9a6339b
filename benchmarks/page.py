"""Measures the web page in a real browser: its weight, the time of a search, the frames of the map.

    python -m benchmarks.page --bundle bundles/current

Prints the table of `docs/page.md`. Needs Debian's `chromium` and the extra `dev`. The map is
painted without a graphics card. Its points are drawn: the time of a frame depends on their number.
"""

import base64
import io
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from PIL import Image
from playwright.sync_api import Browser, Page, Route, sync_playwright

from benchmarks.harness.server_process import Server, free_address

CHROMIUM: Final = "/usr/bin/chromium"
SIZES: Final = (7_500, 60_000)
"""Points of the map."""
FRAMES: Final = 120
SEARCHES: Final = 20
PHOTO: Final = (1024, 768)
VIEWPORT: Final = {"width": 1280, "height": 900}
LAYERS: Final = ("first", "second")

FRAME_LOOP: Final = """async (frames) => {
  const stage = document.querySelector(".map-stage");
  const next = () => new Promise(requestAnimationFrame);
  await next();
  const times = [];
  let last = performance.now();
  for (let frame = 0; frame < frames; frame += 1) {
    const key = frame % 2 ? "ArrowLeft" : "ArrowRight";
    stage.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    await next();
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}"""
MOVE_LOOP: Final = """async (frames) => {
  const times = [];
  let last = performance.now();
  document.querySelector(".play").click();
  while (times.length < frames) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}"""
PAUSE: Final = 500
"""Milliseconds after a search, in which the pictures of its rows arrive."""
SEARCH: Final = """async (content) => {
  document.querySelectorAll(".row").forEach((row) => row.remove());
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], "a.jpg", { type: "image/jpeg" }));
  const started = performance.now();
  const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("drop", options));
  while (document.querySelectorAll(".row").length < 2) await new Promise(requestAnimationFrame);
  return performance.now() - started;
}"""
WEIGHT: Final = """() => performance.getEntriesByType("resource")
  .filter(({ name }) => name.includes("/web/"))
  .map(({ decodedBodySize, encodedBodySize }) => [decodedBodySize, encodedBodySize])"""


def drawn_map(route: Route, count: int) -> None:
    """Respond to a request for a layer of the map with drawn points."""
    random = np.random.default_rng(len(route.request.url))
    places = random.normal(0.5, 0.15, (2, count)).clip(0, 1).round(5)
    body: dict[str, Any] = {"revision": "drawn", "count": count}
    body |= {"x": places[0].tolist(), "y": places[1].tolist()}
    if "ids=true" in route.request.url:
        label = random.integers(0, 10, count).tolist()
        ids = [f"image-{number}" for number in range(count)]
        body |= {"ids": ids, "labels": [f"label {number}" for number in range(10)]}
        body |= {"label": label, "predicted": label, "added": []}
    route.fulfill(json=body)


def with_map(route: Route) -> None:
    """Let the model say that it has a map."""
    layers = {layer: {"trustworthiness": 1.0} for layer in LAYERS}
    route.fulfill(json={**route.fetch().json(), "map": {"layers": layers}})


def frames(browser: Browser, url: str, count: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of frames while the map is moved, and while its points move."""
    page = browser.new_page(viewport=VIEWPORT)  # type: ignore[arg-type]
    page.route("**/model", with_map)
    page.route("**/map?*", lambda route: drawn_map(route, count))
    page.goto(f"{url}/#/map?layer={LAYERS[0]}")
    page.locator(".legend-entry").first.wait_for()
    page.wait_for_timeout(500)
    panned: list[float] = page.evaluate(FRAME_LOOP, FRAMES)
    moved: list[float] = page.evaluate(MOVE_LOOP, FRAMES // 2)
    page.close()
    return panned, moved


def searches(page: Page) -> list[float]:
    """Return the milliseconds from the drop of a photo to both rows."""
    times = []
    for seed in range(SEARCHES + 1):
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(0, 255, (24, 32, 3), np.uint8))
        stream = io.BytesIO()
        coarse.resize(PHOTO, Image.Resampling.BICUBIC).save(stream, "JPEG")
        content = base64.b64encode(stream.getvalue()).decode()
        times.append(float(page.evaluate(SEARCH, content)))
        page.wait_for_timeout(PAUSE)
    return times[1:]


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """Serve a bundle; yield its URL."""
    address = free_address()
    with tempfile.TemporaryDirectory() as gallery:
        environment = {"KINDRED_GALLERY": gallery, "KINDRED_PORT": str(address.port)}
        command = [sys.executable, "-m", "service", "--bundle", str(bundle)]
        with Server(command, address, "/readyz", environment) as server:
            yield server.url


def main(bundle: Annotated[Path, typer.Option(help="The bundle to serve.")]) -> None:
    """Measure the page, and print a table."""
    lines = ["| what | measured |", "| --- | ---: |"]
    with serving(bundle) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=VIEWPORT)  # type: ignore[arg-type]
        page.goto(url)
        page.locator(".examples .card").first.wait_for()
        sizes = np.array(page.evaluate(WEIGHT)).sum(0) / 1000
        lines.append(f"| the start page, as stored | {sizes[0]:.0f} KB |")
        lines.append(f"| the start page, as sent | {sizes[1]:.0f} KB |")
        times = searches(page)
        spread = f"{min(times):.0f} to {max(times):.0f}"
        lines.append(
            f"| from the drop of a photo of {PHOTO[0]} x {PHOTO[1]} to both rows, median of "
            f"{len(times)} | {statistics.median(times):.0f} ms ({spread}) |"
        )
        page.close()
        for count in SIZES:
            kinds = ("pan", "move between layers")
            for name, found in zip(kinds, frames(browser, url, count), strict=True):
                median = statistics.median(found)
                lines.append(
                    f"| {count:,} points, {name}: frames a second, and the median frame | "
                    f"{1000 * len(found) / sum(found):.0f}, {median:.1f} ms |"
                )
        browser.close()
    sys.stdout.write("\n".join(lines))
    sys.stdout.write(f"\n\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    typer.run(main)
