"""What all tests share: generated pictures, and small bundles of a network trained on them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.images import real_data, write_folder
from tests.support.processes import ROOT
from training.data.dataset import Dataset, load
from training.data.splits import Splits, split
from training.experiments import record
from training.experiments.catalogue import find
from training.experiments.config import Experiment
from training.workflows.release import ExportOptions, TrainedModel
from training.workflows.workspace import Workspace


@pytest.fixture(scope="session", autouse=True)
def _shared_gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What services add that several tests share: nothing, and not where people keep theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINDRED_GALLERY", str(tmp_path_factory.mktemp("kept") / "gallery"))
        yield


@pytest.fixture(autouse=True)
def _own_gallery(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test's own services keep what is added in a folder of its own."""
    monkeypatch.setenv("KINDRED_GALLERY", str(tmp_path_factory.mktemp("own") / "gallery"))


def short(experiment: Experiment, epochs: int = 3) -> Experiment:
    """The same experiment in fewer epochs; small batches, so that batch norm still settles."""
    update = {"epochs": epochs, "batch_size": 16, "precision": "fp32"}
    config = experiment.config.model_copy(update=update)
    return experiment.model_copy(update={"config": config})


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 generated pictures of ten classes as an image folder."""
    return write_folder(tmp_path_factory.mktemp("pictures"), per_class=100)


@pytest.fixture(scope="session")
def pictures(picture_folder: Path) -> Dataset:
    """The generated pictures in memory."""
    return load(picture_folder)


@pytest.fixture(scope="session")
def splits(pictures: Dataset) -> Splits:
    """Their split with seed 0."""
    return split(pictures, seed=0)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An empty workspace on the CPU."""
    return Workspace(tmp_path_factory.mktemp("workspace"), torch.device("cpu"))


@pytest.fixture(scope="session")
def trained(workspace: Workspace, pictures: Dataset, splits: Splits) -> TrainedModel:
    """`batchnorm-3`, studied and released in three epochs."""
    experiment = short(find("batchnorm-3"))
    workspace.train(experiment, "study", pictures, splits)
    network, final = workspace.train(experiment, "final", pictures, splits)
    return TrainedModel(network, final, record.read_all(workspace.experiments))


@pytest.fixture(scope="session")
def bundle_path(
    workspace: Workspace, trained: TrainedModel, pictures: Dataset, splits: Splits
) -> Path:
    """A bundle of 150 generated pictures."""
    target = workspace.bundle_of(Path("pictures"))
    return workspace.publish(trained, pictures, splits, target, ExportOptions())


@pytest.fixture(scope="session")
def bundle_without_pixels_path(
    workspace: Workspace, trained: TrainedModel, pictures: Dataset, splits: Splits
) -> Path:
    """A bundle in the shape of the starter: 10 pictures a class, fp16, no pixels."""
    target = workspace.bundle_of(Path("starter"))
    return workspace.publish(
        trained, pictures, splits, target, ExportOptions(10, pixels=False, half=True)
    )


@pytest.fixture(scope="session")
def real_bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter's network before all 7,500 real images that it held out, as `make serve` does."""
    data = real_data()
    if data is None:
        pytest.skip("needs the real images: set KINDRED_DATA")
    root = tmp_path_factory.mktemp("real")
    (root / "starter").symlink_to(ROOT / "starter")
    made = subprocess.run(
        [sys.executable, "-m", "training", "prepare", "--data", data, "--root", root],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Path(made.stdout.strip())
