"""What the local home is beyond the protocol: lasting, compact, and whole after any trouble."""

import dataclasses
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import StorageError, UnavailableError
from service.gallery.local import compaction
from service.gallery.local.gallery import LocalGallery
from service.gallery.local.sqlite import FILE
from service.gallery.local.store import Store
from service.gallery.types import Added, Filter, Override
from tests.support.fakes import BATCH_TIMEOUT
from tests.support.galleries import addition, vectors
from tests.support.processes import ROOT
from training.bundle import Bundle


@pytest.fixture
def gallery(loaded: Bundle, tmp_path: Path) -> Iterator[LocalGallery]:
    opened = LocalGallery.open(loaded, tmp_path)
    yield opened
    opened.close()


def everything(gallery: LocalGallery) -> list[object]:
    """All that can be seen: items in order, and what is nearest to some queries."""
    queries = np.stack([vectors_of(gallery, seed) for seed in range(3)])
    found = gallery.snapshot().search("conv2", queries, 30, exact=True)
    return [gallery.snapshot().page(10_000).items, found, len(gallery), gallery.added]


def vectors_of(gallery: LocalGallery, seed: int) -> np.ndarray:
    dimension = gallery.snapshot().segments[0].indexes["conv2"].dimension
    return np.random.default_rng(seed).normal(size=dimension).astype(np.float32)


def test_to_add_and_then_remove_is_to_do_nothing(gallery: LocalGallery, loaded: Bundle) -> None:
    before = everything(gallery)

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=40), st.integers())
    def add_and_remove(seeds: list[int], order: int) -> None:
        additions = [addition(loaded, seed) for seed in seeds]
        for start in range(0, len(additions), 7):
            gallery.add(additions[start : start + 7]).result()
        assert gallery.added == len(seeds)
        random.Random(order).shuffle(additions)  # noqa: S311 - an order, no secret
        for one in additions:
            gallery.remove(one.item.id).result()
        assert everything(gallery) == before

    add_and_remove()


