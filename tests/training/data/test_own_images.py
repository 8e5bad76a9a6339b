"""Folders and archives as people have them: links, odd names, formats, metadata, system files."""

import io
import os
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from kindred import upload
from service.images import decode, read_header
from tests.support.factories import labelled
from tests.support.images import striped_image
from training.data.dataset import Dataset, DatasetError, ImageFiles, NoClassesError, load
from training.data.folder_layout import NO_CLASS
from training.data.formats import FORMATS, SUFFIXES, describe_error
from training.data.image_files import TemporaryBytes, Thumbnails
from training.data.splits import describe, split

Pack = Callable[[Path, Path], Path]


def picture(seed: int = 0, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(striped_image(seed % 10, seed)).save(file, kind, **options)
    return file.getvalue()


def write(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(seed))
    return folder


def in_place(folder: Path, _: Path) -> Path:
    return folder


def tar_of(folder: Path, target: Path) -> Path:
    with tarfile.open(target / "photos.tar", "w") as archive:
        archive.add(folder, "photos")
    return target / "photos.tar"


def zip_of(folder: Path, target: Path) -> Path:
    """Pack a folder with its links as links, as `zip --symlinks` does."""
    with zipfile.ZipFile(target / "photos.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            name = f"photos/{path.relative_to(folder)}"
            if path.is_symlink():
                info = zipfile.ZipInfo(name)
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, str(path.readlink()))
            else:
                archive.write(path, name)
    return target / "photos.zip"


def files_of(dataset: Dataset) -> ImageFiles:
    assert dataset.files
    return dataset.files


def classes_of(dataset: Dataset) -> dict[str, str]:
    paths = files_of(dataset).paths
    return {p: dataset.classes[n] for p, n in zip(paths, dataset.labels, strict=True)}


@pytest.mark.parametrize("pack", [in_place, tar_of, zip_of])
def test_links_are_read_as_their_files_and_dangling_ones_are_named(
    pack: Pack, tmp_path: Path
) -> None:
    folder = write(tmp_path / "photos", "rose/1.png", "tulip/2.png")
    os.link(folder / "rose/1.png", folder / "tulip/hard.png")
    (folder / "tulip/soft.png").symlink_to("../rose/1.png")
    (folder / "tulip/twice.png").symlink_to("soft.png")
    (folder / "rose/gone.png").symlink_to("nowhere.png")
    (folder / "rose/loop.png").symlink_to("loop.png")
    dataset = load(pack(folder, tmp_path))
    assert len(dataset) == 5
    names = [path.rsplit("/", 1)[-1] for path in files_of(dataset).paths]
    assert names == ["1.png", "2.png", "hard.png", "soft.png", "twice.png"]
    for linked in (2, 3, 4):
        assert np.array_equal(dataset.images[linked], dataset.images[0])
    gone, loop = sorted(files_of(dataset).unreadable)
    assert "rose/gone.png (the link leads to" in gone
    assert "rose/loop.png (" in loop


def test_a_zip_with_backslashes_has_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for seed, name in enumerate(("rose", "tulip")):
            info = zipfile.ZipInfo("x")
            info.filename = f"photos\\{name}\\1.png"
            archive.writestr(info, picture(seed))
    assert load(tmp_path / "photos.zip").classes == ("rose", "tulip")


def test_a_zip_that_does_not_say_that_its_names_are_utf8_is_read_as_utf8(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for seed, name in enumerate(("röschen", "tulip")):
            archive.writestr(f"photos/{name}/1.png", picture(seed))
    content = (tmp_path / "photos.zip").read_bytes()
    for header, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # clear the flag of UTF-8
        start = content.index(header) + offset
        content = content[:start] + b"\0\0" + content[start + 2 :]
    (tmp_path / "photos.zip").write_bytes(content)
    assert load(tmp_path / "photos.zip").classes == ("röschen", "tulip")


def test_names_that_are_not_utf8_or_have_control_characters_can_be_stored(tmp_path: Path) -> None:
    names = (b"r\xf6schen", b"ro\xcc\x88schen", b"tul\nip")
    for seed, name in enumerate(names):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        (folder / os.fsdecode(b"caf\xe9 1.png")).write_bytes(picture(seed))
    dataset = load(tmp_path)
    assert dataset.classes == ("röschen", "tul\\nip")  # Latin-1 and NFD are one class
    assert files_of(dataset).unreadable == ()
    assert all(path.endswith("/café 1.png") for path in files_of(dataset).paths)
    assert dataset.fingerprint
    "".join((*dataset.ids, *files_of(dataset).paths)).encode()


def test_system_files_are_ignored(tmp_path: Path) -> None:
    folder = write(tmp_path, "rose/1.png", "tulip/2.png")
    write(folder, "__MACOSX/rose/._1.png", "rose/@eaDir/1.png/SYNOFILE_THUMB_M.png")
    for name in (".DS_Store", "rose/.DS_Store", "rose/Thumbs.db", "rose/desktop.ini"):
        (folder / name).write_bytes(b"\0\1\2")
    dataset = load(folder)
    assert (len(dataset), dataset.classes) == (2, ("rose", "tulip"))
    assert files_of(dataset).notes == files_of(dataset).unreadable == ()


@pytest.mark.parametrize("pack", [in_place, tar_of, zip_of])
def test_class_folders_without_a_usable_image_are_named(pack: Pack, tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", "train/rose/1.png", "train/tulip/2.png", "test/rose/3.png")
    (folder / "train/empty").mkdir()
    (folder / "train/text").mkdir()
    (folder / "train/text/notes.txt").write_text("later")
    (folder / "train/broken").mkdir()
    (folder / "train/broken/1.jpg").write_bytes(b"\xff\xd8\xff")
    dataset = load(pack(folder, tmp_path))
    assert dataset.classes == ("rose", "tulip")
    assert files_of(dataset).notes == (
        "folders without a usable image, so no classes: broken, empty, text",
    )


def test_classes_that_look_like_parts_and_images_outside_classes_are_named(tmp_path: Path) -> None:
    notes = files_of(load(write(tmp_path, "rose/1.png", "masks/2.png", "cover.png"))).notes
    assert notes == (
        "taken as classes, though they look like parts of the data: masks",
        "1 images are in no class folder and left out: cover.png",
    )


def test_images_without_classes_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "2.png")
    with pytest.raises(DatasetError, match=r"2 images in .*, but none in a class folder: put"):
        load(tmp_path)


def test_one_class_is_an_error_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, *(f"rose/{n}.png" for n in range(5)))
    with pytest.raises(NoClassesError, match=r"have one class, 'rose': .* at least two classes"):
        load(tmp_path)


@pytest.mark.parametrize("pack", [in_place, tar_of, zip_of])
@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("1.png", "2.png"), ("1.png", "2.png")),
        (("2019/june/1.png", "2019/june/2.png"), ("1.png", "2.png")),
        (("2019/june/1.png", "2.png", "train/3.png"), ("2.png", "2019-june-1.png", "train-3.png")),
    ],
)
def test_without_labels_every_image_in_any_folder_is_read(
    names: tuple[str, ...], ids: tuple[str, ...], pack: Pack, tmp_path: Path
) -> None:
    dataset = load(pack(write(tmp_path / "photos", *names), tmp_path), labelled=False)
    assert (dataset.classes, dataset.labels.tolist()) == ((), [NO_CLASS] * len(names))
    assert {*dataset.ids} == {*ids}
    assert (files_of(dataset).parts, files_of(dataset).notes) == (None, ())


