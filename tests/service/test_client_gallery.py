"""The clients' part of the gallery, against a real server process."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.client import AsyncKindred, Kindred, New, Problem, ProblemError
from service.wire import Kept
from tests.pictures import stripes
from tests.processes import ROOT, serve_bundle, serving


@pytest.fixture(scope="module")
def url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, in its own process."""
    folder = str(tmp_path_factory.mktemp("kept"))
    with serving(serve_bundle(bundle_path), KINDRED_GALLERY=folder) as http:
        yield str(http.base_url)


@pytest.fixture
def kindred(url: str) -> Iterator[Kindred]:
    """A connection, which leaves nothing added behind."""
    with Kindred(url) as connected:
        yield connected
        for item in list(connected.gallery(source="added")):
            connected.remove(item.id)


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
    assert isinstance(one, Kept)
    assert isinstance(other, Kept)
    assert isinstance(problem, Problem)
    found = kindred.similar(positive=["m0"], attributes={"n": 1}, source="added", exact=True)
    assert [match.id for match in found] == ["m1"]
    assert [item.id for item in kindred.gallery(label="x", attributes={"n": 0})] == ["m0"]
    assert kindred.similar_to("m0", source="added", diversity=0.0)[0].id == "m1"


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


def test_a_folder_is_added_once_labelled_by_its_sub_folders(
    url: str, kindred: Kindred, picture_folder: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    for name in ("amber", "blue"):
        (small / name).mkdir(parents=True)
        for file in sorted((picture_folder / "train" / name).iterdir())[:10]:
            (small / name / file.name).write_bytes(file.read_bytes())
    (small / "broken.png").write_bytes(b"no picture")

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.client", "add", str(small), "--url", url]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    first = run()
    assert (first.returncode, first.stdout.strip()) == (
        1,
        "20 added, 0 were there already, 1 refused",
    )
    assert "broken.png" in first.stderr
    (small / "broken.png").unlink()
    assert run().stdout.strip() == "0 added, 20 were there already, 0 refused"
    labels = [item.label for item in kindred.gallery(source="added")]
    assert sorted(labels) == ["amber"] * 10 + ["blue"] * 10