def test_what_is_kept_is_told_and_seen_though_one_gallery_fails_at_it(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hear of changes while a bundle takes another's place."""
    other = gallery.rebind(loaded)

    def fail(_: object) -> None:
        raise RuntimeError("that was too much")

    monkeypatch.setattr(gallery, "apply", fail)
    new = addition(loaded, 1)
    assert other.add([new]).result()[0] == Added(new.item, "created")
    assert gallery.snapshot().get(new.item.id) == other.snapshot().get(new.item.id) == new.item
    other.close()


OPENED = """
import resource, signal, sys
from pathlib import Path
from service.errors import StorageError
from service.gallery.local.gallery import LocalGallery
from training.bundle import load

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
gallery = LocalGallery.open(load(Path(sys.argv[1])), Path(sys.argv[2]))
print(gallery.added, len(gallery.snapshot().image("added-0001")) > 0)
try:
    gallery.remove("added-0001").result()
except StorageError:
    print("no room")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
gallery.remove("added-0001").result()
print(gallery.added)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of a process")
def test_what_is_kept_can_be_read_where_the_disk_is_full_from_the_start(
    gallery: LocalGallery, loaded: Bundle, tmp_path: Path
) -> None:
    gallery.add([addition(loaded, seed) for seed in range(3)]).result()
    gallery.close()
    ran = subprocess.run(
        [sys.executable, "-c", OPENED, loaded.path, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.split("\n")[:3] == ["3 True", "no room", "2"], ran.stderr


def test_nothing_is_written_before_there_is_something_to_keep(
    loaded: Bundle, tmp_path: Path
) -> None:
    gallery = LocalGallery.open(loaded, tmp_path / "gallery")
    gallery.snapshot().search("conv2", vectors(loaded, 1)["conv2"][None], 3)
    gallery.close()
    assert not (tmp_path / "gallery").exists()


def test_a_folder_that_cannot_be_made_is_said_so(loaded: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    gallery = LocalGallery.open(loaded, tmp_path / "file" / "gallery")
    with pytest.raises(StorageError, match="KINDRED_GALLERY"):
        gallery.add([addition(loaded, 1)]).result()
    assert len(gallery) == len(loaded.gallery)
    gallery.close()


@pytest.mark.parametrize("start", [0, 4096], ids=["its head", "its tables"])
def test_a_damaged_database_is_named_and_left_as_it_is(
    loaded: Bundle, tmp_path: Path, start: int
) -> None:
    gallery = LocalGallery.open(loaded, tmp_path)
    gallery.add([addition(loaded, seed) for seed in range(3)]).result()
    gallery.close()
    file = tmp_path / FILE
    whole = file.read_bytes()
    damaged = whole[:start] + b"?" * 16_384 + whole[start + 16_384 :]
    file.write_bytes(damaged)
    with pytest.raises(StorageError, match=r"gallery\.sqlite is damaged.*gallery import"):
        LocalGallery.open(loaded, tmp_path)
    assert file.read_bytes() == damaged
    file.write_bytes(whole)
    again = LocalGallery.open(loaded, tmp_path)
    assert again.added == 3
    again.close()


def test_of_a_log_that_was_cut_off_all_that_is_whole_comes_back(
    gallery: LocalGallery, loaded: Bundle, tmp_path: Path
) -> None:
    """As a disk leaves it that was told to keep less than it said it had."""
    for seed in range(6):
        gallery.add([addition(loaded, seed)]).result()
    log = (tmp_path / f"{FILE}-wal").read_bytes()
    found = []
    for number, size in enumerate(np.linspace(0, len(log), 15).astype(int)):
        folder = tmp_path / f"cut-{number}"
        folder.mkdir()
        shutil.copy(tmp_path / FILE, folder)
        (folder / f"{FILE}-wal").write_bytes(log[:size])
        again = LocalGallery.open(loaded, folder)
        items = again.snapshot().page(10, filter_=Filter(source="added")).items
        assert [item.id for item in items] == [f"added-{seed:04d}" for seed in range(len(items))]
        for seed in range(len(items)):
            ((match,),) = again.snapshot().search("conv2", vectors(loaded, seed)["conv2"][None], 1)
            assert match.item.id == f"added-{seed:04d}"
        again.add([addition(loaded, 9)]).result()
        again.close()
        found.append(len(items))
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 6)
    assert len(set(found)) > 3


def test_two_cannot_change_one_folder_and_the_other_goes_on_when_the_first_has_ended(
    loaded: Bundle, tmp_path: Path
) -> None:
    first = LocalGallery.open(loaded, tmp_path)
    first.add([addition(loaded, 1)]).result()
    second = LocalGallery.open(loaded, tmp_path)
    with pytest.raises(UnavailableError, match="Another process"):
        second.add([addition(loaded, 2)]).result()
    first.add([addition(loaded, 3)]).result()
    first.close()
    second.add([addition(loaded, 2)]).result()
    found = second.snapshot().page(10, filter_=Filter(source="added")).items
    assert [item.id for item in found] == ["added-0001", "added-0002", "added-0003"]
    second.close()


def test_what_is_read_beside_a_service_is_of_one_moment(
    gallery: LocalGallery, loaded: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.add([addition(loaded, 1)]).result()
    before = everything(gallery)
    overrides = Store.overrides

    def read_while_it_changes(store: Store, image_id: str | None = None) -> dict[str, Override]:
        found = overrides(store, image_id)
        if image_id is None:
            gallery.add([addition(loaded, 2)]).result()
            gallery.remove("added-0001").result()
            gallery.remove(loaded.gallery.ids[0]).result()
        return found

    monkeypatch.setattr(Store, "overrides", read_while_it_changes)
    beside = LocalGallery.open(loaded, tmp_path)
    assert everything(beside) == before
    beside.close()


def test_many_images_are_compacted_beside_and_found_as_before(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SMALL_SEGMENT", 16)
    seeds = range(300)
    for start in range(0, 300, 7):
        gallery.add([addition(loaded, seed) for seed in seeds[start : start + 7]]).result()
        gallery.remove(f"added-{start:04d}").result()
    wait_until_compact(gallery)
    projections = {one.indexes["conv2"].projection for one in gallery.snapshot().segments}
    assert len(projections) == 1  # the bundle's images too: all are searched as one
    assert None not in projections
    assert len(gallery.snapshot().segments) < 10
    for seed in seeds:
        ((match,),) = gallery.snapshot().search("conv2", vectors(loaded, seed)["conv2"][None], 1)
        assert (match.item.id == f"added-{seed:04d}") == (seed % 7 != 0)
    assert gallery.added == 300 - 43


def test_what_is_dead_is_left_behind_and_does_not_come_back(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SMALL_SEGMENT", 16)
    gallery.add([addition(loaded, seed) for seed in range(100)]).result()
    wait_until_compact(gallery)
    for seed in range(70):
        gallery.remove(f"added-{seed:04d}").result()
    wait_until_compact(gallery)
    assert sum(len(one.items) for one in gallery.snapshot().segments[1:]) < 100
    for seed in range(100):
        ((match,),) = gallery.snapshot().search("conv2", vectors(loaded, seed)["conv2"][None], 1)
        assert (match.item.id == f"added-{seed:04d}") == (seed >= 70)


def test_what_is_dead_of_a_bundle_is_left_behind_too(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SMALL_SEGMENT", 16)
    ids = loaded.gallery.ids
    removed, kept = ids[: len(ids) * 3 // 5], ids[len(ids) * 3 // 5 :]
    for image_id in removed:
        gallery.remove(image_id).result()
    wait_until_compact(gallery)
    assert len(gallery.snapshot().segments[0].items) < len(ids) * 3 // 5
    assert {item.id for item in gallery.snapshot().page(10_000).items} == set(kept)
    for image_id in kept[:5]:
        query = gallery.snapshot().vectors("conv2", [image_id])[image_id]
        ((match,),) = gallery.snapshot().search("conv2", query[None], 1)
        assert match.score > 0.999
        assert gallery.snapshot().image(image_id)
    gallery.add([addition(loaded, 1, image_id=removed[0])]).result()
    assert gallery.snapshot().get(removed[0]).source == "added"


def test_readers_see_whole_changes_while_many_are_made(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs are added and replaced together: nobody ever sees one without the other."""
    monkeypatch.setattr(compaction, "SMALL_SEGMENT", 16)
    done = threading.Event()
    torn: list[object] = []

    def read() -> None:
        while not done.is_set():
            view = gallery.snapshot()
            items = view.page(10_000, filter_=Filter(source="added")).items
            if len(items) % 2 or len(items) != view.added:
                torn.append(items)
            found = view.search("conv2", vectors(loaded, 1)["conv2"][None], 10_000, exact=True)
            if len(found[0]) != len(view):
                torn.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for seed in range(0, 120, 2):
        gallery.add([addition(loaded, seed), addition(loaded, seed + 1)]).result()
        if seed % 6 == 0:
            again = [
                dataclasses.replace(
                    addition(loaded, seed + n + 500), item=addition(loaded, seed + n).item
                )
                for n in range(2)
            ]
            gallery.add(again, replace=True).result()
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert gallery.added == 120


def wait_until_compact(gallery: LocalGallery) -> None:
    deadline = time.monotonic() + BATCH_TIMEOUT
    while compaction._pick_segments(gallery.snapshot()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
