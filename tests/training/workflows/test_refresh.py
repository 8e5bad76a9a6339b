"""A folder that changes after its bundle was built."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import short
from tests.support.factories import linked_copy
from tests.support.images import KINDS, striped_image, write_folder
from training import bundle
from training.bundle import Bundle
from training.bundle.manifest import MANIFEST
from training.embedding import embed as embedding
from training.experiments.catalogue import find
from training.workflows import choice
from training.workflows import refresh as refresh_module
from training.workflows.refresh import refresh
from training.workflows.resolve import resolve_bundle
from training.workflows.workspace import Workspace

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
Embedded = list[int]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of 24 images of three classes, and its bundle."""
    root = tmp_path_factory.mktemp("living")
    folder = write_folder(root / "photos", per_class=8, kinds=3) / "train"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "find", lambda name: short(find(name), 1))
        return folder, resolve_bundle(Workspace(root, CPU), folder, network="batchnorm-3")


@pytest.fixture
def folder(original: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(original[0], tmp_path / "photos", copy_function=shutil.copy2)
    return tmp_path / "photos"


@pytest.fixture
def update(original: tuple[Path, Path], folder: Path, tmp_path: Path) -> Callable[[], Bundle]:
    """A function that brings a copy of the bundle up to date with `folder`, and loads it."""
    path = linked_copy(original[1], tmp_path / "bundle")

    def run() -> Bundle:
        refresh(path, folder, CPU)
        return bundle.load(path)

    run()  # the folder is a copy, so its times are others
    return run


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """The number of images of each call of `embed`."""
    counts: Embedded = []
    embed = embedding.embed

    def counting(network, images, *more):  # type: ignore[no-untyped-def]  # passes all on
        counts.append(len(images))
        return embed(network, images, *more)

    monkeypatch.setattr(refresh_module, "embed", counting)
    return counts


def add(folder: Path, name: str, kind: int, seed: int) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    Image.fromarray(striped_image(kind, seed)).resize((90, 70)).save(folder / name)


def test_an_unchanged_folder_costs_nothing_and_says_nothing(
    update: Callable[[], Bundle], embedded: Embedded, capsys: pytest.CaptureFixture[str]
) -> None:
    before = update().manifest
    capsys.readouterr()
    assert update().manifest == before
    assert capsys.readouterr().err == ""
    assert embedded == []


def test_new_changed_and_gone_images_are_taken_over_and_the_network_stays(
    update: Callable[[], Bundle],
    folder: Path,
    embedded: Embedded,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = update()
    add(folder, "amber/new.png", 0, 100)
    add(folder, "blue/00003.png", 1, 101)
    (folder / "cyan/00000.png").unlink()
    after = update()
    assert embedded == [2]  # nothing else is embedded again
    assert "1 images new, 1 changed, 1 gone. The network is kept" in capsys.readouterr().err
    assert after.network_id == before.network_id
    assert after.manifest.metrics == before.manifest.metrics
    assert after.manifest.version != before.manifest.version
    assert after.records == before.records
    files = dict(zip(after.gallery.files or (), after.gallery.ids, strict=True))
    assert len(files) == 24
    assert "cyan/00000.png" not in files
    assert files["amber/new.png"] == "amber-new.png"
    part_of = dict(zip(after.gallery.ids, after.gallery.parts or (), strict=True))
    assert part_of["amber-new.png"] == part_of["blue-00003.png"] == "new"
    assert sum(part == "new" for part in part_of.values()) == 2
    new = after.gallery.positions["amber-new.png"]
    assert after.manifest.classes[after.gallery.labels[new]] == "amber"
    thumbnail = after.gallery.thumbnail("amber-new.png")
    assert thumbnail
    assert thumbnail.startswith(b"\xff\xd8")


def test_what_is_updated_is_found_as_in_a_new_bundle(
    update: Callable[[], Bundle], folder: Path
) -> None:
    add(folder, "amber/new.png", 0, 100)
    after = update()
    assert after.gallery.pixels is not None
    images = torch.from_numpy(np.array(after.gallery.pixels).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        outputs = after.network.representations(images, ("conv2", "logits"))
    _, found = after.indexes["conv2"].search(outputs["conv2"].numpy(), 1, exact=True)
    assert found[:, 0].tolist() == list(range(len(after.gallery)))
    logits = after.indexes["logits"].reconstruct(range(len(after.gallery)))
    assert np.allclose(logits, torch.nn.functional.normalize(outputs["logits"]), atol=1e-3)


def test_new_images_have_a_place_on_the_maps_and_others_keep_theirs(
    update: Callable[[], Bundle], folder: Path
) -> None:
    before = update()
    add(folder, "amber/new.png", 0, 100)
    after = update()
    assert after.maps.keys() == before.maps.keys() != set()
    new = after.gallery.positions["amber-new.png"]
    for layer, one in after.maps.items():
        assert one.places.shape == (len(after.gallery), 2)
        assert 0 <= one.places[new].min() <= one.places[new].max() <= 1
        for image_id, row in before.gallery.positions.items():
            kept = one.places[after.gallery.positions[image_id]]
            assert kept == pytest.approx(before.maps[layer].places[row], abs=1e-4)
    assert after.decoders.keys() == before.decoders.keys() != set()


def test_a_file_that_was_only_touched_is_not_embedded_again(
    update: Callable[[], Bundle],
    folder: Path,
    embedded: Embedded,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = update()
    capsys.readouterr()
    (folder / "amber/00000.png").touch()
    after = update()
    assert embedded == []
    assert after.gallery.ids == before.gallery.ids
    assert after.manifest.source != before.manifest.source
    assert "network is kept" not in capsys.readouterr().err


def test_a_moved_file_gets_the_label_of_its_folder(
    update: Callable[[], Bundle], folder: Path
) -> None:
    (folder / "amber/00000.png").rename(folder / "blue/moved.png")
    gallery = update().gallery
    assert "amber-00000.png" not in gallery.positions
    assert gallery.labels[gallery.positions["blue-moved.png"]] == KINDS.index("blue")


def test_images_of_a_new_class_are_left_out_and_named_at_each_start(
    update: Callable[[], Bundle], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(folder, "lily/1.png", 5, 1)
    add(folder, "amber/new.png", 0, 100)
    for _ in range(2):
        assert len(update().gallery) == 25
        text = capsys.readouterr().err
        assert "does not know these classes, so they are left out: lily (1 images)" in text
        assert "RETRAIN=1" in text


def test_a_folder_that_is_gone_leaves_the_bundle_as_it_is(
    update: Callable[[], Bundle], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = update().manifest
    shutil.rmtree(folder)
    assert update().manifest == before
    assert "The bundle is served as it was built" in capsys.readouterr().err


def test_an_archive_that_was_replaced_is_compared_by_its_pixels(
    original: tuple[Path, Path], folder: Path, tmp_path: Path, embedded: Embedded
) -> None:
    path = linked_copy(original[1], tmp_path / "of-archive")
    add(folder, "amber/new.png", 0, 100)
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    refresh(path, Path(archive), CPU)
    assert embedded == [1]
    assert len(bundle.load(path).gallery) == 25


def test_retrain_trains_a_network_on_what_is_there_now(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "find", lambda name: short(find(name), 1))
    workspace = Workspace(tmp_path / "root", CPU)
    first = bundle.load(resolve_bundle(workspace, folder, network="batchnorm-3"))
    for seed in range(4):
        add(folder, f"lily/{seed}.png", 5, seed)
    again = bundle.load(resolve_bundle(workspace, folder, retrain=True, network="batchnorm-3"))
    assert again.manifest.classes == ("amber", "blue", "cyan", "lily")
    assert again.network_id != first.network_id
    assert (again.path / MANIFEST).is_file()
