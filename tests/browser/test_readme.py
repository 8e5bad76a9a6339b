"""The picture of the page in the README, taken: the starter's network and a gallery of drawings.

`build/screenshots/page.png` is what `docs/page.png` is a copy of.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.browser.conftest import Open, PageLog, visits
from tests.support.page_objects import SCREENSHOTS, drop, expect, row, to_png
from tests.support.processes import ROOT, running_server, serve_command
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

OF_EACH = 4
MINE = 1_014
"""The seed of the drawing that is asked about; the gallery has others."""


@pytest.fixture(scope="module")
def drawn_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter with drawings in the place of its gallery."""
    starter = bundle.load(ROOT / "starter")
    manifest = starter.manifest
    pixels = np.stack(
        [to_pixels(draw_scene(name, seed)) for name in manifest.classes for seed in range(OF_EACH)]
    )
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    vectors = embed(starter.network, images, tuple(starter.indexes), torch.device("cpu"))
    indexes = {layer: cosine.build(found) for layer, found in vectors.items()}
    assert manifest.novelty is not None
    assert starter.novelty is not None
    target = tmp_path_factory.mktemp("drawn") / "bundle"
    writer.write(
        writer.BundleContents(
            name=manifest.name,
            run_id=manifest.run_id,
            classes=manifest.classes,
            dataset=manifest.dataset.model_copy(update={"gallery_from": "drawings"}),
            metrics=manifest.metrics,
            network=starter.network,
            gallery=bundle.Gallery(
                ids=tuple(f"{name}-{seed}" for name in manifest.classes for seed in range(OF_EACH)),
                labels=np.repeat(np.arange(len(SCENES)), OF_EACH),
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
def visit_drawn(browser: "Browser", drawn_path: Path, page_log: PageLog) -> Iterator[Open]:
    with running_server(serve_command(drawn_path)) as client:
        yield from visits(browser, str(client.base_url), page_log)


def test_a_drawing_finds_its_kin_among_drawings(visit_drawn: Open) -> None:
    page = visit_drawn(viewport={"width": 1280, "height": 960}, device_scale_factor=2)
    drop(page, to_png(draw_scene("frog", MINE, size=(384, 256))))
    expect(page.get_by_role("heading", level=1)).to_have_text("frog")
    found = row(page, "logits").locator(".card-label").all_inner_texts()
    assert found[:OF_EACH].count("frog") > OF_EACH / 2
    row(page, "conv2").locator("button.card-action").first.click()
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    expect(page.get_by_role("gridcell")).to_have_count(64)
    page.screenshot(path=SCREENSHOTS / "page.png")
