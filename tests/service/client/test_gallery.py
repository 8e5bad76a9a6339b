"""The gallery methods of the clients, and uploads, against a real server process."""

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kindred import AsyncClient, Client, Fit, New, Problem, ProblemError
from kindred.upload import upload_files
from service.schemas.gallery import UpsertResult
from tests.support.images import striped_image
from tests.support.processes import ROOT, running_server, serve_command
from training.data.preprocessing import to_pixels


@pytest.fixture(scope="module")
def url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process of its own."""
    folder = str(tmp_path_factory.mktemp("gallery"))
    with running_server(serve_command(bundle_path), KINDRED_GALLERY=folder) as http:
        yield str(http.base_url)


def connected(url: str) -> Iterator[Client]:
    """A connection. All added images are removed at the end."""
    with Client(url) as found:
        yield found
        for item in list(found.gallery(source="added")):
            found.remove(item.id)


@pytest.fixture
def kindred(url: str) -> Iterator[Client]:
    yield from connected(url)


def test_an_image_is_added_found_edited_replaced_and_removed(kindred: Client) -> None:
    added = kindred.add(striped_image(3, 900), label="cat", attributes={"shelf": 3}, id="mine")
    assert (added.outcome, added.label, added.attributes) == ("created", "cat", {"shelf": 3})
    assert kindred.add(striped_image(3, 900), id="mine").outcome == "unchanged"
    assert kindred.similar(striped_image(3, 900), limit=1)[0].id == "mine"
    edited = kindred.edit("mine", label="dog", attributes={"shelf": None, "sold": True})
    assert (edited.label, edited.attributes) == ("dog", {"sold": True})
    assert kindred.item("mine") == edited
    assert kindred.put("mine", striped_image(5, 901)).outcome == "replaced"
    assert (np.asarray(kindred.image("mine")) == striped_image(5, 901)).all()
    kindred.remove("mine")
    with pytest.raises(ProblemError, match="404"):
        kindred.item("mine")


def test_add_many_returns_a_result_or_a_problem_for_each_image(kindred: Client) -> None:
    new = [New(striped_image(3, n), label="x", attributes={"n": n}, id=f"m{n}") for n in range(3)]
    one, other, problem = kindred.add_many([*new[:2], New(b"no image")])
    assert isinstance(one, UpsertResult)
    assert isinstance(other, UpsertResult)
    assert isinstance(problem, Problem)
    found = kindred.similar(positive=["m0"], attributes={"n": 1}, source="added", exact=True)
    assert [match.id for match in found] == ["m1"]
    assert [item.id for item in kindred.gallery(label="x", attributes={"n": 0})] == ["m0"]
    assert kindred.similar_to("m0", source="added", diversity=0.0)[0].id == "m1"


def test_an_added_image_is_stored_with_the_given_fit(kindred: Client, url: str) -> None:
    wide = np.concatenate([striped_image(kind, 7) for kind in (3, 5, 7)], axis=1)

    def is_stored(image_id: str, fit: Fit) -> bool:
        square = to_pixels(Image.fromarray(wide), fit)
        return np.array_equal(np.asarray(kindred.image(image_id)), square)

    kindred.add(wide, id="one", fit="pad")
    assert is_stored("one", "pad")
    kindred.put("one", wide, fit="stretch")
    assert is_stored("one", "stretch")
    kindred.add_many([New(wide, id="two")], fit="pad")
    assert is_stored("two", "pad")

    async def go() -> None:
        async with AsyncClient(url) as connected:
            await connected.add(wide, id="three", fit="pad")
            await connected.put("one", wide, fit="crop")
            await connected.add_many([New(wide, id="four")], fit="stretch")

    asyncio.run(go())
    assert is_stored("three", "pad")
    assert is_stored("one", "crop")
    assert is_stored("four", "stretch")


def test_an_idempotency_key_adds_an_image_once(kindred: Client) -> None:
    outcomes = [kindred.add(striped_image(3, 9), key="parcel 7").outcome for _ in range(2)]
    assert outcomes == ["created", "unchanged"]


def test_duplicates_are_found(kindred: Client) -> None:
    kindred.add_many([New(striped_image(3, 9), id="one"), New(striped_image(3, 9), id="two")])
    (pair,) = kindred.duplicates(threshold=0.9995, source="added")
    assert (pair.first.id, pair.second.id) == ("one", "two")


def test_the_asynchronous_client_does_the_same(url: str, kindred: Client) -> None:
    async def go() -> None:
        async with AsyncClient(url) as connected:
            added = await connected.add(striped_image(3, 900), id="mine")
            assert (await connected.similar(striped_image(3, 900), limit=1))[0].id == added.id
            await connected.add_many([New(striped_image(3, 900), id="twin")])
            pairs = [p async for p in connected.duplicates(threshold=0.9995, source="added")]
            assert len(pairs) == 1
            assert (await connected.edit("mine", label="dog")).label == "dog"
            assert [i.id async for i in connected.gallery(label="dog")] == ["mine"]
            await connected.put("mine", striped_image(5, 901))
            assert (await connected.item("mine")).predicted is not None
            assert (await connected.image("mine")).size == (32, 32)
            assert (await connected.similar_to("mine", source="added"))[0].id == "twin"
            await connected.remove("mine")

    asyncio.run(go())
    assert [item.id for item in kindred.gallery(source="added")] == ["twin"]


# Whole folders.


def upload(folder: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "service.client",
        "upload",
        str(folder),
        "--url",
        url,
        *options,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_repeated_upload_adds_nothing_and_sub_folders_are_labels(
    url: str, kindred: Client, image_folder: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    for name in ("amber", "blue"):
        (small / name).mkdir(parents=True)
        for file in sorted((image_folder / "train" / name).iterdir())[:10]:
            (small / name / file.name).write_bytes(file.read_bytes())
    (small / "broken.png").write_bytes(b"no image")

    first = upload(small, url)
    assert (first.returncode, first.stdout.strip()) == (
        1,
        "20 added, 0 were there already, 1 refused",
    )
    assert "broken.png" in first.stderr
    (small / "broken.png").unlink()
    assert upload(small, url).stdout.strip() == "0 added, 20 were there already, 0 refused"
    labels = [item.label for item in kindred.gallery(source="added")]
    assert Counter(labels) == {"amber": 10, "blue": 10}


def test_upload_passes_the_fit_on(url: str, kindred: Client, tmp_path: Path) -> None:
    wide = Image.fromarray(np.concatenate([striped_image(kind, 7) for kind in (3, 5)], axis=1))
    wide.save(tmp_path / "wide.png")
    assert upload(tmp_path, url, "--fit", "pad").returncode == 0
    (item,) = kindred.gallery(source="added")
    assert np.array_equal(np.asarray(kindred.image(item.id)), to_pixels(wide, "pad"))


LIMIT = 40_000
"""Bytes of a request at most, of the strict server."""


@pytest.fixture(scope="module")
def strict_url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that accepts three images and few bytes in a request."""
    with running_server(
        serve_command(bundle_path),
        KINDRED_GALLERY=str(tmp_path_factory.mktemp("strict")),
        KINDRED_MAX_BODY_BYTES=str(LIMIT),
        KINDRED_MAX_CLIENT_BATCH_SIZE="3",
    ) as http:
        yield str(http.base_url)


