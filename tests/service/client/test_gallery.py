"""The clients' part of the gallery, against a real server process."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.client import AsyncKindred, Fit, Kindred, New, Problem, ProblemError
from service.client.upload import add as add_pictures
from service.schemas.gallery import UpsertResult
from tests.support.images import stripes
from tests.support.processes import ROOT, serve_bundle, serving
from training.data.preprocessing import to_pixels


@pytest.fixture(scope="module")
def url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, in its own process."""
    folder = str(tmp_path_factory.mktemp("kept"))
    with serving(serve_bundle(bundle_path), KINDRED_GALLERY=folder) as http:
        yield str(http.base_url)


def connected(url: str) -> Iterator[Kindred]:
    """A connection, which leaves nothing added behind."""
    with Kindred(url) as found:
        yield found
        for item in list(found.gallery(source="added")):
            found.remove(item.id)


@pytest.fixture
def kindred(url: str) -> Iterator[Kindred]:
    yield from connected(url)


def test_a_picture_is_kept_found_edited_replaced_and_removed(kindred: Kindred) -> None:
    kept = kindred.add(stripes(3, 900), label="cat", attributes={"shelf": 3}, id="mine")
    assert (kept.outcome, kept.label, kept.attributes) == ("created", "cat", {"shelf": 3})
    assert kindred.add(stripes(3, 900), id="mine").outcome == "unchanged"
    assert kindred.similar(stripes(3, 900), limit=1)[0].id == "mine"
    edited = kindred.edit("mine", label="dog", attributes={"shelf": None, "sold": True})
    assert (edited.label, edited.attributes) == ("dog", {"sold": True})
    assert kindred.item("mine") == edited
    assert kindred.put("mine", stripes(5, 901)).outcome == "replaced"
    assert (np.asarray(kindred.image("mine")) == stripes(5, 901)).all()
    kindred.remove("mine")
    with pytest.raises(ProblemError, match="404"):
        kindred.item("mine")


def test_several_are_kept_each_with_its_own_answer(kindred: Kindred) -> None:
    new = [New(stripes(3, n), label="x", attributes={"n": n}, id=f"m{n}") for n in range(3)]
    one, other, problem = kindred.add_many([*new[:2], New(b"no picture")])
    assert isinstance(one, UpsertResult)
    assert isinstance(other, UpsertResult)
    assert isinstance(problem, Problem)
    found = kindred.similar(positive=["m0"], attributes={"n": 1}, source="added", exact=True)
    assert [match.id for match in found] == ["m1"]
    assert [item.id for item in kindred.gallery(label="x", attributes={"n": 0})] == ["m0"]
    assert kindred.similar_to("m0", source="added", diversity=0.0)[0].id == "m1"


def test_a_picture_is_kept_as_the_square_that_is_asked_for(kindred: Kindred, url: str) -> None:
    wide = np.concatenate([stripes(kind, 7) for kind in (3, 5, 7)], axis=1)

    def kept(image_id: str, fit: Fit) -> bool:
        square = to_pixels(Image.fromarray(wide), fit)
        return np.array_equal(np.asarray(kindred.image(image_id)), square)

    kindred.add(wide, id="one", fit="pad")
    assert kept("one", "pad")
    kindred.put("one", wide, fit="stretch")
    assert kept("one", "stretch")
    kindred.add_many([New(wide, id="two")], fit="pad")
    assert kept("two", "pad")

    async def go() -> None:
        async with AsyncKindred(url) as connected:
            await connected.add(wide, id="three", fit="pad")
            await connected.put("one", wide, fit="crop")
            await connected.add_many([New(wide, id="four")], fit="stretch")

    asyncio.run(go())
    assert kept("three", "pad")
    assert kept("one", "crop")
    assert kept("four", "stretch")


def test_a_key_of_its_own_keeps_a_picture_once(kindred: Kindred) -> None:
    outcomes = [kindred.add(stripes(3, 9), key="parcel 7").outcome for _ in range(2)]
    assert outcomes == ["created", "unchanged"]


def test_duplicates_are_found(kindred: Kindred) -> None:
    kindred.add_many([New(stripes(3, 9), id="one"), New(stripes(3, 9), id="two")])
    (pair,) = kindred.duplicates(threshold=0.9995, source="added")
    assert (pair.first.id, pair.second.id) == ("one", "two")


def test_the_same_with_await(url: str, kindred: Kindred) -> None:
    async def go() -> None:
        async with AsyncKindred(url) as connected:
            kept = await connected.add(stripes(3, 900), id="mine")
            assert (await connected.similar(stripes(3, 900), limit=1))[0].id == kept.id
            await connected.add_many([New(stripes(3, 900), id="twin")])
            pairs = [p async for p in connected.duplicates(threshold=0.9995, source="added")]
            assert len(pairs) == 1
            assert (await connected.edit("mine", label="dog")).label == "dog"
            assert [i.id async for i in connected.gallery(label="dog")] == ["mine"]
            await connected.put("mine", stripes(5, 901))
            assert (await connected.item("mine")).predicted is not None
            assert (await connected.image("mine")).size == (32, 32)
            assert (await connected.similar_to("mine", source="added"))[0].id == "twin"
            await connected.remove("mine")

    asyncio.run(go())
    assert [item.id for item in kindred.gallery(source="added")] == ["twin"]


# Whole folders.


