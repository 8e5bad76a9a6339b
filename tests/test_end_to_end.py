"""End-to-end tests over the command line and HTTP: train, build a bundle, serve, request, stop.

The images are those of `KINDRED_DATA`, or generated ones if it is not set.
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

from tests.conftest import one_worker_at_a_time
from tests.support.images import real_data, write_folder, write_images
from tests.support.lengths import SOAK, length
from tests.support.processes import ROOT, running_server, serve_command
from training import bundle
from training.bundle import Bundle

PER_CLASS = 100
EPOCHS = length(10, 4)

pytestmark = [pytest.mark.slow, pytest.mark.soak]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """An image folder with `PER_CLASS` images of each class."""
    folder = tmp_path_factory.mktemp("images")
    if not real_data():
        return write_folder(folder, PER_CLASS)
    return write_images(request.getfixturevalue("held_out"), folder, PER_CLASS)


@pytest.fixture(scope="module")
def root(shared_folder: Path, images: Path) -> Path:
    """A workspace with a network that the command line has released."""
    folder = shared_folder / f"released-{EPOCHS}-{'real' if real_data() else 'generated'}"
    release = [sys.executable, "-m", "training", "release", "--epochs", str(EPOCHS)]
    release += ["--no-decoders", "--data", str(images), "--root", str(folder)]
    with one_worker_at_a_time(folder):
        if not (folder / "bundles" / "current").exists():
            subprocess.run(release, cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def released(root: Path) -> Bundle:
    """The bundle of that release."""
    return bundle.load(root / "bundles" / "current")


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[httpx.Client]:
    """A client of a server process over that bundle."""
    with running_server(serve_command(root / "bundles" / "current")) as client:
        yield client


@pytest.fixture(scope="module")
def image(server: httpx.Client, released: Bundle) -> bytes:
    """The file of the first gallery image, as the server sends it."""
    return server.get(f"/gallery/{released.gallery.ids[0]}/image").raise_for_status().content


def test_a_release_records_a_study_and_a_final_run(released: Bundle) -> None:
    assert sorted(one.stage for one in released.records) == ["final", "study"]
    metrics = released.manifest.metrics
    assert metrics
    assert metrics.test_count == 10 * PER_CLASS * 15 / 100
    # Of the classes of CIFAR-10 the held-out images are the gallery, of other classes all.
    assert len(released.gallery) == (metrics.test_count if real_data() else 10 * PER_CLASS)


def test_the_network_is_better_than_chance(released: Bundle) -> None:
    metrics = released.manifest.metrics
    assert metrics
    low, _ = metrics.test_wilson95
    assert low > 0.15, "no better than chance with ten classes"


def test_a_gallery_image_is_its_own_nearest(
    server: httpx.Client, released: Bundle, image: bytes
) -> None:
    response = server.post("/predict", content=image, headers={"Content-Type": "image/png"})
    similar = response.raise_for_status().json()["similar"]
    for layer in ("conv2", "logits"):
        assert len(similar[layer]) == 10
        assert similar[layer][0]["id"] == released.gallery.ids[0]
        assert similar[layer][0]["score"] >= 0.999


def test_all_forms_of_an_upload_get_the_same_response(server: httpx.Client, image: bytes) -> None:
    raw = server.post("/predict", content=image, headers={"Content-Type": "image/png"}).json()
    form = server.post("/predict", files={"file": ("a.png", image, "image/png")}).json()
    text = base64.b64encode(image).decode()
    from_json = server.post("/predict", json={"image": text}).json()
    assert raw == form == from_json


def test_vectors_have_the_dimension_of_their_layer(server: httpx.Client, image: bytes) -> None:
    for layer, dimension in (("conv2", 8192), ("logits", 10)):
        embedding = server.post("/embed", params={"layer": layer}, content=image).json()
        assert embedding["dimension"] == len(embedding["vector"]) == dimension


def test_the_recorded_experiments_are_served(server: httpx.Client, released: Bundle) -> None:
    experiments = server.get("/experiments").json()["experiments"]
    assert [one["name"] for one in experiments] == ["batchnorm-3"]
    one = server.get("/experiments/Lab2_P1_Regularizer_BatchNorm_3LayerCNN").json()
    assert {record["run_id"] for record in one["records"]} >= {
        record.run_id for record in released.records if record.stage == "study"
    }
    curves = server.get("/experiments/batchnorm-3/curves.svg")
    assert curves.headers["Content-Type"].startswith("image/svg+xml")


def test_make_serve_serves_the_starter_without_data(tmp_path: Path) -> None:
    if not (ROOT / ".venv/installed").exists():
        pytest.skip("`make serve` has not installed .venv here; `make test` does")
    shutil.copytree(ROOT / "starter", tmp_path / "starter")
    command = ["make", "--no-print-directory", "serve", "PORT=0", f"ROOT={tmp_path}"]
    # The signal goes to both: it ends `make`, while the server shuts down.
    environment = {"KINDRED_DATA": "", "KINDRED_DOWNLOAD": "false"}
    with running_server(command, ends_with=-signal.SIGTERM, **environment) as client:
        model = client.get("/model").json()
        assert model["gallery"]["size"] == 1000
        first = client.get("/gallery?limit=1").json()["items"][0]
        assert first["image"] is None
        missing = client.get(f"/gallery/{first['id']}/image")
        assert missing.status_code == 404
        assert missing.json()["detail"]
        drawn = client.get(first["reconstruction"])
        assert drawn.headers["content-type"] == "image/png"


@pytest.mark.skipif(not SOAK, reason="takes minutes; `make soak` runs it")
def test_the_full_real_data_need_no_training(real_bundle: Bundle) -> None:
    """The starter's network was not trained on the images that become the gallery."""
    assert len(real_bundle.gallery) == 7500
    assert not (real_bundle.path.parents[1] / "checkpoints").exists()
    assert real_bundle.index_metadata["conv2"].quality.recall_at_10 >= 0.998
    metrics = real_bundle.manifest.metrics
    assert metrics
    share = metrics.label_share_at_10
    assert share["logits"] > share["conv2"] > 0.4
    assert metrics.test_accuracy > 0.75
