"""The list of the most frequent mistakes. It replaces the confusion matrix above 40 classes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.browser.conftest import OpenPage, PageLog, page_opener, server
from tests.support.factories import made_record, network
from tests.support.images import striped_image
from tests.support.page_objects import (
    PHONE,
    accessibility_violations,
    expect,
    horizontal_overflow,
    save_screenshot,
)
from tests.support.processes import ROOT
from training import bundle
from training.bundle import Bundle, writer
from training.bundle.manifest import DatasetMetadata, Metrics
from training.data.tensors import LabelledTensors
from training.embedding.embed import embed
from training.experiments.record import MATRIX_CLASSES
from training.index import cosine
from training.index.tuning import tune
from training.models.layers import Layer
from training.trainer.evaluation import evaluate

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

EXPERIMENTS = "/#/experiments"
SHOWN = 30
"""Number of mistakes in the list."""


@pytest.fixture(scope="module", params=[MATRIX_CLASSES // 2, MATRIX_CLASSES + 10])
def many_classes_path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle with more classes than the page shows in a matrix; then with more than a record
    keeps a matrix for.

    Its network is untrained, so that it makes many mistakes.
    """
    labels = [kind for kind in range(request.param) for _ in range(1 + kind % 4)]
    pixels = np.stack([striped_image(0, seed) for seed in range(len(labels))])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    untrained = network(classes=request.param)
    layers: tuple[Layer, ...] = ("conv2", "logits")
    vectors = embed(untrained, images, layers, torch.device("cpu"))
    indexes = {layer: cosine.build(rows) for layer, rows in vectors.items()}
    test = evaluate(untrained, LabelledTensors(images, torch.tensor(labels)))
    final = made_record("none-2", stage="final").model_copy(update={"test": test})
    target = tmp_path_factory.mktemp("many") / "bundle"
    writer.write(
        writer.BundleContents(
            name=final.experiment,
            run_id=final.run_id,
            classes=tuple(f"kind{kind:03d}" for kind in range(request.param)),
            dataset=DatasetMetadata(
                trained_on=final.dataset.name,
                trained_on_fingerprint=final.dataset.fingerprint,
                gallery_from=final.dataset.name,
                gallery_fingerprint=final.dataset.fingerprint,
            ),
            metrics=Metrics(
                validation_accuracy=None,
                test_count=test.count,
                test_accuracy=test.accuracy,
                test_wilson95=test.wilson95,
                test_loss=test.loss,
                label_share_at_10=dict.fromkeys(layers, 0.0),
                label_share_queries=test.count,
            ),
            network=untrained,
            gallery=bundle.Gallery(
                ids=tuple(f"image-{number}" for number in range(len(labels))),
                labels=np.array(labels),
                pixels=pixels,
            ),
            indexes=indexes,
            qualities={layer: tune(indexes[layer]) for layer in layers},
            novelty=None,
            records=[made_record("none-2"), final],
            figures=bundle.load(ROOT / "starter").figures,
            card=lambda _: "# Many classes",
        ),
        target,
    )
    return target


@pytest.fixture(scope="module")
def many_classes_url(
    many_classes_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with server(many_classes_path, tmp_path_factory.mktemp("gallery")) as url:
        yield url


@pytest.fixture
def open_many_classes_page(
    browser: "Browser", many_classes_url: str, page_log: PageLog
) -> Iterator[OpenPage]:
    yield from page_opener(browser, many_classes_url, page_log)


def mistakes(loaded: Bundle) -> list[int]:
    """Return the number of images of each mistake, the most frequent first."""
    (test,) = (run.test for run in loaded.records if run.run_id == loaded.manifest.run_id)
    assert test is not None
    assert (test.confusion_matrix is None) == (len(loaded.manifest.classes) > MATRIX_CLASSES)
    counts = [
        count
        for label, row in test.confusion_counts.items()
        for predicted, count in row.items()
        if predicted != label
    ]
    return sorted(counts, reverse=True)


def test_the_most_frequent_mistakes_are_listed_and_link_to_their_images(
    open_many_classes_page: OpenPage, many_classes_path: Path
) -> None:
    page = open_many_classes_page(EXPERIMENTS)
    listed = page.get_by_role("region", name="What is most often taken for what")
    lines = listed.locator("tbody tr")
    loaded = bundle.load(many_classes_path)
    expected = mistakes(loaded)[:SHOWN]
    assert len(expected) == SHOWN
    assert expected[0] > expected[-1]
    expect(lines).to_have_count(SHOWN)
    expect(page.get_by_role("grid")).to_have_count(0)
    cells = [line.locator("th, td").all_inner_texts() for line in lines.all()]
    assert [int(count) for *_, count in cells] == expected
    assert all(label != predicted for label, predicted, _ in cells)
    assert accessibility_violations(page) == []
    save_screenshot(page, f"mistakes-{len(loaded.manifest.classes)}")

    label, predicted, count = cells[0]
    lines.first.get_by_role("link").click()
    expect(page.locator(".gallery .card")).to_have_count(int(count))
    expect(page.locator(".filter-note")).to_contain_text(f"takes for {predicted}")
    expect(page.locator(".class-filter [aria-current]")).to_have_text(label)


def test_the_list_fits_a_phone(open_many_classes_page: OpenPage) -> None:
    page = open_many_classes_page(EXPERIMENTS, **PHONE)
    listed = page.get_by_role("region", name="What is most often taken for what")
    expect(listed.locator("tbody tr")).to_have_count(SHOWN)
    assert horizontal_overflow(page) <= 0
