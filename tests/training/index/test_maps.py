"""Maps: the place of a vector among those of its nearest, and the file with the places."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from training.index import maps
from training.index.cosine import Vectors, normalise
from training.index.maps import LayerMap, MapFileError, Reduction, mean_place, pool

SHAPES: dict[str, tuple[int, ...]] = {"places": (4, 16, 16), "vector": (6,)}


def vectors(count: int, dimension: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def made(count: int = 12) -> dict[str, LayerMap]:
    """Make maps of a layer over places, which is reduced, and of one with an index."""
    places = np.random.default_rng(1).random((2, count, 2)).astype(np.float32)
    pooled = normalise(pool(vectors(count, 4 * 16 * 16), SHAPES["places"]))
    reduction = Reduction(SHAPES["places"], vectors(3, pooled.shape[1]).astype(np.float16) * 1.0)
    return {
        "places": LayerMap(places[0], reduction, reduction.of_pooled(pooled)),
        "vector": LayerMap(places[1]),
    }


def test_the_place_is_the_mean_of_the_nearest_by_inverse_distance() -> None:
    places = np.array([[[0, 0], [1, 0]]], np.float32)
    assert mean_place(places, np.array([[0.5, 0.5]])).tolist() == [[0.5, 0]]
    assert mean_place(places, np.array([[0.9, 0.7]])) == pytest.approx(np.array([[0.25, 0]]))


def test_an_image_that_is_there_gets_its_own_place() -> None:
    one = made()["places"]
    queries = vectors(12, 4 * 16 * 16)
    scores, positions = one.nearest(7 * queries, 5)
    assert positions[:, 0].tolist() == list(range(12))
    assert (np.diff(scores) <= 0).all()
    assert one.place(scores, positions) == pytest.approx(one.places, abs=1e-3)


def test_there_are_no_more_nearest_than_images() -> None:
    scores, positions = made(3)["places"].nearest(vectors(2, 4 * 16 * 16), 10)
    assert scores.shape == positions.shape == (2, 3)


def test_pooling_averages_blocks_until_a_vector_is_short_enough() -> None:
    assert pool(vectors(2, 64 * 16 * 16), (64, 16, 16)).shape == (2, 1024)
    assert pool(vectors(2, 2048 * 7 * 7), (2048, 7, 7)).shape == (2, 2048 * 49)
    assert pool(vectors(2, 512), (512,)).shape == (2, 512)
    rows = vectors(1, 512 * 2 * 2).reshape(1, 512, 2, 2)
    assert pool(rows.reshape(1, -1), (512, 2, 2)) == pytest.approx(rows.mean(axis=(2, 3)))


def test_maps_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = made()
    maps.write(written, tmp_path / "maps")
    read = maps.read(tmp_path / "maps", SHAPES)
    assert list(read) == ["places", "vector"]
    for name, one in read.items():
        assert one.places == pytest.approx(written[name].places, abs=1e-5)
    queries = vectors(4, 4 * 16 * 16, seed=5)
    expected = written["places"].nearest(queries, 1)[1]
    assert read["places"].nearest(queries, 1)[1].tolist() == expected.tolist()
    assert read["vector"].reduction is None


@pytest.mark.parametrize("damage", ["count", "directions", "layer", "bytes", "missing"])
def test_maps_that_do_not_fit_together_are_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "maps"
    maps.write(made(), file)
    arrays = load_file(file)
    if damage == "count":
        save_file(arrays | {"places.reduced": arrays["places.reduced"][:5].copy()}, file)
    elif damage == "directions":
        save_file(arrays | {"places.directions": arrays["places.directions"][:, :5].copy()}, file)
    elif damage == "layer":
        save_file({name: one for name, one in arrays.items() if "vector" not in name}, file)
    elif damage == "bytes":
        file.write_bytes(b"no tensors")
    elif damage == "missing":
        file.unlink()
    with pytest.raises(MapFileError, match=str(file)):
        maps.read(file, SHAPES)
