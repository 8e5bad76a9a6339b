"""Similarity search by page: all pages of one query come from one ranking."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.engine.types import Embeddings
from service.gallery.local.gallery import LocalGallery
from service.gallery.types import Filter
from service.retrieval.similarity import SimilarityQuery, SimilaritySearch
from service.schemas.base import ModelName
from tests.support.fakes import embeddings
from tests.support.galleries import addition, ids
from tests.support.lengths import length
from training.bundle import Bundle, Layer, Projection, Vectors, from_fp16

QUERIES = length(20, 5)
LIMIT = 5


@pytest.fixture(scope="module")
def gallery(
    loaded: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bundle, LocalGallery]]:
    """A gallery with added images, whose search at conv2 rescores as few candidates as it may."""
    exact = loaded.indexes["conv2"]
    rows = range(len(exact))
    coarse = from_fp16(exact.fp16(rows), Projection.fit(exact.reconstruct(rows)[:20]))
    coarse.k_factor = 1
    bundle = dataclasses.replace(loaded, indexes={**loaded.indexes, "conv2": coarse})
    opened = LocalGallery.open(bundle, tmp_path_factory.mktemp("gallery"))
    random = np.random.default_rng(0)
    additions = []
    for seed, row in enumerate(random.choice(len(exact), 30)):
        vectors = dict(addition(bundle, seed).vectors)
        noise = 0.01 * random.normal(size=exact.dimension).astype(np.float32)
        vectors["conv2"] = exact.reconstruct([row])[0] + noise
        additions.append(dataclasses.replace(addition(bundle, seed), vectors=vectors))
    opened.add(additions).result()
    yield bundle, opened
    opened.close()


@pytest.mark.soak
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"exclude_self": True},
        {"diversity": 0.02},
        {"exact": True},
        {"filter_": Filter(source="added")},
        {"filter_": Filter(label="cyan"), "exclude_self": True},
        {"positive": ("added-0003",), "exclude_self": True},
    ],
    ids=str,
)
def test_pages_show_each_image_once(
    gallery: tuple[Bundle, LocalGallery], options: dict[str, object]
) -> None:
    bundle, opened = gallery
    search = SimilaritySearch(ModelName(name="any", version="1"), opened, bundle.spec)
    random = np.random.default_rng(1)
    for vector in bundle.indexes["conv2"].reconstruct(random.choice(150, QUERIES)):
        noisy = vector + 0.01 * random.normal(size=vector.shape).astype(np.float32)
        image = embeddings({"conv2": noisy})
        query = dataclasses.replace(SimilarityQuery("conv2", LIMIT), **options)  # type: ignore[arg-type]
        shown: list[str] = []
        while True:
            (found,) = search.similar([image], dataclasses.replace(query, offset=len(shown)))
            scores = [one["score"] for one in found["similar"]]
            assert scores == sorted(scores, reverse=True)
            shown += [one["id"] for one in found["similar"]]
            if len(found["similar"]) < LIMIT:
                break
        assert len(shown) == len(set(shown))
        if not {"diversity", "exclude_self"} & options.keys():
            assert sorted(shown) == ids(opened, query.filter_)


def rotated(vector: Vectors, cosine: float, seed: int) -> Vectors:
    """Return a vector of that cosine to a unit vector."""
    noise = np.random.default_rng(seed).normal(size=vector.shape).astype(np.float32)
    noise -= (noise @ vector) * vector
    noise *= np.tan(np.arccos(cosine)) / np.linalg.norm(noise)
    turned: Vectors = vector + noise
    return turned


def shown_without_itself(
    search: SimilaritySearch, layer: Layer, image: Embeddings
) -> frozenset[str]:
    query = SimilarityQuery(layer, 100, exclude_self=True, exact=True)
    (found,) = search.similar([image], query)
    return frozenset(one["id"] for one in found["similar"])


@pytest.mark.parametrize("cosine", [0.9993, 0.97, 0.92])
@pytest.mark.parametrize("layer", ["conv2", "logits"])
def test_pixels_decide_what_is_the_query_however_its_vector_is_rounded(
    gallery: tuple[Bundle, LocalGallery], layer: Layer, cosine: float
) -> None:
    """int8 changes the cosine of an image to itself to 0.9993; other networks may change more."""
    bundle, opened = gallery
    pixels = bundle.gallery.pixels
    assert pixels is not None
    search = SimilaritySearch(ModelName(name="any", version="1"), opened, bundle.spec)
    for row in range(0, 150, 10):
        vectors = {name: index.reconstruct([row])[0] for name, index in bundle.indexes.items()}
        vectors["conv2"] = rotated(vectors["conv2"], cosine, row)
        itself, other = embeddings(vectors), embeddings(vectors)
        itself.pixels = np.array(pixels[row])
        other.pixels = np.bitwise_xor(itself.pixels, np.uint8(1))  # by one level in each value
        assert bundle.gallery.ids[row] not in shown_without_itself(search, layer, itself)
        assert bundle.gallery.ids[row] in shown_without_itself(search, layer, other)


@pytest.mark.parametrize(("cosine", "left_out"), [(0.9993, True), (0.995, True), (0.97, False)])
@pytest.mark.parametrize("layer", ["conv2", "logits"])
def test_without_pixels_the_cosine_decides(
    bundle_without_pixels: Bundle, layer: Layer, cosine: float, left_out: bool, tmp_path: Path
) -> None:
    opened = LocalGallery.open(bundle_without_pixels, tmp_path)
    search = SimilaritySearch(
        ModelName(name="any", version="1"), opened, bundle_without_pixels.spec
    )
    for row in range(0, 100, 10):
        vectors = {
            name: index.reconstruct([row])[0]
            for name, index in bundle_without_pixels.indexes.items()
        }
        vectors["conv2"] = rotated(vectors["conv2"], cosine, row)
        image = embeddings(vectors)
        image.pixels = np.zeros((32, 32, 3), np.uint8)
        shown = shown_without_itself(search, layer, image)
        assert (bundle_without_pixels.gallery.ids[row] not in shown) == left_out
    opened.close()
