"""Takes the pictures of the README: the map and the page, with the starter and a drawing.

The starter has the vectors of real images and no pixels: its tiles are drawn from vectors.
`docs/map.png` and `docs/page.png` are copies of `map.png` and `page.png` in `build/screenshots/`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import OpenPage, PageLog, page_opener, server
from tests.support.page_objects import SCREENSHOTS, Page, drop, expect, row, send_file, to_png
from tests.support.processes import ROOT
from tests.support.synthetic import draw_scene

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

QUERY_SEED = 1_014
NEAREST = 12


@pytest.fixture
def open_starter_page(browser: "Browser", page_log: PageLog, tmp_path: Path) -> Iterator[OpenPage]:
    with server(ROOT / "starter", tmp_path / "gallery") as url:
        yield from page_opener(browser, url, page_log)


def open_for_picture(open_page: OpenPage, address: str) -> Page:
    return open_page(address, viewport={"width": 1280, "height": 1060}, device_scale_factor=2)


def drawing() -> bytes:
    return to_png(draw_scene("frog", QUERY_SEED, size=(384, 256)))


def take(page: Page, name: str) -> None:
    """Save a screenshot of the window, once all pictures in it are there."""
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_a_drawing_lands_among_its_class_on_the_map(open_starter_page: OpenPage) -> None:
    page = open_for_picture(open_starter_page, "/#/map?layer=logits")
    expect(page.locator(".map-stage")).to_be_visible()
    send_file(page, drawing())
    labels = page.locator(".nearest-label")
    expect(labels).to_have_count(NEAREST)
    assert labels.all_inner_texts().count("frog") > NEAREST / 2
    take(page, "map")


def test_a_drawing_finds_images_of_its_class(open_starter_page: OpenPage) -> None:
    page = open_for_picture(open_starter_page, "/")
    drop(page, drawing())
    expect(page.get_by_role("heading", level=1)).to_have_text("frog")
    labels = row(page, "logits").locator(".card-label").all_inner_texts()
    assert labels.count("frog") > len(labels) / 2
    row(page, "conv2").locator("button.card-action").first.click()
    expect(page.get_by_role("gridcell")).to_have_count(64)
    take(page, "page")
