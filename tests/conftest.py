"""Fixtures that all tests share: generated images, and small bundles of a network trained on them.

The trained network and its bundles are built once: workers of pytest-xdist share them, and later
runs use them again until the code that makes them changes.
"""

import ast
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from tests.support.factories import made_record
from tests.support.images import HeldOut, read_images, real_data, striped_image, write_folder
from tests.support.processes import ROOT
from training import bundle
from training.bundle import Bundle
from training.data.dataset import Dataset, load
from training.data.splits import Splits, split
from training.experiments.catalogue import find
from training.experiments.config import Experiment
from training.models import architecture
from training.trainer import decoders
from training.workflows.export import ExportOptions
from training.workflows.release import TrainedModel, evaluate_release
from training.workflows.workspace import Workspace

# How long an example takes depends on what else runs.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _shared_gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set a temporary gallery folder for services that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINDRED_GALLERY", str(tmp_path_factory.mktemp("kept") / "gallery"))
        yield


@pytest.fixture(autouse=True)
def _own_gallery(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a temporary gallery folder for the services of each test."""
    monkeypatch.setenv("KINDRED_GALLERY", str(tmp_path_factory.mktemp("own") / "gallery"))


@pytest.fixture(scope="session", autouse=True)
def _few_references() -> Iterator[None]:
    """Measure novelty and int8 with fewer training images: to embed them is most of a build."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.workflows.export.REFERENCES", 250)
        patch.setattr("training.workflows.workspace.REFERENCES", 250)
        patch.setattr("training.models.quantization.CALIBRATION_IMAGES", 100)
        yield


def short(experiment: Experiment, epochs: int = 3) -> Experiment:
    """Shorten an experiment; small batches let batch norm settle."""
    update = {"epochs": epochs, "batch_size": 16, "precision": "fp32"}
    config = experiment.config.model_copy(update=update)
    return experiment.model_copy(update={"config": config})


