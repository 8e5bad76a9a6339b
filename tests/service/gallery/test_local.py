"""The local gallery beyond the protocol: files, locks, and recovery from damage."""

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import StorageError, UnavailableError
from service.gallery.local.gallery import LocalGallery
from service.gallery.local.sqlite import FILE
from service.gallery.local.store import Store
from service.gallery.types import Added, Filter, Override
from tests.support.galleries import addition, vectors
from tests.support.processes import ROOT
from training.bundle import Bundle


@pytest.fixture
def gallery(loaded: Bundle, tmp_path: Path) -> Iterator[LocalGallery]:
    opened = LocalGallery.open(loaded, tmp_path)
    yield opened
    opened.close()


def everything(gallery: LocalGallery) -> list[object]:
    """Return all that a reader can see: the items in order, and some search results."""
    queries = np.stack([vectors_of(gallery, seed) for seed in range(3)])
    found = gallery.snapshot().search("conv2", queries, 30, exact=True)
    return [gallery.snapshot().page(10_000).items, found, len(gallery), gallery.added]


def vectors_of(gallery: LocalGallery, seed: int) -> np.ndarray:
    dimension = gallery.snapshot().segments[0].indexes["conv2"].dimension
    return np.random.default_rng(seed).normal(size=dimension).astype(np.float32)


def test_adding_and_then_removing_images_is_identity(gallery: LocalGallery, loaded: Bundle) -> None:
    before = everything(gallery)

    @settings(max_examples=30)
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


def test_a_stored_change_is_acknowledged_and_visible_even_if_one_gallery_fails_to_apply_it(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two galleries share a store while a reload replaces the bundle."""
    other = gallery.rebind(loaded)

    def fail(_: object) -> None:
        raise RuntimeError("cannot apply")

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
def test_a_gallery_can_be_read_if_the_disk_is_full_at_the_start(
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


def test_no_file_is_written_before_the_first_change(loaded: Bundle, tmp_path: Path) -> None:
    gallery = LocalGallery.open(loaded, tmp_path / "gallery")
    gallery.snapshot().search("conv2", vectors(loaded, 1)["conv2"][None], 3)
    gallery.close()
    assert not (tmp_path / "gallery").exists()


def test_a_folder_that_cannot_be_created_is_a_storage_error(loaded: Bundle, tmp_path: Path) -> None:
    (tmp_path / "gallery").symlink_to("missing")
    gallery = LocalGallery.open(loaded, tmp_path / "gallery")
    with pytest.raises(StorageError, match="KINDRED_GALLERY"):
        gallery.add([addition(loaded, 1)]).result()
    assert len(gallery) == len(loaded.gallery)
    gallery.close()


@pytest.mark.parametrize("start", [0, 4096], ids=["header", "tables"])
def test_a_damaged_database_is_named_and_not_changed(
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


def test_all_whole_transactions_of_a_truncated_log_are_recovered(
    gallery: LocalGallery, loaded: Bundle, tmp_path: Path
) -> None:
    """The disk lost the last writes, although it had confirmed them."""
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


def test_a_second_gallery_of_a_folder_is_read_only_until_the_first_is_closed(
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


def test_a_reader_sees_one_state_while_a_service_runs(
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
    reader = LocalGallery.open(loaded, tmp_path)
    assert everything(reader) == before
    reader.close()
