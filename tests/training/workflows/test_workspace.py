"""Tests of the long steps: what exists is loaded, what does not is made."""

import copy
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import short
from tests.support.factories import linked_copy, made_record, tiny
from tests.support.images import write_folder
from training import bundle
from training.bundle import Bundle, BundleError
from training.bundle.manifest import read_manifest
from training.bundle.writer import update_current_link
from training.data import dataset
from training.data.cifar10 import reader_class
from training.data.dataset import Dataset, DatasetError
from training.data.splits import Splits, split
from training.data.tensors import LabelledTensors
from training.experiments import record
from training.experiments.catalogue import find
from training.experiments.config import Experiment
from training.experiments.record import Record
from training.models import checkpoint
from training.trainer.evaluation import evaluate
from training.trainer.run import RunSpec
from training.trainer.run_store import RunStore
from training.workflows import choice
from training.workflows import workspace as workspace_module
from training.workflows.export import ExportOptions
from training.workflows.release import ReleaseError, evaluate_release
from training.workflows.resolve import resolve_bundle
from training.workflows.workspace import Workspace

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")

Released = tuple[Dataset, Splits, Bundle, Dataset]


def one_epoch(name: str) -> Experiment:
    return short(find(name), 1)


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "root", CPU)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to CIFAR-10's site, as without a network."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/cifar-10-python.tar.gz"
    monkeypatch.setattr(reader_class(), "url", url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise AssertionError("nothing must be trained here")

    monkeypatch.setattr(workspace_module, "run", refuse)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos", "photos"),
        ("a/photos.tar.gz", "photos"),
        ("photos.zip", "photos"),
        ("photos.tgz", "photos"),
        ("my.photos", "my.photos"),
        ("current", "current"),
        ("/", "images"),
    ],
)
def test_each_data_set_has_its_own_bundle_folder(data: str, name: str, empty: Workspace) -> None:
    found = empty.bundle_of(Path(data))
    assert found.parent == empty.root / "bundles"
    assert re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{6}}", found.name)


def test_without_data_the_bundle_folder_is_that_of_cifar10(empty: Workspace) -> None:
    assert empty.bundle_of(None) == empty.root / "bundles" / "cifar10"


