"""A gallery searched on the network's device returns what it returns in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from service.engine.backends.torch_eager import TorchEager
from service.engine.engine import Engine
from service.engine.types import SearchQuery
from service.errors import NotFoundError
from service.gallery.local.gallery import LocalGallery
from service.gallery.local.gpu_search import GpuSearcher
from service.gallery.types import ScoredItem
from tests.service.engine.test_engine import soon
from tests.support.fakes import BATCH_TIMEOUT, flat, running, submit
from tests.support.galleries import addition
from training import bundle
from training.bundle import Bundle, Layer, Vectors

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    ),
]


@pytest.fixture
def gallery(loaded: Bundle, tmp_path: Path) -> Iterator[LocalGallery]:
    opened = LocalGallery.open(loaded, tmp_path)
    yield opened
    opened.close()


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


def queries_near(gallery: LocalGallery, layer: Layer, count: int = 5) -> Vectors:
    """Return vectors of any length near those of the gallery, which random ones are not."""
    index = gallery.snapshot().segments[0].indexes[layer]
    some = index.reconstruct(range(0, len(index), len(index) // count))[:count]
    noise = np.random.default_rng(0).normal(size=some.shape) * 0.3 / some.shape[1] ** 0.5
    found: Vectors = (7 * (some + noise)).astype(np.float32)
    return found


def assert_alike(
    found: Sequence[Sequence[ScoredItem]], exact: Sequence[Sequence[ScoredItem]]
) -> None:
    for some, others in zip(found, exact, strict=True):
        scores = [match.score for match in others]
        assert [match.score for match in some] == pytest.approx(scores, abs=2e-4)
        first = [match.item for match in others if match.score > scores[-1] + 4e-4]
        assert {item.id for item in first} <= {match.item.id for match in some}


@pytest.mark.parametrize("layer", ["conv2", "logits"])
@pytest.mark.parametrize("limit", [1, 10, 10_000])
def test_a_search_on_the_device_equals_an_exact_search(
    gallery: LocalGallery, device: torch.device, layer: Layer, limit: int
) -> None:
    searcher = GpuSearcher(gallery.snapshot, device)
    queries = queries_near(gallery, layer)
    exact = gallery.snapshot().search(layer, queries, limit, exact=True)
    assert len(exact[0]) == min(limit, len(gallery))
    assert_alike(searcher.search(layer, torch.from_numpy(queries).to(device), limit), exact)
    assert_alike(searcher.search(layer, queries, limit), exact)


def test_added_images_are_found_and_removed_images_are_not(
    gallery: LocalGallery, device: torch.device, loaded: Bundle
) -> None:
    searcher = GpuSearcher(gallery.snapshot, device)
    queries = queries_near(gallery, "conv2")
    ((first, *_), *_) = searcher.search("conv2", queries, 1)
    gallery.remove(first.item.id).result()
    added = addition(loaded, 1)
    gallery.add([added, addition(loaded, 2)]).result()
    assert_alike(
        searcher.search("conv2", queries, 20),
        gallery.snapshot().search("conv2", queries, 20, exact=True),
    )
    (itself,) = searcher.search("conv2", added.vectors["conv2"][None], 1)[0]
    assert itself.item.id == added.item.id
    assert itself.score == pytest.approx(1, abs=1e-3)
    gallery.remove(added.item.id).result()
    found = searcher.search("conv2", added.vectors["conv2"][None], len(gallery) + 7)[0]
    assert len(found) == len(gallery)
    assert {first.item.id, added.item.id}.isdisjoint(match.item.id for match in found)


def test_a_gallery_too_large_for_the_device_is_searched_in_memory(
    gallery: LocalGallery, device: torch.device
) -> None:
    searcher = GpuSearcher(gallery.snapshot, device, max_bytes=1_000)
    queries = queries_near(gallery, "conv2")
    expected = gallery.snapshot().search("conv2", queries, 10)
    assert searcher.search("conv2", torch.from_numpy(queries).to(device), 10) == expected


def test_after_running_out_of_device_memory_searches_stay_in_memory(
    gallery: LocalGallery, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = queries_near(gallery, "conv2")
    expected = gallery.snapshot().search("conv2", queries, 10)
    searcher = GpuSearcher(gallery.snapshot, device)
    tries = []

    def fail(*_: object, **__: object) -> None:
        tries.append(1)
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty", fail)
        assert searcher.search("conv2", queries, 10) == expected
    assert searcher.search("conv2", queries, 10) == expected
    assert len(tries) == 1


def test_an_unknown_layer_is_refused(gallery: LocalGallery, device: torch.device) -> None:
    with pytest.raises(NotFoundError, match="No layer"):
        GpuSearcher(gallery.snapshot, device).search("conv1", np.ones((1, 4), np.float32), 1)


def test_the_engine_searches_with_vectors_that_stay_on_the_device(
    gallery: LocalGallery, device: torch.device, loaded: Bundle
) -> None:
    searcher = GpuSearcher(gallery.snapshot, device)
    searcher.warm_up()
    ten = SearchQuery("conv2", 10)
    backend = TorchEager(bundle.load(loaded.path).network, device=str(device))
    with running(Engine(backend, searcher.search)) as engine:
        futures = submit(engine, [flat(30), flat(200), flat(90)], soon(), [ten])
        answers = [future.result(BATCH_TIMEOUT) for future in futures]
    vectors = np.stack([answer.layers["conv2"] for answer in answers])
    exact = gallery.snapshot().search("conv2", vectors, 10, exact=True)
    assert_alike([answer.matches[ten] for answer in answers], exact)
