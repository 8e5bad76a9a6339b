"""Compaction merges segments in the background; searches see no difference."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.gallery.local import compaction
from service.gallery.local.gallery import LocalGallery
from service.gallery.types import Filter
from tests.support.fakes import BATCH_TIMEOUT
from tests.support.galleries import addition, vectors
from training.bundle import Bundle


@pytest.fixture
def gallery(loaded: Bundle, tmp_path: Path) -> Iterator[LocalGallery]:
    opened = LocalGallery.open(loaded, tmp_path)
    yield opened
    opened.close()


def test_compaction_keeps_all_images_searchable(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SMALL_SEGMENT", 16)
    seeds = range(300)
    for start in range(0, 300, 7):
        gallery.add([addition(loaded, seed) for seed in seeds[start : start + 7]]).result()
        gallery.remove(f"added-{start:04d}").result()
    wait_until_compact(gallery)
    projections = {one.indexes["conv2"].projection for one in gallery.snapshot().segments}
    assert len(projections) == 1  # the bundle's images have it too
    assert None not in projections
    assert len(gallery.snapshot().segments) < 10
    for seed in seeds:
        ((match,),) = gallery.snapshot().search("conv2", vectors(loaded, seed)["conv2"][None], 1)
        assert (match.item.id == f"added-{seed:04d}") == (seed % 7 != 0)
    assert gallery.added == 300 - 43


def test_compaction_drops_removed_images_for_good(
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


def test_compaction_drops_removed_images_of_the_bundle(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SMALL_SEGMENT", 16)
    ids = loaded.gallery.ids
    removed, remaining = ids[: len(ids) * 3 // 5], ids[len(ids) * 3 // 5 :]
    for image_id in removed:
        gallery.remove(image_id).result()
    wait_until_compact(gallery)
    assert len(gallery.snapshot().segments[0].items) < len(ids) * 3 // 5
    assert {item.id for item in gallery.snapshot().page(10_000).items} == set(remaining)
    for image_id in remaining[:5]:
        query = gallery.snapshot().vectors("conv2", [image_id])[image_id]
        ((match,),) = gallery.snapshot().search("conv2", query[None], 1)
        assert match.score > 0.999
        assert gallery.snapshot().image(image_id)
    gallery.add([addition(loaded, 1, image_id=removed[0])]).result()
    assert gallery.snapshot().get(removed[0]).source == "added"


def test_snapshots_never_show_half_a_change(
    gallery: LocalGallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs are added and replaced together; no snapshot has one without the other."""
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