def test_one_image_a_class_is_an_error_that_names_the_classes(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, "rose/1.png", "tulip/2.png"))
    with pytest.raises(DatasetError, match=r"class 'rose' has 1, 'tulip' has 1; at least 4"):
        split(dataset, 0)


def test_a_class_of_thousands_beside_a_class_of_ten_is_split_by_class() -> None:
    dataset = labelled([0] * 3000 + [1] * 10)
    made = split(dataset, 0)
    for part, expected in (("train", 6), ("validation", 2), ("test", 2)):
        assert int((dataset.labels[made.indices(part)] == 1).sum()) == expected


def with_parts(*parts: str) -> Dataset:
    """Return a data set of two classes in rotation, with these parts."""
    images = labelled([n % 2 for n in range(len(parts))])
    nothing = Thumbnails((None,) * len(parts), TemporaryBytes())
    files = ImageFiles(images.ids, parts, nothing, images.ids, images.ids)  # type: ignore[arg-type]  # parts are literals
    return replace(images, files=files)


def test_given_test_and_validation_images_are_used_as_such() -> None:
    parts = [*["train"] * 20, *["test"] * 4, *["validation"] * 6]
    random.Random(1).shuffle(parts)  # noqa: S311 - an order, no secret
    dataset = with_parts(*parts)
    made = split(dataset, 0)
    for part in ("train", "validation", "test"):
        assert [parts[n] for n in made.indices(part)] == [part] * parts.count(part)
    assert describe(dataset, made) == "20 to train, 6 to validate (given), 4 to test (given)"


