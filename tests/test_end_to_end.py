"""The whole way, as people go it: train, bundle, serve, ask, stop. On real images where they are.

`KINDRED_DATA` points to the real ones; without it the same way is walked on generated pictures.
"""

import base64
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.images import real_data, write_folder, write_subset
from tests.support.processes import ROOT, serve_bundle, serving
from training import bundle
from training.bundle import Bundle

PER_CLASS = 200


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of 200 images a class."""
    folder = tmp_path_factory.mktemp("images")
    data = real_data()
    return write_subset(data, folder, PER_CLASS) if data else write_folder(folder, PER_CLASS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A workspace in which the command line has released a network."""
    folder = tmp_path_factory.mktemp("root")
    release = [sys.executable, "-m", "training", "release"]
    subprocess.run([*release, "--data", images, "--root", folder], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def released(root: Path) -> Bundle:
    """The bundle that came of it."""
    return bundle.load(root / "bundles" / "current")


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[httpx.Client]:
    """A client of the real server, in its own process, over that bundle."""
    with serving(serve_bundle(root / "bundles" / "current")) as client:
        yield client


@pytest.fixture(scope="module")
def picture(server: httpx.Client, released: Bundle) -> bytes:
    """An image of the gallery, as the server gives it."""
    return server.get(f"/gallery/{released.gallery.ids[0]}/image").raise_for_status().content


def test_training_recorded_a_study_and_a_final_run(released: Bundle) -> None:
    assert sorted(one.stage for one in released.records) == ["final", "study"]
    assert (
        released.manifest.metrics.test_count == len(released.gallery) == 10 * PER_CLASS * 15 / 100
    )


def test_the_network_learned(released: Bundle) -> None:
    low, _ = released.manifest.metrics.test_wilson95
    assert low > 0.15, "no better than guessing among ten classes"


def test_a_gallery_image_posted_back_finds_itself_first(
    server: httpx.Client, released: Bundle, picture: bytes
) -> None:
    answer = server.post("/predict", content=picture, headers={"Content-Type": "image/png"})
    similar = answer.raise_for_status().json()["similar"]
    for layer in ("conv2", "logits"):
        assert len(similar[layer]) == 10
        assert similar[layer][0]["id"] == released.gallery.ids[0]
        assert similar[layer][0]["score"] >= 0.999


def test_three_forms_of_one_picture_get_one_answer(server: httpx.Client, picture: bytes) -> None:
    raw = server.post("/predict", content=picture, headers={"Content-Type": "image/png"}).json()
    form = server.post("/predict", files={"file": ("a.png", picture, "image/png")}).json()
    text = base64.b64encode(picture).decode()
    spelled = server.post("/predict", json={"image": text}).json()
    assert raw == form == spelled


def test_vectors_are_as_long_as_their_layers(server: httpx.Client, picture: bytes) -> None:
    for layer, length in (("conv2", 8192), ("logits", 10)):
        answer = server.post("/embed", params={"layer": layer}, content=picture).json()
        assert answer["dimension"] == len(answer["vector"]) == length


def test_the_stored_experiments_are_served(server: httpx.Client, released: Bundle) -> None:
    experiments = server.get("/experiments").json()["experiments"]
    assert [one["name"] for one in experiments] == ["batchnorm-3"]
    one = server.get("/experiments/Lab2_P1_Regularizer_BatchNorm_3LayerCNN").json()
    assert {record["run_id"] for record in one["records"]} >= {
        record.run_id for record in released.records if record.stage == "study"
    }
    curves = server.get("/experiments/batchnorm-3/curves.svg")
    assert curves.headers["Content-Type"].startswith("image/svg+xml")


def test_make_serve_serves_the_starter_where_there_is_no_data(tmp_path: Path) -> None:
    if not (ROOT / ".venv/installed").exists():
        pytest.skip("`make serve` has not installed .venv here; `make test` does")
    shutil.copytree(ROOT / "starter", tmp_path / "starter")
    command = ["make", "--no-print-directory", "serve", "PORT=0", f"ROOT={tmp_path}"]
    # `make` itself, unlike the server, dies of the signal that both are sent.
    environment = {"KINDRED_DATA": "", "KINDRED_DOWNLOAD": "false"}
    with serving(command, ends_with=-signal.SIGTERM, **environment) as client:
        model = client.get("/model").json()
        assert model["gallery"]["size"] == 1000
        first = client.get("/gallery?limit=1").json()["items"][0]
        missing = client.get(first["image"])
        assert missing.status_code == 404
        assert missing.json()["detail"]


def test_full_real_data_get_a_bundle_without_training(real_bundle_path: Path) -> None:
    """The starter's network held out the very images that become the gallery."""
    full = bundle.load(real_bundle_path)
    assert len(full.gallery) == 7500
    assert not (real_bundle_path.parents[1] / "checkpoints").exists()
    assert full.index_metadata["conv2"].quality.recall_at_10 >= 0.998
    share = full.manifest.metrics.label_share_at_10
    assert share["logits"] > share["conv2"] > 0.4
    assert full.manifest.metrics.test_accuracy > 0.75