def add(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.client", "add", str(folder), "--url", url, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_folder_is_added_once_labelled_by_its_sub_folders(
    url: str, kindred: Kindred, picture_folder: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    for name in ("amber", "blue"):
        (small / name).mkdir(parents=True)
        for file in sorted((picture_folder / "train" / name).iterdir())[:10]:
            (small / name / file.name).write_bytes(file.read_bytes())
    (small / "broken.png").write_bytes(b"no picture")

    first = add(small, url)
    assert (first.returncode, first.stdout.strip()) == (
        1,
        "20 added, 0 were there already, 1 refused",
    )
    assert "broken.png" in first.stderr
    (small / "broken.png").unlink()
    assert add(small, url).stdout.strip() == "0 added, 20 were there already, 0 refused"
    labels = [item.label for item in kindred.gallery(source="added")]
    assert sorted(labels) == ["amber"] * 10 + ["blue"] * 10


def test_a_folder_is_added_in_the_fit_that_is_asked_for(
    url: str, kindred: Kindred, tmp_path: Path
) -> None:
    wide = Image.fromarray(np.concatenate([stripes(kind, 7) for kind in (3, 5)], axis=1))
    wide.save(tmp_path / "wide.png")
    assert add(tmp_path, url, "--fit", "pad").returncode == 0
    (item,) = kindred.gallery(source="added")
    assert np.array_equal(np.asarray(kindred.image(item.id)), to_pixels(wide, "pad"))


LIMIT = 40_000
"""Bytes of a request to a service that takes little."""


@pytest.fixture(scope="module")
def strict_url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that takes three pictures and few bytes at once."""
    with serving(
        serve_bundle(bundle_path),
        KINDRED_GALLERY=str(tmp_path_factory.mktemp("strict")),
        KINDRED_MAX_BODY_BYTES=str(LIMIT),
        KINDRED_MAX_CLIENT_BATCH_SIZE="3",
    ) as http:
        yield str(http.base_url)


@pytest.fixture
def strict(strict_url: str) -> Iterator[Kindred]:
    yield from connected(strict_url)


def noise(file: Path, side: int) -> Path:
    """A picture of about three bytes a pixel."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def added(kindred: Kindred) -> set[object]:
    return {item.attributes["file"] for item in kindred.gallery(source="added")}


def test_photographs_that_one_request_cannot_hold_together_are_added_by_several(
    strict: Kindred, strict_url: str, tmp_path: Path
) -> None:
    files = [noise(tmp_path / f"{side}.png", side) for side in range(80, 86)]
    assert sum(file.stat().st_size for file in files[:2]) > LIMIT / 4 * 3 > files[-1].stat().st_size
    small = [noise(tmp_path / f"small{side}.png", side) for side in range(8, 15)]
    said = add(tmp_path, strict_url)
    assert (said.returncode, said.stderr.count("png:")) == (0, 0), said.stderr
    assert added(strict) == {file.name for file in (*files, *small)}


def test_a_picture_that_is_too_large_alone_is_named_and_the_others_are_added(
    strict: Kindred, strict_url: str, tmp_path: Path
) -> None:
    noise(tmp_path / "a.png", 20)
    noise(tmp_path / "large.png", 120)
    noise(tmp_path / "z.png", 21)
    said = add(tmp_path, strict_url)
    assert said.returncode == 1
    assert said.stdout.strip() == "2 added, 0 were there already, 1 refused"
    assert re.search(r"large\.png: It has [0-9,]+ bytes, .*the service takes 40,000", said.stderr)
    assert added(strict) == {"a.png", "z.png"}


def test_the_largest_picture_that_one_request_can_hold_is_added(
    strict: Kindred, tmp_path: Path
) -> None:
    """What is worked out before a picture is read is what is sent, to the byte."""
    file = noise(tmp_path / "padded.png", 20)
    picture = file.read_bytes()
    for length in range(LIMIT // 4 * 3, 0, -1):
        file.write_bytes(picture.ljust(length, b"\0"))
        (result,) = add_pictures(strict, tmp_path, [file])
        if isinstance(result.said, UpsertResult):
            break
    assert isinstance(result.said, UpsertResult)
    longer = New(file.read_bytes() + b"\0", attributes=result.said.attributes, id=result.said.id)
    with pytest.raises(ProblemError, match="413"):
        strict.add_many([longer])


def test_a_batch_that_is_refused_as_a_whole_is_sent_one_by_one(
    strict: Kindred, strict_url: str, tmp_path: Path
) -> None:
    """A label of more than a hundred letters makes the whole JSON one that is not taken."""
    (tmp_path / ("m" * 101)).mkdir()
    noise(tmp_path / "a.png", 20)
    noise(tmp_path / ("m" * 101) / "misnamed.png", 21)
    noise(tmp_path / "z.png", 22)
    said = add(tmp_path, strict_url)
    assert said.returncode == 1
    assert "misnamed.png: The JSON is not what it should be" in said.stderr
    assert added(strict) == {"a.png", "z.png"}


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_added(
    strict: Kindred, strict_url: str, tmp_path: Path
) -> None:
    (tmp_path / "broken-link.png").symlink_to(tmp_path / "nowhere.png")
    noise(tmp_path / "z.png", 22)
    said = add(tmp_path, strict_url)
    assert said.returncode == 1
    assert "broken-link.png: It cannot be read: No such file" in said.stderr
    assert added(strict) == {"z.png"}