@pytest.mark.parametrize(("given", "missing"), [("test", "validation"), ("validation", "test")])
def test_what_is_not_given_is_split_off_the_training_images(given: str, missing: str) -> None:
    dataset = with_parts(*["train"] * 40, *[given] * 6)
    made = split(dataset, 0)
    assert made.indices(given).tolist() == list(range(40, 46))
    assert len(made.indices(missing)) == 6  # 15 % of 20 of each class
    assert len(made.train) == 34
    assert "6 to test (" in describe(dataset, made)
    assert describe(dataset, made).count("split off") == 1


# Formats.

DRAWN = {
    "TIFF": picture(kind="TIFF"),
    "AVIF": picture(kind="AVIF", quality=95),
    "MPO": picture(kind="MPO", quality=95, save_all=True),
    "PPM": picture(kind="PPM"),
}


def cmyk() -> bytes:
    file = io.BytesIO()
    Image.fromarray(striped_image(0, 0)).convert("CMYK").save(file, "JPEG", quality=95)
    return file.getvalue()


def large_chunks() -> bytes:
    """Return a PNG with a larger text and colour profile than Pillow reads by default."""
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "step " * 500_000, zip=True)
    return picture(pnginfo=text, icc_profile=np.random.default_rng(0).bytes(1_500_000))


@pytest.mark.parametrize(
    "content",
    [*DRAWN.values(), cmyk(), large_chunks()],
    ids=[*DRAWN, "CMYK", "PNG with large chunks"],
)
def test_training_and_serving_read_the_same_pixels(content: bytes, tmp_path: Path) -> None:
    for name in ("rose", "tulip"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(content)  # a suffix may lie
    dataset = load(tmp_path)
    assert files_of(dataset).unreadable == ()
    trained = dataset.images[0].permute(1, 2, 0).numpy()
    assert np.array_equal(trained, decode(read_header(content, 1_000_000), 32))
    assert np.abs(trained.mean((0, 1)) - striped_image(0, 0).mean((0, 1))).max() < 6


def test_a_large_photo_is_the_same_in_training_and_serving(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((2000, 1500))
    for name in ("rose", "tulip"):
        (tmp_path / name).mkdir()
        photo.save(tmp_path / name / "1.jpg")
    trained = load(tmp_path).images[0].permute(1, 2, 0).numpy()
    content = (tmp_path / "rose/1.jpg").read_bytes()
    assert np.array_equal(trained, decode(read_header(content, 10_000_000), 32))


def test_the_client_uploads_the_formats_that_the_service_reads() -> None:
    assert upload.SUFFIXES == SUFFIXES
    assert {"TIFF", "AVIF", "JPEG"} < {*FORMATS}


def test_the_text_of_an_error_has_no_address_of_an_object() -> None:
    error = ValueError("cannot identify image file <_io.BytesIO object at 0x7f3a2c1d9e40>")
    assert describe_error(error) == "cannot identify image file"
    assert describe_error(KeyError()) == "KeyError"
