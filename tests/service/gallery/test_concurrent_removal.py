"""Requests that run while another service removes images from the same Milvus."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from service.errors import NotFoundError
from service.gallery import backup
from service.gallery.protocol import Gallery
from service.retrieval.similarity import SimilarityQuery, SimilaritySearch
from service.schemas.base import ModelName
from tests.support.fakes import embeddings
from tests.support.galleries import addition, on_milvus_lite
from training.bundle import Bundle


@pytest.fixture
def gallery(loaded: Bundle, tmp_path: Path) -> Iterator[Gallery]:
    """A gallery whose snapshots show its latest state."""
    opened = on_milvus_lite(loaded, tmp_path)
    opened.add([addition(loaded, seed) for seed in range(3)]).result()
    yield opened
    opened.close()


def remove_after(
    method: str, image_id: str, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remove an image each time a method of the view returns."""
    view = gallery.snapshot()
    call = getattr(view, method)

    def call_and_remove(*arguments: Any, **options: Any) -> Any:  # Any: as the method has it
        result = call(*arguments, **options)
        with suppress(NotFoundError):
            gallery.remove(image_id).result()
        return result

    monkeypatch.setattr(view, method, call_and_remove)


def test_vectors_skip_images_that_are_not_there(gallery: Gallery, loaded: Bundle) -> None:
    view = gallery.snapshot()
    ids = ["added-0001", "unknown", loaded.gallery.ids[0]]
    found = view.vectors("conv2", ids, missing="skip")
    assert list(found) == ["added-0001", loaded.gallery.ids[0]]
    alone = view.vectors("conv2", ["added-0001"])["added-0001"]
    assert found["added-0001"] == pytest.approx(alone)
    with pytest.raises(NotFoundError, match="unknown"):
        view.vectors("conv2", ids)


@pytest.mark.parametrize(
    "query",
    [
        SimilarityQuery("conv2", diversity=0.1),
        SimilarityQuery("conv2", with_attribution=True),
        SimilarityQuery("logits", with_attribution=True),
        SimilarityQuery("conv2", exclude_self=True),
    ],
    ids=["diversity", "heat", "terms", "exclude_self"],
)
def test_matches_removed_after_the_search_are_left_out(
    query: SimilarityQuery, gallery: Gallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_after("search", "added-0001", gallery, monkeypatch)
    image = embeddings(addition(loaded, 1).vectors)
    search = SimilaritySearch(ModelName(name="x", version="y"), gallery, loaded.spec)
    (response,) = search.similar([image], query)
    assert response["similar"]
    assert "added-0001" not in {one["id"] for one in response["similar"]}


def test_an_export_continues_without_images_removed_during_it(
    gallery: Gallery, loaded: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_after("page", "added-0001", gallery, monkeypatch)
    remove_after("outdated", "added-0002", gallery, monkeypatch)
    backup.write(gallery, tmp_path / "file")
    table = pq.read_table(tmp_path / "file", columns=["id", "network", "png"])
    networks = {row["id"]: row["network"] for row in table.to_pylist()}
    assert "added-0001" not in networks
    assert networks["added-0002"] is None  # removed between its pixels and its vectors
    assert networks["added-0000"] == loaded.network_id
