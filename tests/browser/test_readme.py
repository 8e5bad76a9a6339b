"""Takes the screenshot of the README: the starter's network with a gallery of drawings.

`docs/page.png` is a copy of `build/screenshots/page.png`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.browser.conftest import OpenPage, PageLog, page_opener, server
from tests.support.page_objects import SCREENSHOTS, drop, expect, row, to_png
from tests.support.processes import ROOT
from tests.support.synthetic import SCENES, draw_scene
from training import bundle
from training.bundle import writer
from training.data.preprocessing import to_pixels
from training.embedding.embed import embed
from training.index import cosine
from training.index.tuning import tune
from training.models.novelty import Fitted

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

IMAGES_PER_CLASS = 4
QUERY_SEED = 1_014
"""Seed of the drawing that is uploaded; the gallery has others."""


@pytest.fixture(scope="module")
def drawings_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter bundle with a gallery of drawings."""
    starter = bundle.load(ROOT / "starter")
    manifest = starter.manifest
    pixels = np.stack(
        [
            to_pixels(draw_scene(name, seed))
            for name in manifest.classes
            for seed in range(IMAGES_PER_CLASS)
        ]
    )
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    vectors = embed(starter.network, images, tuple(starter.indexes), torch.device("cpu"))
    indexes = {layer: cosine.build(rows) for layer, rows in vectors.items()}
    assert manifest.novelty is not None
    assert starter.novelty is not None
    target = tmp_path_factory.mktemp("drawings") / "bundle"
    writer.write(
        writer.BundleContents(
            name=manifest.name,
            run_id=manifest.run_id,
            classes=manifest.classes,
            dataset=manifest.dataset.model_copy(update={"gallery_from": "drawings"}),
            metrics=manifest.metrics,
            network=starter.network,
            gallery=bundle.Gallery(
                ids=tuple(
                    f"{name}-{seed}"
                    for name in manifest.classes
                    for seed in range(IMAGES_PER_CLASS)
                ),
                labels=np.repeat(np.arange(len(SCENES)), IMAGES_PER_CLASS),
                pixels=pixels,
            ),
            indexes=indexes,
            qualities={layer: tune(indexes[layer]) for layer in indexes},
            novelty=Fitted(starter.novelty, manifest.novelty.familiar_share),
            records=starter.records,
            figures=starter.figures,
            card=lambda _: starter.card,
        ),
        target,
    )
    return target


@pytest.fixture
def open_drawings_page(
    browser: "Browser", drawings_path: Path, page_log: PageLog, tmp_path: Path
) -> Iterator[OpenPage]:
    with server(drawings_path, tmp_path / "gallery") as url:
        yield from page_opener(browser, url, page_log)


def test_a_drawing_finds_drawings_of_its_class(open_drawings_page: OpenPage) -> None:
    page = open_drawings_page(viewport={"width": 1280, "height": 960}, device_scale_factor=2)
    drop(page, to_png(draw_scene("frog", QUERY_SEED, size=(384, 256))))
    expect(page.get_by_role("heading", level=1)).to_have_text("frog")
    labels = row(page, "logits").locator(".card-label").all_inner_texts()
    assert labels[:IMAGES_PER_CLASS].count("frog") > IMAGES_PER_CLASS / 2
    row(page, "conv2").locator("button.card-action").first.click()
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    expect(page.get_by_role("gridcell")).to_have_count(64)
    page.screenshot(path=SCREENSHOTS / "page.png")