@pytest.fixture(scope="module")
def narrow_networks() -> Iterator[None]:
    """Give networks a quarter of their channels, for modules that train but build no bundle."""
    channels = [tuple(max(3, count // 4) for count in block) for block in architecture.CHANNELS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architecture, "CHANNELS", tuple(channels))
        patch.setattr(architecture, "HIDDEN", architecture.HIDDEN // 4)
        yield


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder with 1,000 generated images of ten classes."""
    return write_folder(tmp_path_factory.mktemp("pictures"), per_class=100)


@pytest.fixture(scope="session")
def generated(image_folder: Path) -> Dataset:
    """The generated images as a data set that, like CIFAR-10, is more than its files."""
    return replace(load(image_folder), files=None, source=None)


@pytest.fixture(scope="session", autouse=True)
def short_training_of_decoders() -> Iterator[None]:
    """Train decoders for two steps, if the test does not say how long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "steps_for", lambda _: 2)
        yield


@pytest.fixture(scope="session")
def splits(generated: Dataset) -> Splits:
    """Their split with seed 0."""
    return split(generated, seed=0)


TRAINED = {
    "trained",
    "bundle_path",
    "bundle_without_pixels_path",
    "real_bundle_path",
    "unlabelled",
    "contents",
}
"""Fixtures that train a network, or build a bundle of thousands of images."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a trained network as slow: `make check` leaves them out.

    Modules with such tests come last. So while one worker trains, others have tests to run.
    """
    for item in items:
        if TRAINED.intersection(_fixtures(item)):
            item.add_marker(pytest.mark.slow)
    trained = {item.path for item in items if TRAINED.intersection(_fixtures(item))}
    items.sort(key=lambda item: item.path in trained)


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """A folder for artifacts that are slow to build. All runs of the same code share it."""
    code = hashlib.sha256()
    ours = [ROOT / "tests/support/images.py", Path(__file__)]
    for file in [*sorted((ROOT / "training").rglob("*.py")), *ours]:
        code.update(without_docstrings(file.read_text(encoding="utf-8")).encode())
    folder = ROOT / "build" / "tests" / code.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def without_docstrings(source: str) -> str:
    """Return the syntax tree of a module as text, without docstrings and comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = node.body[ast.get_docstring(node) is not None :]
    return ast.dump(tree)


@contextmanager
def one_worker_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock, so that one worker builds a missing artifact and the others load it."""
    with FileLock(folder.parent / f"{folder.name}.lock"):
        yield


@pytest.fixture(scope="session")
def workspace(shared_folder: Path) -> Workspace:
    """A workspace on the CPU."""
    return Workspace(shared_folder / "workspace", torch.device("cpu"))


@pytest.fixture(scope="session")
def trained(
    workspace: Workspace, generated: Dataset, splits: Splits, shared_folder: Path
) -> TrainedModel:
    """`batchnorm-3`, studied and released in three epochs."""
    experiment = short(find("batchnorm-3"))
    with one_worker_at_a_time(shared_folder / "training"):
        _, study = workspace.train_or_load(workspace.spec(experiment, "study", generated, splits))
        spec = workspace.spec(experiment, "final", generated, splits)
        network, final = workspace.train_or_load(spec)
    return TrainedModel(network, final, [study, final])


@pytest.fixture(scope="session")
def bundle_path(
    workspace: Workspace, trained: TrainedModel, generated: Dataset, splits: Splits
) -> Path:
    """A released bundle of 150 generated images, with the records of other experiments."""

    def release() -> TrainedModel:
        study, final = trained.records
        final = evaluate_release(trained.network, final, generated, splits, None, workspace.device)
        others = [
            made_record("none-2", dataset=study.dataset, validation=0.6, test=0.61, seconds=90),
            made_record(
                "none-2", dataset=study.dataset, validation=0.7, test=0.65, seconds=110, seed=1
            ),
        ]
        return replace(trained, final=final, records=[study, final, *others])

    options = ExportOptions()
    return built(workspace, "pictures", release, generated, splits, options)


@pytest.fixture(scope="session")
def bundle_without_pixels_path(
    workspace: Workspace, trained: TrainedModel, generated: Dataset, splits: Splits
) -> Path:
    """A bundle like the starter: 10 images per class, fp16, no pixels."""
    options = ExportOptions(10, pixels=False, half=True)
    return built(workspace, "starter", lambda: trained, generated, splits, options)


def built(
    workspace: Workspace,
    name: str,
    release: Callable[[], TrainedModel],
    images: Dataset,
    splits: Splits,
    options: ExportOptions,
) -> Path:
    """Build a bundle, unless another worker has done so."""
    target = workspace.bundle_of(Path(name))
    target.parent.mkdir(parents=True, exist_ok=True)
    with one_worker_at_a_time(target):
        if not target.exists():
            workspace.publish(release(), images, splits, target, options)
    return target


@pytest.fixture(scope="session")
def unlabelled(shared_folder: Path) -> tuple[Path, Path]:
    """A folder of 60 images without class folders, and the bundle that is built of it."""
    pytest.importorskip("timm", reason="needs the extra pretrained")
    root = shared_folder / "unlabelled"
    folder = root / "photos"
    with one_worker_at_a_time(root):
        if not folder.exists():
            (folder / "2019" / "june").mkdir(parents=True)
            for number in range(60):
                image = Image.fromarray(striped_image(number % 10, number)).resize((300, 280))
                place = "2019/june" if number % 2 else "."
                image.save(folder / place / f"{number:02d}.jpg", quality=95)
        command: list[str | Path] = ["resolve-bundle", "--data", folder, "--root", root]
        made = subprocess.run(
            [sys.executable, "-m", "training", *command],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return folder, Path(made.stdout.strip())


@pytest.fixture(scope="session")
def held_out() -> HeldOut:
    """The real images of the starter's gallery, which has no pixels: 100 of each class."""
    data = real_data()
    if data is None:
        pytest.skip("needs the real images: set KINDRED_DATA")
    starter = bundle.load(ROOT / "starter")
    wanted = dict(zip(starter.gallery.ids, starter.gallery.labels.tolist(), strict=True))
    found = read_images(data, wanted)
    if len(found) < len(wanted):
        pytest.skip(f"{data} does not have CIFAR-10 as image files")
    return HeldOut(np.stack(list(found.values())), [wanted[name] for name in found])


@pytest.fixture(scope="session")
def real_bundle_path(shared_folder: Path) -> Path:
    """The bundle of all 7,500 held-out real images, as `make serve` builds it. Takes minutes."""
    data = real_data()
    if data is None:
        pytest.skip("needs the real images: set KINDRED_DATA")
    root = shared_folder / "real"
    root.mkdir(exist_ok=True)
    with one_worker_at_a_time(root):
        if not (root / "starter").exists():
            (root / "starter").symlink_to(ROOT / "starter")
        resolve = [sys.executable, "-m", "training", "resolve-bundle"]
        made = subprocess.run(
            [*resolve, "--data", data, "--root", root],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return Path(made.stdout.strip())


@pytest.fixture(scope="session")
def real_bundle(real_bundle_path: Path) -> Bundle:
    """That bundle, loaded. Its gallery has the real images, so that no test decodes all 60,000."""
    return bundle.load(real_bundle_path)
