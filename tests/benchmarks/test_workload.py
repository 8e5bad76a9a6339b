"""What servers are asked, and that a wrong answer is seen."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.load_generator import Answer
from benchmarks.harness.workload import Query, queries, wrong_answers
from training.bundle import Bundle, load


@pytest.fixture(scope="module", params=["with pixels", "without"])
def opened(
    request: pytest.FixtureRequest, bundle_path: Path, bundle_without_pixels_path: Path
) -> Bundle:
    return load(bundle_path if request.param == "with pixels" else bundle_without_pixels_path)


@pytest.fixture(scope="module")
def asked(opened: Bundle) -> tuple[Query, ...]:
    return queries(opened)


def said(query: Query, **other: object) -> dict[str, object]:
    nearest = [{"id": name} for name in sorted(query.nearest)]
    right = {"predictions": [{"label": query.label}], "similar": {"conv2": nearest}}
    return right | other


def answer(said: object, status: int = 200) -> Answer:
    return Answer(0, 0.0, 0.0, status, json.dumps(said).encode())


def test_a_query_is_the_same_picture_as_pixels_and_as_a_file(asked: tuple[Query, ...]) -> None:
    for query in asked:
        with Image.open(BytesIO(query.png)) as image:
            assert np.array_equal(np.asarray(image), query.pixels)


def test_the_same_bundle_is_asked_the_same(opened: Bundle, asked: tuple[Query, ...]) -> None:
    assert [query.png for query in queries(opened)] == [query.png for query in asked]


def test_a_right_answer_is_right_alone_and_as_a_list_of_one(asked: tuple[Query, ...]) -> None:
    right = said(asked[0])
    assert wrong_answers([answer(right), answer([right])], asked, "conv2") == []


def test_one_of_the_nearest_may_be_missed_and_no_more(asked: tuple[Query, ...]) -> None:
    names = [{"id": name} for name in sorted(asked[0].nearest)]
    one, two = ({"conv2": [*names[missed:], *[{"id": "?"}] * missed]} for missed in (1, 2))
    assert wrong_answers([answer(said(asked[0], similar=one))], asked, "conv2") == []
    assert len(wrong_answers([answer(said(asked[0], similar=two))], asked, "conv2")) == 1


@pytest.mark.parametrize(
    "other", [{"predictions": [{"label": "?"}]}, {"predictions": []}, {"predictions": None}]
)
def test_another_class_is_wrong(asked: tuple[Query, ...], other: Mapping[str, object]) -> None:
    assert len(wrong_answers([answer(said(asked[0], **other))], asked, "class")) == 1


def test_a_refusal_is_wrong_whatever_it_says(asked: tuple[Query, ...]) -> None:
    assert len(wrong_answers([answer(said(asked[0]), status=429)], asked, "class")) == 1


def test_where_nothing_is_searched_nothing_near_is_looked_for(asked: tuple[Query, ...]) -> None:
    assert wrong_answers([answer(said(asked[0], similar={}))], asked, "class") == []
