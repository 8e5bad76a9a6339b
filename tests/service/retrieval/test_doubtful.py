"""Labels in doubt, in every gallery backend and page by page."""

import dataclasses
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.gallery.protocol import Gallery
from service.gallery.types import MATCH_ALL, Item
from service.retrieval.doubtful import SLICE, DoubtSearch
from tests.support.galleries import BACKENDS
from training.bundle import Bundle


def relabel(gallery: Gallery, image_id: str, label: str) -> None:
    def change(item: Item) -> Item:
        return dataclasses.replace(item, label=label)

    gallery.edit(image_id, change).result()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wrong_label_is_in_doubt(backend: str, loaded: Bundle, tmp_path: Path) -> None:
    gallery = BACKENDS[backend](loaded, tmp_path)
    wrong = loaded.manifest.classes[0]
    right = next(
        item
        for item in gallery.snapshot().page(100).items
        if item.predicted == item.label and item.label != wrong
    )
    relabel(gallery, right.id, wrong)
    search = DoubtSearch(gallery.snapshot(), "logits", count=1000, after="", filter_=MATCH_ALL)
    while search.examine_slice():
        pass
    found = search.response()
    gallery.close()
    assert (found.looked_at, found.next) == (len(loaded.gallery), None)
    (doubted,) = [one for one in found.items if one.id == right.id]
    assert doubted.predicted == right.label
    assert next(iter(doubted.nearest)) == right.label
    assert sum(doubted.nearest.values()) == 10
    assert all(one.predicted != one.label for one in found.items)
    doubts = [one.doubt for one in found.items]
    assert doubts == sorted(doubts, reverse=True)


def test_pages_examine_each_image_once(client: TestClient, loaded: Bundle) -> None:
    whole = client.get("/gallery/doubtful").json()
    pages = [client.get(f"/gallery/doubtful?limit={SLICE}&layer=logits").json()]
    while pages[-1]["next"] is not None:
        cursor = pages[-1]["next"]
        pages.append(client.get(f"/gallery/doubtful?limit={SLICE}&cursor={cursor}").json())
    assert sum(page["looked_at"] for page in pages) == whole["looked_at"] >= len(loaded.gallery)
    found = [one["id"] for page in pages for one in page["items"]]
    assert sorted(found) == sorted(one["id"] for one in whole["items"])
    one_label = client.get(f"/gallery/doubtful?label={loaded.manifest.classes[1]}").json()
    assert one_label["looked_at"] < whole["looked_at"]
    assert client.get("/gallery/doubtful?layer=none").status_code == 404
