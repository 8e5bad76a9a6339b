"""Where the classes are too many for a matrix: a list of what is most often taken for what."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.browser.conftest import Open, PageLog, visits
from tests.support.factories import made_record, network
from tests.support.images import striped_image
from tests.support.page_objects import (
    PHONE,
    accessibility_violations,
    expect,
    horizontal_overflow,
    save_screenshot,
)
from tests.support.processes import ROOT, running_server, serve_command
from training import bundle
from training.bundle import Bundle, writer
from training.bundle.manifest import DatasetMetadata, Metrics
from training.data.tensors import LabelledTensors
from training.embedding.embed import embed
from training.experiments.record import MATRIX_CLASSES
from training.index import cosine
from training.index.tuning import tune
from training.models.blocknet import Layer
from training.trainer.evaluation import evaluate

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EXPERIMENTS = "/#/experiments"
MOST = 30
"""So many lines are shown, and no more."""


@pytest.fixture(scope="module", params=[MATRIX_CLASSES // 2, MATRIX_CLASSES + 10])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of more classes than fit beside each other; then of too many to keep a matrix of.

    What the network was never taught it mistakes; labels of our own say how often.
    """
    labels = [kind for kind in range(request.param) for _ in range(1 + kind % 4)]
    pixels = np.stack([striped_image(0, seed) for seed in range(len(labels))])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    untaught = network(classes=request.param)
    layers: tuple[Layer, ...] = ("conv2", "logits")
    vectors = embed(untaught, images, layers, torch.device("cpu"))
    indexes = {layer: cosine.build(found) for layer, found in vectors.items()}
    test = evaluate(untaught, LabelledTensors(images, torch.tensor(labels)))
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
            network=untaught,
            gallery=bundle.Gallery(
                ids=tuple(f"picture-{number}" for number in range(len(labels))),
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


@pytest.fixture
def visit_many(browser: "Browser", many: Path, page_log: PageLog) -> Iterator[Open]:
    with running_server(serve_command(many)) as client:
        yield from visits(browser, str(client.base_url), page_log)


def confused(loaded: Bundle) -> list[int]:
    """How many pictures each class was taken for each other, the most first."""
    (test,) = (run.test for run in loaded.records if run.run_id == loaded.manifest.run_id)
    assert test is not None
    assert (test.confusion_matrix is None) == (len(loaded.manifest.classes) > MATRIX_CLASSES)
    counts = [
        count
        for true, row in test.confusion_counts.items()
        for taken_for, count in row.items()
        if taken_for != true
    ]
    return sorted(counts, reverse=True)


def test_the_most_frequent_mistakes_are_listed_and_lead_to_just_such_pictures(
    visit_many: Open, many: Path
) -> None:
    page = visit_many(EXPERIMENTS)
    listed = page.get_by_role("region", name="What is most often taken for what")
    lines = listed.locator("tbody tr")
    expected = confused(bundle.load(many))[:MOST]
    assert len(expected) == MOST
    assert expected[0] > expected[-1]
    expect(lines).to_have_count(MOST)
    expect(page.get_by_role("grid")).to_have_count(0)
    cells = [line.locator("th, td").all_inner_texts() for line in lines.all()]
    assert [int(count) for *_, count in cells] == expected
    assert all(label != taken_for for label, taken_for, _ in cells)
    assert accessibility_violations(page) == []
    save_screenshot(page, "mistakes")

    label, taken_for, count = cells[0]
    lines.first.get_by_role("link").click()
    expect(page.locator(".gallery .card")).to_have_count(int(count))
    expect(page.locator(".filter-note")).to_contain_text(f"takes for {taken_for}")
    expect(page.locator(".class-filter [aria-current]")).to_have_text(label)


def test_the_list_fits_a_phone(visit_many: Open) -> None:
    page = visit_many(EXPERIMENTS, **PHONE)
    listed = page.get_by_role("region", name="What is most often taken for what")
    expect(listed.locator("tbody tr")).to_have_count(MOST)
    assert horizontal_overflow(page) <= 0
