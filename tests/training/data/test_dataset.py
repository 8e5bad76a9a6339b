"""Reading image folders, and archives of them, as labelled tensors."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.factories import tiny
from tests.support.images import KINDS, striped_image, write_folder
from training.data.cifar10 import CLASSES
from training.data.dataset import Dataset, DatasetError, load


def png(kind: int, seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(striped_image(kind, seed)).save(stream, "png")
    return stream.getvalue()


def write(folder: Path, *names: str) -> Path:
    """Write different images with these names."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number % 10, number))
    return folder


def tar_of(folder: Path, file: Path, inside: str) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        archive.add(folder, inside)
    return file


def zip_of(folder: Path, file: Path, inside: str) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"{inside}/{path.relative_to(folder)}")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of twelve images of three classes."""
    return write_folder(tmp_path / "photos", per_class=4, kinds=3)


def test_a_folder_gives_images_labels_and_class_names(folder: Path) -> None:
    dataset = load(folder)
    assert (dataset.name, dataset.classes, len(dataset)) == ("photos", KINDS[:3], 12)
    assert (dataset.images.shape, dataset.images.dtype) == ((12, 3, 32, 32), torch.uint8)
    assert dataset.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_the_pixels_equal_those_of_the_files(folder: Path) -> None:
    dataset = load(folder)
    position = dataset.ids.index("train-blue-00002.png")
    assert np.array_equal(dataset.images[position].permute(1, 2, 0), striped_image(1, 2))


def test_all_parts_are_read_and_each_image_knows_its_part(folder: Path) -> None:
    write_folder(folder, per_class=2, kinds=3, partition="test")
    write_folder(folder, per_class=1, kinds=3, partition="val")
    everything, test = load(folder), load(folder, "test")
    assert everything.files
    assert everything.files.parts
    assert Counter(everything.files.parts) == {"train": 12, "test": 6, "validation": 3}
    assert len(test) == 6
    assert all(name.startswith("test-") for name in test.ids)


def test_each_image_knows_its_file(folder: Path) -> None:
    dataset = load(folder / "train")
    assert dataset.files
    assert dataset.files.parts is None
    assert dataset.files.paths[0] == "amber/00000.png"
    assert dataset.ids[0] == "amber-00000.png"


def test_large_images_have_a_thumbnail_of_their_centre_square(tmp_path: Path) -> None:
    for number, size in enumerate([(600, 400), (400, 600), (100, 80), (32, 32)]):
        (tmp_path / f"kind{number}").mkdir()
        Image.new("RGB", size, (200, 30, 40)).save(tmp_path / f"kind{number}" / "one.png")
    files = load(tmp_path).files
    assert files
    made = [files.thumbnails[position] for position in range(4)]
    sizes = [Image.open(io.BytesIO(content)).size if content else None for content in made]
    assert sizes == [(256, 256), (256, 256), (80, 80), None]


def test_class_folders_without_partitions_are_training_data(folder: Path) -> None:
    flat, nested = load(folder / "train"), load(folder)
    assert flat.classes == nested.classes
    assert torch.equal(flat.images, nested.images)


def test_class_folders_may_be_links(folder: Path, tmp_path: Path) -> None:
    """A subset of a data set may consist of links. A link to a parent folder is not followed."""
    subset = tmp_path / "subset"
    subset.mkdir()
    for name in KINDS[:2]:
        (subset / name).symlink_to(folder / "train" / name)
    (subset / KINDS[0] / "again").symlink_to(subset)
    found = load(subset)
    assert set(found.classes) == set(KINDS[:2])
    assert (found.name, len(found)) == ("subset", 8)


def test_the_current_folder_gives_the_name_of_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert load(Path()).name == "photos"


def test_an_image_of_an_unsupported_format_is_named_and_so_is_its_class(folder: Path) -> None:
    file = folder / "train/phone/one.heic"
    file.parent.mkdir()
    file.write_bytes(b"\0\0\0\x18ftypheic")
    files = load(folder).files
    assert files
    (line,) = files.unreadable
    assert line.startswith("train/phone/one.heic (not an image in PNG, JPEG, ")
    assert files.notes == ("folders without a usable image, so no classes: phone",)


@pytest.mark.parametrize("inside", ["photos", "a/b/photos"])
@pytest.mark.parametrize(("suffix", "pack"), [("tar.gz", tar_of), ("zip", zip_of)])
def test_an_archive_gives_the_same_data_as_its_folder(
    folder: Path, tmp_path: Path, suffix: str, inside: str, pack: object
) -> None:
    assert callable(pack)
    archive = pack(folder, tmp_path / f"photos.{suffix}", inside)
    assert load(archive).fingerprint == load(folder).fingerprint
    assert load(archive).name == "photos"


def test_images_of_any_size_are_resized_to_32_by_32(tmp_path: Path) -> None:
    for kind, size in enumerate([(100, 80), (20, 33)]):
        (tmp_path / KINDS[kind]).mkdir()
        Image.new("RGB", size, (kind, 0, 0)).save(tmp_path / KINDS[kind] / "one.png")
    assert load(tmp_path).images.shape == (2, 3, 32, 32)


def test_every_decoded_image_is_reported(folder: Path) -> None:
    seen: list[int] = []
    load(folder, on_image=lambda: seen.append(1))
    assert len(seen) == 12


def test_hidden_files_and_other_formats_are_ignored(folder: Path) -> None:
    write(folder, "train/amber/.hidden.png", "__MACOSX/train/amber/0.png", ".git/amber/0.png")
    (folder / "train" / "amber" / "notes.txt").write_text("amber")
    assert len(load(folder)) == 12


def test_cifar10_files_named_by_position_keep_canonical_ids_and_order(tmp_path: Path) -> None:
    positions = [90, 12, 4099, 7, 33, 52, 41, 8, 2, 16]
    names = [f"train/{name}/{n:05d}.png" for name, n in zip(CLASSES, positions, strict=True)]
    dataset = load(write(tmp_path, *names))
    assert dataset.name == "cifar10-png"
    assert dataset.ids == tuple(f"cifar10-train-{n:05d}" for n in sorted(positions))
    assert [dataset.classes[label] for label in dataset.labels[:3]] == ["ship", "cat", "horse"]


def test_two_files_with_the_same_position_are_not_cifar10(tmp_path: Path) -> None:
    names = [f"train/{name}/{n}.png" for n, name in enumerate(CLASSES)]
    dataset = load(write(tmp_path, *names, "train/cat/09.png"))
    assert not dataset.is_cifar10
    assert len(set(dataset.ids)) == 11


def test_numbered_files_of_other_classes_are_not_cifar10(folder: Path) -> None:
    assert not load(folder).is_cifar10


def test_colliding_names_get_unique_ids(tmp_path: Path) -> None:
    names = ("cat/a/x.png", "cat/b/x.png", "cat/x.png-2.png", "dog/é.png")
    ids = load(write(tmp_path, *names, "dog/ü.png", "cat/x y.png", "cat/x?y.png")).ids
    assert len(set(ids)) == 7


def test_ids_are_safe_for_urls(tmp_path: Path) -> None:
    ids = load(write(tmp_path, "a cat/b?c#d.png", "dog/100%.png")).ids
    assert ids == ("a-cat-b-c-d.png", "dog-100-.png")


def test_an_unreadable_image_is_left_out_and_named(folder: Path) -> None:
    (folder / "train" / "blue" / "00001.png").write_bytes(b"not an image")
    dataset = load(folder)
    assert dataset.files
    assert len(dataset) == 11
    (line,) = dataset.files.unreadable
    assert line.startswith("train/blue/00001.png (not an image in ")
    assert " at 0x" not in line


def test_strict_makes_an_unreadable_image_an_error(folder: Path) -> None:
    (folder / "train" / "blue" / "00001.png").write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"1 images in .* cannot be read: train/blue/00001\.png"):
        load(folder, strict=True)


def test_an_unreadable_image_of_cifar10_is_an_error(tmp_path: Path) -> None:
    """Without it, its images would be split in another way than those of the same name."""
    folder = write(tmp_path, *(f"train/{name}/{n}.png" for n, name in enumerate(CLASSES)))
    (folder / "train/cat/3.png").write_bytes(b"not an image")
    with pytest.raises(DatasetError, match=r"cat/3\.png"):
        load(folder)


def test_the_first_of_many_unreadable_images_are_named(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"12 images .*amber/00000.png.*blue/00000.png.*\.\.\."):
        load(folder)


def test_an_image_with_damaged_chunks_is_named(folder: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
    broken = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + bytes(4) + b"\0\0\0\0" + bytes(4)
    (folder / "train" / "amber" / "00000.png").write_bytes(broken)
    files = load(folder).files
    assert files
    assert files.unreadable[0].startswith("train/amber/00000.png (")


def test_an_empty_folder_is_reported_with_the_expected_layouts(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as raised:
        load(tmp_path)
    message = str(raised.value)
    assert str(tmp_path) in message
    assert "train/<class>/<image>" in message
    assert "CIFAR-10 batches" in message


def test_a_missing_partition_is_reported(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"no test images in .*test/<class>/<image>"):
        load(folder, "test")


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"no data at {tmp_path}/photos: no such file or folder"):
        load(tmp_path / "photos")


def test_a_file_that_is_not_an_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "photos.rar").write_bytes(b"something else")
    with pytest.raises(DatasetError, match=r"photos\.rar is neither a folder nor a tar or zip"):
        load(tmp_path / "photos.rar")


@pytest.mark.parametrize(("suffix", "pack"), [("tar.gz", tar_of), ("zip", zip_of)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_archive_is_named(
    folder: Path, tmp_path: Path, suffix: str, share: float, pack: object
) -> None:
    assert callable(pack)
    archive = pack(folder, tmp_path / f"photos.{suffix}", "photos")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DatasetError, match=r"photos\."):
        load(archive)


@pytest.mark.parametrize(("suffix", "pack"), [("tar.gz", tar_of), ("zip", zip_of)])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_an_archive_with_a_damaged_middle_is_never_read_in_silence(
    folder: Path, tmp_path: Path, suffix: str, share: float, pack: object
) -> None:
    """A tar is refused. Of a zip, the images that are whole can be read, and the others named."""
    assert callable(pack)
    archive = pack(folder, tmp_path / f"photos.{suffix}", "photos")
    content = bytearray(archive.read_bytes())
    start = int(share * len(content))
    content[start : start + 200] = bytes(200)
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match=r"photos\."):
        load(archive, strict=True)
    if suffix == "zip":
        dataset = load(archive)
        assert dataset.files
        assert len(dataset) + len(dataset.files.unreadable) == 12


def test_the_fingerprint_is_independent_of_the_path(folder: Path, tmp_path: Path) -> None:
    copy = write_folder(tmp_path / "copy", per_class=4, kinds=3)
    assert load(copy).fingerprint == load(folder).fingerprint


def test_the_fingerprint_of_a_known_data_set() -> None:
    images = torch.arange(2 * 3 * 32 * 32).to(torch.uint8).view(2, 3, 32, 32)
    dataset = Dataset("any", ("a", "b"), images, torch.tensor([0, 1]), ("x", "y"))
    assert dataset.fingerprint == "5264d6ad6d7d6965e789a03cb28015a4ce78c17deb3379d77d05240439979cd7"


def changed(what: str) -> Dataset:
    """Return the tiny data set with one change."""
    before = tiny(per_class=1)
    images, labels = before.images.clone(), before.labels.clone()
    classes, ids = before.classes, before.ids
    match what:
        case "pixel":
            images[4, 2, 31, 31] ^= 1
        case "label":
            labels[0] = 1
        case "class name":
            classes = ("other", *classes[1:])
        case "id":
            ids = ("other", *ids[1:])
        case "order":
            images = images.flip(0)
    return Dataset(before.name, classes, images, labels, ids)


@pytest.mark.parametrize("what", ["pixel", "label", "class name", "id", "order"])
def test_every_change_of_the_data_changes_the_fingerprint(what: str) -> None:
    assert changed(what).fingerprint != changed("nothing").fingerprint
