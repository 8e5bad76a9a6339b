"""End-to-end test of a data set with hundreds of classes: trained, released and served."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.lengths import SOAK
from tests.support.processes import ROOT, running_server, serve_command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.skipif(not SOAK, reason="trains for a minute; `make soak` runs it"),
]

CLASSES = 300
PER_CLASS = 4
"""The minimum that can be split."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of `CLASSES` classes; its images are neither square nor 32 pixels wide."""
    root = tmp_path_factory.mktemp("plants")
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        directory = root / f"plant {label:03d}"
        directory.mkdir()
        colour = random.integers(0, 256, 3)
        for number in range(PER_CLASS):
            noisy = np.clip(colour + random.normal(0, 20, (48, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(directory / f"{number}.png")
    return root


def test_hundreds_of_classes_are_trained_released_and_served(folder: Path, tmp_path: Path) -> None:
    release = [sys.executable, "-m", "training", "release", "batchnorm-3", "--epochs", "1"]
    release += ["--no-decoders", "--data", str(folder), "--root", str(tmp_path)]
    subprocess.run(release, cwd=ROOT, check=True)
    with running_server(serve_command(tmp_path / "bundles" / "current")) as client:
        classes = client.get("/model").raise_for_status().json()["classes"]
        assert classes == [f"plant {label:03d}" for label in range(CLASSES)]
        image = (folder / classes[7] / "0.png").read_bytes()
        headers = {"Content-Type": "image/png"}
        response = client.post("/predict?limit=100", content=image, headers=headers)
        found = response.raise_for_status().json()
        assert len(found["predictions"]) > 1
        assert len(found["similar"]["conv2"]) == 100
        items = [*found["predictions"], *found["similar"]["conv2"]]
        assert {one["label"] for one in items} <= set(classes)
        records = client.get("/experiments/batchnorm-3").raise_for_status().json()["records"]
        (final,) = (one for one in records if one["stage"] == "final")
        true, predicted, images = np.transpose(final["test"]["confusions"])
        assert images.sum() == final["test"]["count"] == CLASSES
        assert set(true) == set(range(CLASSES))
        assert set(predicted) <= set(range(CLASSES))
