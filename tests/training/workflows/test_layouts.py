"""The layout of maps: images that are alike are near each other, layer after layer."""

import numpy as np
import pytest
import torch

from tests.support.factories import network
from tests.training.trainer.scripted import labelled_images
from training.bundle.writer import Maps
from training.embedding.embed import embed
from training.index.cosine import Vectors
from training.index.maps import NEAREST
from training.models.blocknet import BlockNet
from training.models.layers import Layer
from training.workflows import layouts
from training.workflows.layouts import lay_out

CPU = torch.device("cpu")
COUNT = 60
NAMED: tuple[Layer, ...] = ("conv2", "logits")


@pytest.fixture(scope="module")
def built() -> BlockNet:
    return network().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return labelled_images(COUNT).images


@pytest.fixture(scope="module")
def vectors(built: BlockNet, images: torch.Tensor) -> dict[Layer, Vectors]:
    return embed(built, images, built.layers, CPU)


@pytest.fixture(scope="module")
def made(built: BlockNet, images: torch.Tensor, vectors: dict[Layer, Vectors]) -> Maps:
    found = lay_out(built, images, {layer: vectors[layer] for layer in NAMED}, CPU)
    assert found is not None
    return found


def test_every_layer_has_a_place_in_the_unit_square_for_each_image(
    made: Maps, built: BlockNet
) -> None:
    assert tuple(made.layers) == tuple(made.qualities) == built.layers
    for one in made.layers.values():
        assert one.places.shape == (COUNT, 2)
        assert one.places.min() >= 0
        assert one.places.max() <= 1
        assert one.places.std(axis=0).max() > 0.1


def test_the_maps_show_what_is_near(made: Maps) -> None:
    for quality in made.qualities.values():
        assert quality.measured == COUNT
        assert 0.75 < quality.trustworthiness <= 1


def test_layers_without_an_index_find_the_nearest_by_reduced_vectors(
    made: Maps, vectors: dict[Layer, Vectors]
) -> None:
    for layer, one in made.layers.items():
        assert (one.reduction is None) == (layer in NAMED)
        if one.reduction is not None:
            scores, positions = one.nearest(vectors[layer], NEAREST)
            assert positions[:, 0].tolist() == list(range(COUNT))
            assert one.place(scores, positions) == pytest.approx(one.places, abs=0.01)


def test_a_layout_begins_from_the_one_before(made: Maps, vectors: dict[Layer, Vectors]) -> None:
    before = made.layers["penultimate"].places
    components = layouts.principal_components(vectors["logits"])
    moved = {}
    for name, start in (("before", before), ("turned", before[:, ::-1] * [-1, 1])):
        after = layouts.in_unit_square(layouts.run_tsne(components, start.astype(np.float32)))
        moved[name] = np.linalg.norm(after - before, axis=1).mean()
    assert moved["before"] < moved["turned"]


def test_images_beyond_the_limit_are_placed_among_their_nearest(
    monkeypatch: pytest.MonkeyPatch,
    built: BlockNet,
    images: torch.Tensor,
    vectors: dict[Layer, Vectors],
) -> None:
    monkeypatch.setattr(layouts, "MAX_LAID_OUT", 40)
    found = lay_out(built, images, {layer: vectors[layer] for layer in NAMED}, CPU)
    assert found is not None
    for layer in built.layers:
        assert found.layers[layer].places.shape == (COUNT, 2)
        assert found.qualities[layer].trustworthiness > 0.7


def test_a_few_images_have_no_map(built: BlockNet, images: torch.Tensor) -> None:
    assert lay_out(built, images[: layouts.MIN_IMAGES - 1], {}, CPU) is None


def test_images_that_are_all_the_same_are_laid_out(built: BlockNet) -> None:
    same = torch.full((10, 3, 32, 32), 7, dtype=torch.uint8)
    found = lay_out(built, same, {}, CPU)
    assert found is not None
    assert all(np.isfinite(one.places).all() for one in found.layers.values())