def test_folders_with_the_same_name_have_different_bundle_folders(
    empty: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "a" / "photos", tmp_path / "b" / "photos"
    one.mkdir(parents=True)
    monkeypatch.chdir(one)
    assert empty.bundle_of(one) != empty.bundle_of(other)
    same = {empty.bundle_of(Path(path)) for path in (".", "../photos", str(one))}
    assert same == {empty.bundle_of(one)}


def test_read_splits_a_data_set_once(empty: Workspace, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", per_class=4, kinds=2)
    images, parts = empty.read(folder)
    assert parts == split(images, seed=0)
    assert len(list((empty.of(images).experiments / "splits").iterdir())) == 1
    assert empty.read(folder)[1] == parts


@pytest.mark.usefixtures("no_training")
def test_a_finished_run_is_loaded_and_not_trained_again(
    workspace: Workspace, trained: object, generated: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained
    parts = split(generated, seed=0)
    spec = workspace.spec(short(find("batchnorm-3")), "study", generated, parts)
    _, made = workspace.train_or_load(spec)
    assert made.status == "finished"
    assert f"{made.run_id}: already done" in capsys.readouterr().err


# The bundle to serve.


@pytest.mark.usefixtures("no_training", "no_network")
def test_an_existing_bundle_is_served(bundle_path: Path, empty: Workspace) -> None:
    built = linked_copy(bundle_path, empty.root / "bundles" / "mine")
    update_current_link(empty.current, built)
    assert resolve_bundle(empty, None) == built


@pytest.mark.usefixtures("no_training")
def test_an_existing_bundle_of_the_data_is_served(bundle_path: Path, empty: Workspace) -> None:
    built = linked_copy(bundle_path, empty.bundle_of(Path("photos.zip")))
    assert resolve_bundle(empty, Path("photos.zip")) == built


@pytest.mark.usefixtures("no_training")
def test_data_with_the_starters_test_split_is_embedded_with_its_network(
    bundle_without_pixels_path: Path,
    image_folder: Path,
    generated: Dataset,
    empty: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dataset, "load", lambda *_, **__: generated)
    starter = linked_copy(bundle_without_pixels_path, empty.starter)
    made = bundle.load(resolve_bundle(empty, image_folder))
    assert made.manifest.run_id == read_manifest(starter).run_id
    assert made.gallery.pixels is not None
    assert len(made.gallery) == 150  # the test split, as the images count as CIFAR-10's
    assert empty.current.resolve() == made.path


def test_a_network_is_trained_on_other_data(
    bundle_without_pixels_path: Path,
    empty: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    linked_copy(bundle_without_pixels_path, empty.starter)
    monkeypatch.setattr(choice, "find", one_epoch)
    folder = write_folder(tmp_path / "three", per_class=6, kinds=3)
    made = bundle.load(resolve_bundle(empty, folder, network="batchnorm-3"))
    assert made.manifest.classes == ("amber", "blue", "cyan")
    assert {one.stage for one in made.records} == {"study", "final"}
    assert empty.current.resolve() == made.path
    assert "network: batchnorm-3, as named" in capsys.readouterr().err


@pytest.mark.usefixtures("no_training", "no_network")
def test_without_data_and_network_the_starter_is_served_with_one_line_on_stderr(
    bundle_without_pixels_path: Path, empty: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    linked_copy(bundle_without_pixels_path, empty.starter)
    assert resolve_bundle(empty, None) == empty.starter
    (line,) = capsys.readouterr().err.splitlines()
    assert "CIFAR-10 cannot be downloaded" in line
    assert "make serve DATA=" in line


@pytest.mark.usefixtures("no_training")
def test_download_false_serves_the_starter_without_a_download(
    empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_class(), "url", "nonsense")
    assert resolve_bundle(empty, None, download=False) == empty.starter


@pytest.mark.usefixtures("no_training")
def test_missing_data_is_an_error_and_not_replaced_by_the_starter(
    empty: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=f"no data at {tmp_path}/none"):
        resolve_bundle(empty, tmp_path / "none")


# Releasing.


def test_a_release_does_not_replace_a_folder_that_is_not_a_bundle(
    empty: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("text")
    images = tiny()
    with pytest.raises(BundleError, match="is not a bundle"):  # before any training
        empty.release(images, split(images, 0), tmp_path, ExportOptions())
    assert not empty.checkpoints.exists()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """A small data set, its bundle made by sweep and release, and its own test images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace_module, "find", one_epoch)
        workspace = Workspace(tmp_path_factory.mktemp("released"), torch.device("cpu"))
        images, own_test = tiny(per_class=12), tiny(per_class=2, start=50)
        parts = split(images, 0)
        (studied,) = workspace.sweep([one_epoch("batchnorm-3")], [0], images, parts)
        assert studied.status != "failed"
        target = workspace.bundle_of(None)
        made = bundle.load(workspace.release(images, parts, target, ExportOptions(), own_test))
    return images, parts, made, own_test


def of_stage(made: Bundle, stage: str) -> Record:
    (found,) = (one for one in made.records if one.stage == stage)
    return found


def test_sweep_and_release_use_no_image_in_two_parts(released: Released) -> None:
    images, parts, made, _ = released
    gallery = set(made.gallery.ids)
    trained_on = {images.ids[n] for n in (*parts.train, *parts.validation)}
    assert gallery == {images.ids[n] for n in parts.test}
    assert not gallery & trained_on
    held_out = {one.dataset.splits["test"].indices_sha256 for one in made.records}
    assert len(held_out) == 1


def test_the_bundle_has_the_temperature_of_the_study(released: Released) -> None:
    _, _, made, _ = released
    study, final = (of_stage(made, stage).calibration for stage in ("study", "final"))
    assert study
    assert final
    assert study.temperature == final.temperature != 1
    assert made.network.architecture.temperature == final.temperature
    assert final.error_before != final.error_after
    assert made.manifest.metrics
    assert made.manifest.metrics.test_loss == pytest.approx(final.loss_after, rel=1e-5)


def test_the_temperature_of_an_older_study_is_fitted_with_its_network(
    released: Released, tmp_path: Path
) -> None:
    """The record may be older than calibration; the final run is calibrated nevertheless."""
    images, parts, made, _ = released
    study = of_stage(made, "study")
    workspace = Workspace(tmp_path, CPU)
    spec = RunSpec(study.settings, images, parts, 0, "study", CPU)
    assert spec.run_id == study.run_id
    record.write(study.model_copy(update={"calibration": None}), workspace.experiments)
    final_spec = replace(spec, stage="final")
    elsewhere = RunStore(workspace.experiments, tmp_path)
    assert elsewhere.study_temperature(final_spec) is None
    checkpoint.save(made.network, workspace.checkpoints / spec.run_id)
    _, final = workspace.train_or_load(final_spec)
    assert final.calibration


def test_an_older_uncalibrated_final_run_gets_the_temperature_of_its_study(
    released: Released, tmp_path: Path
) -> None:
    images, parts, made, _ = released
    study, final = of_stage(made, "study"), of_stage(made, "final")
    assert study.calibration
    workspace = Workspace(tmp_path, CPU)
    uncalibrated = copy.deepcopy(made.network)
    uncalibrated.calibrate(1.0)
    checkpoint.save(uncalibrated, workspace.checkpoints / final.run_id)
    record.write(final.model_copy(update={"calibration": None}), workspace.experiments)
    record.write(study, workspace.experiments)
    network, again = workspace.train_or_load(workspace.spec(study.settings, "final", images, parts))
    assert network.architecture.temperature == study.calibration.temperature
    assert again.calibration
    assert final.calibration
    assert again.calibration.model_dump() == pytest.approx(final.calibration.model_dump(), rel=1e-5)
    (saved,) = (one for one in record.read_all(workspace.experiments) if one.stage == "final")
    assert saved == again
    assert checkpoint.load(workspace.checkpoints / final.run_id).architecture.temperature != 1


def test_a_final_run_that_stays_uncalibrated_prints_a_warning(
    empty: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tiny(per_class=4, kinds=2)
    spec = empty.spec(one_epoch("none-2"), "final", images, split(images, 0))
    _, made = empty.train_or_load(spec)
    assert made.calibration is None
    assert "probabilities stay uncalibrated" in capsys.readouterr().err


def test_the_released_network_has_retrieval_metrics_of_every_layer(released: Released) -> None:
    _, parts, made, _ = released
    layers = of_stage(made, "final").retrieval
    assert layers
    assert set(layers) == {"conv1", "conv2", "conv3", "penultimate", "logits"}
    assert {one.gallery for one in layers.values()} == {len(parts.test)}
    assert layers["conv2"].dimension == 8192
    assert of_stage(made, "study").retrieval is None


def test_a_bundle_with_pixels_has_a_neighbour_figure_of_each_class(
    released: Released,
) -> None:
    images, _, made, _ = released
    for number in range(len(images.classes)):
        figure = made.figures[f"neighbours-{number}.png"]
        assert figure
        assert figure.startswith(b"\x89PNG")


def test_only_the_final_network_is_evaluated_on_the_data_sets_own_test_images(
    released: Released,
) -> None:
    _, _, made, own_test = released
    found = of_stage(made, "final").own_test
    again = evaluate(made.network, LabelledTensors(own_test.images, own_test.labels))
    assert found
    assert found.confusion_matrix == again.confusion_matrix
    assert found.loss == pytest.approx(again.loss, rel=1e-5)
    assert of_stage(made, "study").own_test is None


def test_own_test_images_of_other_classes_are_refused(
    released: Released, empty: Workspace, tmp_path: Path
) -> None:
    images, parts, _, _ = released
    with pytest.raises(ReleaseError, match="other classes than its training images: jade"):
        empty.release(images, parts, tmp_path / "bundle", ExportOptions(), tiny(kinds=9))
    assert not empty.checkpoints.exists()  # before any training


def test_an_evaluated_release_is_not_evaluated_again(released: Released) -> None:
    images, parts, made, own_test = released
    final = of_stage(made, "final")
    assert evaluate_release(made.network, final, images, parts, own_test, CPU) == final


def test_own_test_images_are_read_if_the_data_set_has_any(empty: Workspace, tmp_path: Path) -> None:
    write_folder(tmp_path / "both", 1)
    write_folder(tmp_path / "both", 2, partition="test")
    write_folder(tmp_path / "train", 1)
    found = empty.read_own_test(tmp_path / "both")
    assert found
    assert len(found) == 20
    assert empty.read_own_test(tmp_path / "train") is None


def test_the_error_for_an_unreadable_own_test_image_names_it(
    empty: Workspace, tmp_path: Path
) -> None:
    write_folder(tmp_path, 1, partition="test")
    (tmp_path / "test" / "amber" / "00000.png").write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"amber/00000\.png"):
        empty.read_own_test(tmp_path)


def test_the_error_for_a_damaged_record_names_the_file(empty: Workspace) -> None:
    file = record.write(made_record(), empty.experiments)
    file.write_text("{")
    images = tiny(per_class=4)
    with pytest.raises(record.RecordError, match=str(file)):
        empty.release(images, split(images, 0), empty.bundle_of(None), ExportOptions())
