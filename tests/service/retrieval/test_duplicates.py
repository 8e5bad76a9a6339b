"""Near-duplicates, in every gallery backend."""

import dataclasses
from pathlib import Path

import pytest

from service.gallery.types import Filter
from service.retrieval.duplicates import DuplicateSearch
from tests.support.galleries import BACKENDS, addition
from training.bundle import Bundle


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_without_vectors_are_skipped(backend: str, loaded: Bundle, tmp_path: Path) -> None:
    gallery = BACKENDS[backend](loaded, tmp_path)
    one = addition(loaded, 1)
    twin = dataclasses.replace(one, item=dataclasses.replace(one.item, id="twin"))
    gallery.add([one, twin, dataclasses.replace(addition(loaded, 2), vectors={})]).result()
    search = DuplicateSearch(
        gallery.snapshot(), "conv2", 0.99, count=10, after="", filter_=Filter(source="added")
    )
    assert search.examine_slice() is False
    found = search.response()
    gallery.close()
    assert [(pair.first.id, pair.second.id) for pair in found.pairs] == [("added-0001", "twin")]
    assert found.looked_at == 3
