"""A gallery that is searched where the network runs finds what it finds in memory."""

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
from tests.support.fakes import BATCH_TIMEOUT, flat, running
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


def queries(gallery: LocalGallery, layer: Layer, count: int = 5) -> Vectors:
    """Near the gallery's own, which other queries are not."""
    index = gallery.snapshot().segments[0].indexes[layer]
    some = index.reconstruct(range(0, len(index), len(index) // count))[:count]
    noise = np.random.default_rng(0).normal(size=some.shape) * 0.3 / some.shape[1] ** 0.5
    asked: Vectors = (7 * (some + noise)).astype(np.float32)  # of any length
    return asked


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
def test_it_finds_what_an_exact_search_finds(
    gallery: LocalGallery, device: torch.device, layer: Layer, limit: int
) -> None:
    near = GpuSearcher(gallery.snapshot, device)
    asked = queries(gallery, layer)
    exact = gallery.snapshot().search(layer, asked, limit, exact=True)
    assert len(exact[0]) == min(limit, len(gallery))
    assert_alike(near.search(layer, torch.from_numpy(asked).to(device), limit), exact)
    assert_alike(near.search(layer, asked, limit), exact)


def test_what_is_added_is_found_and_what_is_removed_is_not(
    gallery: LocalGallery, device: torch.device, loaded: Bundle
) -> None:
    near = GpuSearcher(gallery.snapshot, device)
    asked = queries(gallery, "conv2")
    ((first, *_), *_) = near.search("conv2", asked, 1)
    gallery.remove(first.item.id).result()
    added = addition(loaded, 1)
    gallery.add([added, addition(loaded, 2)]).result()
    assert_alike(
        near.search("conv2", asked, 20), gallery.snapshot().search("conv2", asked, 20, exact=True)
    )
    (itself,) = near.search("conv2", added.vectors["conv2"][None], 1)[0]
    assert itself.item.id == added.item.id
    assert itself.score == pytest.approx(1, abs=1e-3)
    gallery.remove(added.item.id).result()
    found = near.search("conv2", added.vectors["conv2"][None], len(gallery) + 7)[0]
    assert len(found) == len(gallery)
    assert {first.item.id, added.item.id}.isdisjoint(match.item.id for match in found)


def test_a_gallery_too_large_for_the_device_is_searched_in_memory(
    gallery: LocalGallery, device: torch.device
) -> None:
    near = GpuSearcher(gallery.snapshot, device, max_bytes=1_000)
    asked = queries(gallery, "conv2")
    expected = gallery.snapshot().search("conv2", asked, 10)
    assert near.search("conv2", torch.from_numpy(asked).to(device), 10) == expected


def test_a_device_without_room_is_not_asked_again(
    gallery: LocalGallery, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = queries(gallery, "conv2")
    expected = gallery.snapshot().search("conv2", asked, 10)
    near = GpuSearcher(gallery.snapshot, device)
    tries = []

    def fail(*_: object, **__: object) -> None:
        tries.append(1)
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "empty", fail)
        assert near.search("conv2", asked, 10) == expected
    assert near.search("conv2", asked, 10) == expected
    assert len(tries) == 1


def test_an_unknown_layer_is_refused(gallery: LocalGallery, device: torch.device) -> None:
    with pytest.raises(NotFoundError, match="No layer"):
        GpuSearcher(gallery.snapshot, device).search("conv1", np.ones((1, 4), np.float32), 1)


def test_the_engine_answers_with_what_is_found_there(
    gallery: LocalGallery, device: torch.device, loaded: Bundle
) -> None:
    """The vectors that the network leaves on the device are what is looked for."""
    near = GpuSearcher(gallery.snapshot, device)
    near.warm_up()
    ten = SearchQuery("conv2", 10)
    backend = TorchEager(bundle.load(loaded.path).network, device=device)
    with running(Engine(backend, near.search)) as engine:
        futures = engine.submit([flat(30), flat(200), flat(90)], soon(), [ten])
        answers = [future.result(BATCH_TIMEOUT) for future in futures]
    vectors = np.stack([answer.layers["conv2"] for answer in answers])
    exact = gallery.snapshot().search("conv2", vectors, 10, exact=True)
    assert_alike([answer.matches[ten] for answer in answers], exact)
