"""How good neighbours are, on an index small enough to count by hand."""

import numpy as np

from training.index import Vectors, build
from training.retrieval import label_share, pick_queries


def on_a_circle(*degrees: float) -> Vectors:
    turned = np.deg2rad(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


def test_the_share_is_over_the_ten_nearest_without_the_query() -> None:
    # The query at 0 degrees, its ten nearest at 1 to 10, one more of its label far away.
    index = build(on_a_circle(0, *range(1, 11), 90))
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0])
    assert label_share(index, labels, np.array([0])).tolist() == [3 / 10]


def test_a_query_alone_with_its_label_has_none() -> None:
    index = build(on_a_circle(*range(12)))
    assert label_share(index, np.array([1] + [0] * 11), np.array([0])).tolist() == [0.0]


def test_twins_of_the_query_count_though_it_does_not() -> None:
    index = build(on_a_circle(*[0] * 12))
    shares = label_share(index, np.zeros(12, dtype=np.int64), np.arange(12))
    assert shares.tolist() == [1.0] * 12


def test_a_small_gallery_counts_the_neighbours_there_are() -> None:
    index = build(on_a_circle(0, 10, 20))
    assert label_share(index, np.array([0, 0, 1]), np.array([0, 2])).tolist() == [0.5, 0.0]


def test_each_query_has_its_own_share_in_order() -> None:
    index = build(on_a_circle(*range(6), *range(90, 96)))
    labels = np.array([0] * 6 + [1] * 6)
    assert label_share(index, labels, np.array([7, 0])).tolist() == [0.5, 0.5]


def test_classes_take_turns_as_queries() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert pick_queries(labels, 4).tolist() == [0, 3, 5, 1]


def test_all_are_queries_where_there_are_few() -> None:
    assert sorted(pick_queries(np.array([1, 0, 1, 1])).tolist()) == [0, 1, 2, 3]


def test_a_thousand_queries_of_ten_classes_are_a_hundred_each() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 150))
    queries = pick_queries(labels)
    assert np.bincount(labels[queries]).tolist() == [100] * 10
    assert len(set(queries.tolist())) == 1000
