"""Images of somebody's own, of hundreds of classes: trained, released and served as they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.processes import ROOT, serve_bundle, serving

CLASSES = 300
PER_CLASS = 4
"""The fewest of which a split can be made."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plants by number, in pictures that are neither square nor small."""
    where = tmp_path_factory.mktemp("plants")
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        directory = where / f"plant {label:03d}"
        directory.mkdir()
        colour = random.integers(0, 256, 3)
        for number in range(PER_CLASS):
            noisy = np.clip(colour + random.normal(0, 20, (48, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(directory / f"{number}.png")
    return where


def test_hundreds_of_classes_go_the_whole_way(folder: Path, tmp_path: Path) -> None:
    release = [sys.executable, "-m", "training", "release", "batchnorm-3", "--epochs", "1"]
    subprocess.run([*release, "--data", folder, "--root", tmp_path], cwd=ROOT, check=True)
    with serving(serve_bundle(tmp_path / "bundles" / "current")) as client:
        classes = client.get("/model").raise_for_status().json()["classes"]
        assert classes == [f"plant {label:03d}" for label in range(CLASSES)]
        picture = (folder / classes[7] / "0.png").read_bytes()
        headers = {"Content-Type": "image/png"}
        answer = client.post("/predict?limit=100", content=picture, headers=headers)
        found = answer.raise_for_status().json()
        assert len(found["predictions"]) > 1
        assert len(found["similar"]["conv2"]) == 100
        said = [*found["predictions"], *found["similar"]["conv2"]]
        assert {one["label"] for one in said} <= set(classes)
        records = client.get("/experiments/batchnorm-3").raise_for_status().json()["records"]
        (final,) = (one for one in records if one["stage"] == "final")
        true, taken_for, images = np.transpose(final["test"]["confusions"])
        assert images.sum() == final["test"]["count"] == CLASSES
        assert set(true) == set(range(CLASSES))
        assert set(taken_for) <= set(range(CLASSES))