@pytest.fixture
def strict(strict_url: str) -> Iterator[Client]:
    yield from connected(strict_url)


def noise(file: Path, side: int) -> Path:
    """Write an image of about three bytes per pixel."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def added(kindred: Client) -> set[object]:
    return {item.attributes["file"] for item in kindred.gallery(source="added")}


def test_upload_splits_images_that_exceed_one_request(
    strict: Client, strict_url: str, tmp_path: Path
) -> None:
    files = [noise(tmp_path / f"{side}.png", side) for side in range(80, 86)]
    assert sum(file.stat().st_size for file in files[:2]) > LIMIT / 4 * 3 > files[-1].stat().st_size
    small = [noise(tmp_path / f"small{side}.png", side) for side in range(8, 15)]
    ended = upload(tmp_path, strict_url)
    assert (ended.returncode, ended.stderr.count("png:")) == (0, 0), ended.stderr
    assert added(strict) == {file.name for file in (*files, *small)}


def test_upload_names_an_image_that_is_too_large_and_adds_the_others(
    strict: Client, strict_url: str, tmp_path: Path
) -> None:
    noise(tmp_path / "a.png", 20)
    noise(tmp_path / "large.png", 120)
    noise(tmp_path / "z.png", 21)
    ended = upload(tmp_path, strict_url)
    assert ended.returncode == 1
    assert ended.stdout.strip() == "2 added, 0 were there already, 1 refused"
    assert re.search(r"large\.png: The file has [0-9,]+ bytes, .*accepts 40,000", ended.stderr)
    assert added(strict) == {"a.png", "z.png"}


def test_upload_adds_the_largest_image_that_fits_one_request(
    strict: Client, tmp_path: Path
) -> None:
    """The size computed before reading equals the size of the request, to the byte."""
    file = noise(tmp_path / "padded.png", 20)
    content = file.read_bytes()
    for length in range(LIMIT // 4 * 3, 0, -1):
        file.write_bytes(content.ljust(length, b"\0"))
        (result,) = upload_files(strict, tmp_path, [file])
        if isinstance(result.response, UpsertResult):
            break
    assert isinstance(result.response, UpsertResult)
    longer = New(
        file.read_bytes() + b"\0", attributes=result.response.attributes, id=result.response.id
    )
    with pytest.raises(ProblemError, match="413"):
        strict.add_many([longer])


def test_upload_sends_the_images_of_a_refused_batch_separately(
    strict: Client, strict_url: str, tmp_path: Path
) -> None:
    """A label of more than a hundred letters makes the JSON of the whole batch invalid."""
    (tmp_path / ("m" * 101)).mkdir()
    noise(tmp_path / "a.png", 20)
    noise(tmp_path / ("m" * 101) / "misnamed.png", 21)
    noise(tmp_path / "z.png", 22)
    ended = upload(tmp_path, strict_url)
    assert ended.returncode == 1
    assert re.search(r"misnamed\.png: .*at most 100 characters", ended.stderr)
    assert added(strict) == {"a.png", "z.png"}


def test_upload_names_an_unreadable_file_and_adds_the_others(
    strict: Client, strict_url: str, tmp_path: Path
) -> None:
    (tmp_path / "broken-link.png").symlink_to(tmp_path / "nowhere.png")
    noise(tmp_path / "z.png", 22)
    ended = upload(tmp_path, strict_url)
    assert ended.returncode == 1
    assert "broken-link.png: The file cannot be read: No such file" in ended.stderr
    assert added(strict) == {"z.png"}


@pytest.mark.parametrize("name", ["add", "upload"])
def test_the_former_commands_add(name: str, url: str, kindred: Client, tmp_path: Path) -> None:
    noise(tmp_path / "a.png", 20)
    command = [sys.executable, "-m", "service.client", name, str(tmp_path), "--url", url]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert ended.stdout.strip() == "1 added, 0 were there already, 0 refused"
    assert added(kindred) == {"a.png"}


def test_names_are_sent_and_printed_as_they_are(url: str, kindred: Client, tmp_path: Path) -> None:
    label = "[b]cat [old] :cat:"
    folder = tmp_path / label
    folder.mkdir()
    noise(folder / os.fsdecode(b"caf\xe9.png"), 20)
    noise(folder / "[red].png", 21)
    (folder / "[bold].png").write_text("no image")
    first = upload(tmp_path, url)
    assert first.stdout.strip() == "2 added, 0 were there already, 1 refused"
    assert f"{folder}/[bold].png: " in first.stderr
    assert upload(tmp_path, url).stdout.strip() == "0 added, 2 were there already, 1 refused"
    assert added(kindred) == {f"{label}/café.png", f"{label}/[red].png"}
    command = [sys.executable, "-m", "service.client", str(folder / "[red].png"), "--url", url]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "200"}
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{folder}/[red].png\n")
    assert f"1.000 {label} file-" in ended.stdout


def test_links_are_followed_and_what_was_left_out_is_named(
    url: str, kindred: Client, tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    (folder / "cat").mkdir(parents=True)
    elsewhere.mkdir()
    noise(elsewhere / "a.png", 21)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "cat" / "around").symlink_to(folder)
    (folder / "cat" / "b.png").symlink_to(elsewhere / "a.png")
    for name in ("notes.txt", "cat/list.csv", ".DS_Store"):
        (folder / name).write_text("no image")
    ended = upload(folder, url)
    assert ended.returncode == 0, ended.stderr
    assert added(kindred) == {"linked/a.png", "cat/b.png"}
    assert ended.stdout.splitlines() == [
        "2 added, 0 were there already, 0 refused",
        "2 left out, no image by their names: cat/list.csv, notes.txt",
    ]
