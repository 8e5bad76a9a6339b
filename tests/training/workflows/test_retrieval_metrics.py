"""Tests of the retrieval metrics, on indexes small enough to count by hand."""

import numpy as np
import pytest
import torch

from training.index.cosine import Vectors, build
from training.workflows import retrieval_metrics
from training.workflows.retrieval_metrics import pick_queries, precision_at_k, rank


def on_a_circle(*degrees: float) -> Vectors:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_precision_is_over_the_ten_nearest_without_the_query() -> None:
    # The query at 0 degrees, its ten nearest at 1 to 10, one more of its label far away.
    index = build(on_a_circle(0, *range(1, 11), 90))
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0])
    assert precision_at_k(index, labels, np.array([0])).tolist() == [3 / 10]


def test_a_query_alone_in_its_class_has_precision_0() -> None:
    index = build(on_a_circle(*range(12)))
    assert precision_at_k(index, np.array([1] + [0] * 11), np.array([0])).tolist() == [0.0]


def test_duplicates_of_the_query_count_but_the_query_does_not() -> None:
    index = build(on_a_circle(*[0] * 12))
    shares = precision_at_k(index, np.zeros(12, dtype=np.int64), np.arange(12))
    assert shares.tolist() == [1.0] * 12


def test_precision_in_a_small_gallery_is_over_all_neighbours() -> None:
    index = build(on_a_circle(0, 10, 20))
    assert precision_at_k(index, np.array([0, 0, 1]), np.array([0, 2])).tolist() == [0.5, 0.0]


def test_precisions_are_in_the_order_of_the_queries() -> None:
    index = build(on_a_circle(*range(6), *range(90, 96)))
    labels = np.array([0] * 6 + [1] * 6)
    assert precision_at_k(index, labels, np.array([7, 0])).tolist() == [0.5, 0.5]


def test_queries_are_picked_from_the_classes_in_rotation() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert pick_queries(labels, 4).tolist() == [0, 3, 5, 1]


def test_all_images_of_a_small_gallery_are_queries() -> None:
    assert sorted(pick_queries(np.array([1, 0, 1, 1])).tolist()) == [0, 1, 2, 3]


def test_a_thousand_queries_of_ten_classes_have_a_hundred_of_each() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 150))
    queries = pick_queries(labels)
    assert np.bincount(labels[queries]).tolist() == [100] * 10
    assert len(set(queries.tolist())) == 1000


def circle(*degrees: float) -> torch.Tensor:
    return torch.from_numpy(on_a_circle(*degrees)) * 3.0  # a cosine does not depend on the length


def test_rank_gives_the_values_counted_by_hand() -> None:
    # The first finds, in order: other, own, other, own. The precisions at its two hits are 1/2
    # and 2/4, so its average precision is 1/2; two of its ten nearest (of four) are its own.
    ranked = rank(circle(0, 1, 2, 3, 4), torch.tensor([0, 1, 0, 2, 0]), 4)
    alone = rank(circle(0, 2, 4), torch.tensor([0, 0, 0]), 1)
    assert (ranked.queries, ranked.gallery, ranked.dimension) == (3, 5, 2)
    assert ranked.by_class[1:] == (None, None, None)  # one image, one image, none
    # From 2: the neighbours at 1 and 3 come first, in gallery order, then 0 and 4: 1/3, 2/4.
    # From 4: other, own, other, own again.
    assert ranked.overall.mean_average_precision == pytest.approx((1 / 2 + 5 / 12 + 1 / 2) / 3)
    assert ranked.overall.precision_at_10 == pytest.approx(1 / 2)
    assert ranked.by_class[0] == ranked.overall
    assert (alone.overall.precision_at_10, alone.overall.mean_average_precision) == (1, 1)


def test_only_the_ten_nearest_count_for_precision_at_ten() -> None:
    labels = torch.tensor([0] * 4 + [1] * 7 + [0])
    ranked = rank(circle(0, *range(1, 11), 90), labels, 2)
    index = build(on_a_circle(0, *range(1, 11), 90))
    shares = precision_at_k(index, labels.numpy(), np.arange(12))
    assert ranked.overall.precision_at_10 == pytest.approx(shares.mean())


def test_the_ranking_does_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(40, 5, generator=generator)
    labels = torch.arange(40) % 4
    together = rank(vectors, labels, 4)
    monkeypatch.setattr(retrieval_metrics, "CHUNK", 7)
    assert rank(vectors, labels, 4) == together


def test_random_vectors_have_the_precision_of_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    made = rank(torch.randn(1000, 50, generator=generator), torch.arange(1000) % 4, 4)
    assert made.overall.precision_at_10 == pytest.approx(0.25, abs=0.02)
    assert made.overall.mean_average_precision == pytest.approx(0.25, abs=0.02)


def test_without_two_images_of_a_label_rank_raises_an_error() -> None:
    with pytest.raises(ValueError, match="no two images"):
        rank(circle(0, 1), torch.tensor([0, 1]), 2)
