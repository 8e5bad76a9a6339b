"""Tests of the workload: its images, and the check of responses."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.load_generator import Response
from benchmarks.harness.workload import Query, build_queries, wrong_responses
from training.bundle import Bundle, load


@pytest.fixture(scope="module", params=["with pixels", "without"])
def opened(
    request: pytest.FixtureRequest, bundle_path: Path, bundle_without_pixels_path: Path
) -> Bundle:
    return load(bundle_path if request.param == "with pixels" else bundle_without_pixels_path)


@pytest.fixture(scope="module")
def queries(opened: Bundle) -> tuple[Query, ...]:
    return build_queries(opened)


def right_content(query: Query, **other: object) -> dict[str, object]:
    nearest = [{"id": name} for name in sorted(query.nearest)]
    right = {"predictions": [{"label": query.label}], "similar": {"conv2": nearest}}
    return right | other


def response(content: object, status: int = 200) -> Response:
    return Response(0, 0.0, 0.0, status, json.dumps(content).encode())


def test_a_query_has_the_same_image_as_pixels_and_as_a_file(queries: tuple[Query, ...]) -> None:
    for query in queries:
        with Image.open(BytesIO(query.png)) as image:
            assert np.array_equal(np.asarray(image), query.pixels)


def test_queries_are_the_same_for_the_same_bundle(
    opened: Bundle, queries: tuple[Query, ...]
) -> None:
    assert [query.png for query in build_queries(opened)] == [query.png for query in queries]


def test_a_right_response_is_accepted_alone_and_as_a_list_of_one(
    queries: tuple[Query, ...],
) -> None:
    right = right_content(queries[0])
    assert wrong_responses([response(right), response([right])], queries, "conv2") == []


def test_at_most_one_of_the_nearest_may_be_missing(queries: tuple[Query, ...]) -> None:
    names = [{"id": name} for name in sorted(queries[0].nearest)]
    one, two = (
        response(right_content(queries[0], similar={"conv2": found}))
        for found in ([*names[1:], {"id": "?"}], [*names[2:], {"id": "?"}, {"id": "?"}])
    )
    assert wrong_responses([one], queries, "conv2") == []
    assert wrong_responses([two], queries, "conv2") == [two]


@pytest.mark.parametrize(
    "other", [{"predictions": [{"label": "?"}]}, {"predictions": []}, {"predictions": None}]
)
def test_a_wrong_class_is_rejected(queries: tuple[Query, ...], other: Mapping[str, object]) -> None:
    wrong = response(right_content(queries[0], **other))
    assert wrong_responses([wrong], queries, "class") == [wrong]


def test_a_refusal_is_rejected_even_with_the_right_content(queries: tuple[Query, ...]) -> None:
    refusal = response(right_content(queries[0]), status=429)
    assert wrong_responses([refusal], queries, "class") == [refusal]


def test_neighbours_are_not_checked_if_the_task_is_the_class(queries: tuple[Query, ...]) -> None:
    without = response(right_content(queries[0], similar={}))
    assert wrong_responses([without], queries, "class") == []
