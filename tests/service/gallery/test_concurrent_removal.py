"""Images that another service removes while they are looked at."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from service.engine.types import Embeddings
from service.errors import NotFoundError
from service.gallery import backup
from service.gallery.protocol import Gallery
from service.retrieval.similarity import SimilarityQuery, SimilaritySearch
from service.schemas.base import ModelName
from tests.support.galleries import addition, on_milvus_lite
from training.bundle import Bundle


@pytest.fixture
def gallery(loaded: Bundle, tmp_path: Path) -> Iterator[Gallery]:
    """In a home that has no snapshots."""
    opened = on_milvus_lite(loaded, tmp_path)
    opened.add([addition(loaded, seed) for seed in range(3)]).result()
    yield opened
    opened.close()


def remove_after(
    method: str, image_id: str, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have an image removed whenever a method has answered."""
    view = gallery.snapshot()
    ask = getattr(view, method)

    def ask_and_remove(*arguments: Any, **options: Any) -> Any:  # Any: whatever the method takes
        answer = ask(*arguments, **options)
        with suppress(NotFoundError):
            gallery.remove(image_id).result()
        return answer

    monkeypatch.setattr(view, method, ask_and_remove)


def test_images_that_have_gone_have_no_vectors(gallery: Gallery, loaded: Bundle) -> None:
    view = gallery.snapshot()
    asked = ["added-0001", "unknown", loaded.gallery.ids[0]]
    there = view.vectors("conv2", asked, missing="skip")
    assert list(there) == ["added-0001", loaded.gallery.ids[0]]
    alone = view.vectors("conv2", ["added-0001"])["added-0001"]
    assert there["added-0001"] == pytest.approx(alone)
    with pytest.raises(NotFoundError, match="unknown"):
        view.vectors("conv2", asked)


@pytest.mark.parametrize(
    "asked",
    [
        SimilarityQuery("conv2", diversity=0.1),
        SimilarityQuery("conv2", with_attribution=True),
        SimilarityQuery("logits", with_attribution=True),
        SimilarityQuery("conv2", exclude_self=True),
    ],
    ids=["diversity", "heat", "terms", "exclude_self"],
)
def test_matches_that_go_after_they_are_found_are_left_out(
    asked: SimilarityQuery, gallery: Gallery, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_after("search", "added-0001", gallery, monkeypatch)
    image = Embeddings(addition(loaded, 1).vectors, None, queued=0, inference=0)
    (said,) = SimilaritySearch(ModelName(name="x", version="y"), gallery).similar([image], asked)
    assert said.similar
    assert "added-0001" not in {one.id for one in said.similar}


def test_a_backup_goes_on_without_what_goes_while_it_is_written(
    gallery: Gallery, loaded: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_after("page", "added-0001", gallery, monkeypatch)
    remove_after("outdated", "added-0002", gallery, monkeypatch)
    backup.write(gallery, tmp_path / "file")
    table = pq.read_table(tmp_path / "file", columns=["id", "network", "png"])
    networks = {row["id"]: row["network"] for row in table.to_pylist()}
    assert "added-0001" not in networks
    assert networks["added-0002"] is None  # its picture was there, and its vectors were not
    assert networks["added-0000"] == loaded.network_id
