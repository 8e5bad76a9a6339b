"""Writing a bundle: complete or not at all."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

from training import bundle
from training.bundle import BundleError, writer
from training.bundle.manifest import MANIFEST, dump, read_manifest
from training.bundle.writer import BundleContents
from training.data.dataset import Dataset
from training.data.splits import Splits
from training.models import onnx_export
from training.workflows.export import ExportOptions, build_bundle
from training.workflows.release import TrainedModel


@pytest.fixture(scope="module")
def contents(trained: TrainedModel, generated: Dataset, splits: Splits) -> BundleContents:
    return build_bundle(trained, generated, splits, torch.device("cpu"), ExportOptions(2))


@pytest.fixture(scope="module")
def exported(contents: BundleContents, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The ONNX file of the network, exported once."""
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx_export.write(contents.network, file, contents.dtype)
    return file.read_bytes()


@pytest.fixture
def real_export() -> None:
    """Requested by the tests that export the network themselves."""


@pytest.fixture(autouse=True)
def export_once(
    request: pytest.FixtureRequest, exported: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write the exported file instead of exporting again: an export takes seconds."""
    if "real_export" not in request.fixturenames:
        monkeypatch.setattr(onnx_export, "write", lambda _, file, __: file.write_bytes(exported))


def hashes(path: Path) -> dict[str, str]:
    return {name: file.sha256 for name, file in read_manifest(path).files.items()}


def test_a_written_bundle_loads_with_the_same_contents(
    contents: BundleContents, tmp_path: Path, real_export: None
) -> None:
    manifest = writer.write(contents, tmp_path / "new" / "bundle")
    found = bundle.load(tmp_path / "new" / "bundle")
    assert found.manifest == manifest
    assert found.gallery.ids == contents.gallery.ids
    assert found.manifest.metrics == contents.metrics
    assert found.manifest.classes == contents.classes
    assert found.figures == contents.figures
    assert {
        layer: index.quality for layer, index in found.index_metadata.items()
    } == contents.qualities


def test_writing_leaves_no_temporary_files(contents: BundleContents, tmp_path: Path) -> None:
    for _ in range(2):
        writer.write(contents, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_is_readable_for_all_users(contents: BundleContents, tmp_path: Path) -> None:
    writer.write(contents, tmp_path / "bundle")
    assert (tmp_path / "bundle").stat().st_mode & 0o777 == 0o755


def test_a_new_bundle_replaces_the_old(contents: BundleContents, tmp_path: Path) -> None:
    writer.write(contents, tmp_path / "bundle")
    (tmp_path / "bundle" / "stray").write_text("from the old bundle")
    writer.write(contents, tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "stray").exists()


def test_equal_contents_have_equal_versions(
    contents: BundleContents, tmp_path: Path, real_export: None
) -> None:
    versions = {writer.write(contents, tmp_path / name).version for name in ("one", "two")}
    assert len(versions) == 1


def test_other_contents_have_another_version(
    contents: BundleContents, bundle_path: Path, tmp_path: Path
) -> None:
    assert writer.write(contents, tmp_path / "b").version != read_manifest(bundle_path).version


def test_the_manifest_is_written_last(
    contents: BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present: list[set[str]] = []

    def dump_and_list(model: BaseModel, file: Path) -> None:
        if file.name == MANIFEST:
            present.append({path.name for path in file.parent.rglob("*") if path.is_file()})
        dump(model, file)

    monkeypatch.setattr(writer, "dump", dump_and_list)
    manifest = writer.write(contents, tmp_path / "bundle")
    assert present == [{Path(name).name for name in manifest.files}]


@pytest.mark.parametrize("step", ["dump", "_version", "reference", "_sync", "_replace"])
def test_a_failure_at_any_step_leaves_only_the_old_bundle(
    step: str, contents: BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(contents, tmp_path / "bundle")
    before = hashes(tmp_path / "bundle")
    monkeypatch.setattr(writer, step, fail)
    with pytest.raises(OSError, match="disk full"):
        writer.write(contents, tmp_path / "bundle")
    assert hashes(tmp_path / "bundle") == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_failure_of_the_last_rename_restores_the_old_bundle(
    contents: BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(contents, tmp_path / "bundle")
    before = hashes(tmp_path / "bundle")
    rename = Path.rename

    def fail_for_the_new_bundle(self: Path, target: Path) -> Path:
        if target.name == "bundle" and "-old-" not in self.name:
            fail()
        return rename(self, target)

    monkeypatch.setattr(writer, "_exchange", lambda *_: False)  # as on systems without renameat2
    monkeypatch.setattr(Path, "rename", fail_for_the_new_bundle)
    with pytest.raises(OSError, match="disk full"):
        writer.write(contents, tmp_path / "bundle")
    assert hashes(tmp_path / "bundle") == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_is_replaced_if_folders_cannot_be_exchanged(
    contents: BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_exchange", lambda *_: False)
    writer.write(contents, tmp_path / "bundle")
    writer.write(replace(contents, name="new"), tmp_path / "bundle")
    assert bundle.load(tmp_path / "bundle").manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_a_bundle_exists_at_every_moment_of_its_replacement(
    contents: BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange is one system call, so `kill -9` cannot interrupt it between two renames."""
    writer.write(contents, tmp_path / "bundle")
    monkeypatch.setattr(Path, "rename", fail)
    writer.write(replace(contents, name="new"), tmp_path / "bundle")
    assert bundle.load(tmp_path / "bundle").manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_link_to_a_bundle_stays_a_link(contents: BundleContents, tmp_path: Path) -> None:
    writer.write(contents, tmp_path / "one")
    writer.update_current_link(tmp_path / "current", tmp_path / "one")
    writer.write(replace(contents, name="new"), tmp_path / "current")
    assert (tmp_path / "current").is_symlink()
    assert bundle.load(tmp_path / "one").manifest.name == "new"


def test_a_folder_that_is_not_a_bundle_is_not_replaced(
    contents: BundleContents, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters.txt").write_text("dear")
    with pytest.raises(
        BundleError, match=f"{tmp_path}/mine is not a bundle, so it is not replaced"
    ):
        writer.write(contents, tmp_path / "mine")
    assert (tmp_path / "mine" / "letters.txt").read_text() == "dear"


def test_an_empty_folder_may_become_a_bundle(contents: BundleContents, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    writer.write(contents, tmp_path / "empty")
    assert bundle.load(tmp_path / "empty").manifest.name == "batchnorm-3"


def test_the_current_link_is_relative_and_survives_a_move(tmp_path: Path) -> None:
    (tmp_path / "bundles" / "one").mkdir(parents=True)
    writer.update_current_link(tmp_path / "bundles" / "current", tmp_path / "bundles" / "one")
    shutil.move(tmp_path / "bundles", tmp_path / "moved")
    assert (tmp_path / "moved" / "current").resolve() == tmp_path / "moved" / "one"


def test_the_current_link_is_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        writer.update_current_link(tmp_path / "current", tmp_path / name)
    assert (tmp_path / "current").resolve() == tmp_path / "two"
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "current"}


def test_the_current_link_keeps_its_old_target_if_replacing_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    writer.update_current_link(tmp_path / "current", tmp_path / "one")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        writer.update_current_link(tmp_path / "current", tmp_path / "two")
    assert (tmp_path / "current").resolve() == tmp_path / "one"


def fail(*_args: object) -> None:
    """Raise the error of a full disk."""
    raise OSError("disk full")
