"""The stored results of the experiments, and the model card."""

import dataclasses

import pytest
from fastapi.testclient import TestClient

from service.state import State
from tests.service.conftest import MakeApp
from tests.support.factories import made_record
from training.bundle import Bundle

PUBLISHED = "Lab2_P1_Regularizer_BatchNorm_3LayerCNN"


def names(client: TestClient, query: str) -> list[str]:
    return [one["name"] for one in client.get(f"/experiments?{query}").json()["experiments"]]


def test_experiments_have_statistics_and_the_machine_of_their_seconds(client: TestClient) -> None:
    one, _ = client.get("/experiments").json()["experiments"]
    assert (one["name"], one["published_name"]) == ("batchnorm-3", PUBLISHED)
    assert (one["conv_blocks"], one["regularizer"], one["runs"]) == (3, "batchnorm", 1)
    for figure in ("validation_accuracy", "test_accuracy", "training_seconds"):
        assert set(one[figure]) == {"mean", "std", "min", "max", "n"}
    assert one["machine"]
    assert one["published"] is None  # only CIFAR-10 has published figures


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("regularizer=batchnorm", ["batchnorm-3"]),
        ("regularizer=dropout", []),
        ("blocks=3", ["batchnorm-3"]),
        ("blocks=2", ["none-2"]),
        ("regularizer=dropout&blocks=2", []),
        ("regularizer=batchnorm&blocks=3", ["batchnorm-3"]),
    ],
)
def test_experiments_are_filtered(client: TestClient, query: str, found: list[str]) -> None:
    assert names(client, query) == found


def test_comparisons_are_those_between_the_listed_experiments(make_app: MakeApp) -> None:
    records = tuple(
        made_record(name, test=base + seed / 1000, seed=seed)
        for name, base in (("none-2", 0.6), ("none-3", 0.65), ("dropout-3", 0.7))
        for seed in range(3)
    )
    app = make_app()
    state: State = app.state.kindred
    state.bundle = dataclasses.replace(state.bundle, records=records)
    client = TestClient(app)
    every = client.get("/experiments").json()["comparisons"]
    shallow = client.get("/experiments?blocks=2").json()["comparisons"]
    assert [(one["first"], one["second"], one["seeds"]) for one in every] == [
        ("dropout-3", "none-3", [0, 1, 2]),
        ("none-3", "none-2", [0, 1, 2]),
    ]
    assert "5.00 points above none-2 over 3 seeds" in every[1]["words"]
    assert shallow == []


@pytest.mark.parametrize("query", ["regularizer=magic", "blocks=4"])
def test_an_invalid_filter_is_422(client: TestClient, query: str) -> None:
    assert client.get(f"/experiments?{query}").status_code == 422


@pytest.mark.parametrize("name", ["batchnorm-3", PUBLISHED])
def test_an_experiment_has_every_record_under_both_names(
    client: TestClient, loaded: Bundle, name: str
) -> None:
    one = client.get(f"/experiments/{name}").json()
    assert [record["run_id"] for record in one["records"]] == [
        record.run_id for record in loaded.records if record.experiment == "batchnorm-3"
    ]
    summary, _ = client.get("/experiments").json()["experiments"]
    assert {key: one[key] for key in summary} == summary


@pytest.mark.parametrize("name", ["batchnorm-3", PUBLISHED])
def test_learning_curves_are_svg(client: TestClient, name: str) -> None:
    response = client.get(f"/experiments/{name}/curves.svg")
    assert response.headers["Content-Type"] == "image/svg+xml"
    assert b"<svg" in response.content


@pytest.mark.parametrize("quantity", ["loss", "accuracy"])
def test_overlaid_curves_are_one_svg_without_inline_style(
    client: TestClient, quantity: str
) -> None:
    response = client.get(f"/experiments/curves/{quantity}.svg")
    assert response.headers["Content-Type"] == "image/svg+xml"
    assert 'data-experiment="batchnorm-3"' in response.text
    assert "style" not in response.text


def test_curves_of_an_unknown_quantity_are_422(client: TestClient) -> None:
    assert client.get("/experiments/curves/beauty.svg").status_code == 422


def test_a_figure_missing_in_an_older_bundle_is_404_with_the_reason(make_app: MakeApp) -> None:
    app = make_app()
    state: State = app.state.kindred
    state.bundle = dataclasses.replace(state.bundle, figures={})
    for path in ("/experiments/curves/loss.svg", "/experiments/batchnorm-3/curves.svg"):
        response = TestClient(app).get(path)
        assert response.status_code == 404
        assert "build it again" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/experiments/magic-3", "/experiments/magic-3/curves.svg"])
def test_an_unknown_experiment_is_404_and_lists_the_available_ones(
    client: TestClient, path: str
) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "available: batchnorm-3" in response.json()["detail"]


def test_the_model_card_has_metrics_limits_and_caveats(client: TestClient, loaded: Bundle) -> None:
    card = client.get("/model").json()
    assert (card["name"], card["version"]) == (loaded.manifest.name, loaded.manifest.version)
    assert card["classes"] == list(loaded.manifest.classes)
    assert loaded.manifest.metrics
    assert card["metrics"]["test_accuracy"] == loaded.manifest.metrics.test_accuracy
    added = client.get("/gallery?source=added&limit=100").json()["items"]  # by other tests
    assert card["gallery"]["size"] == len(loaded.gallery) + len(added)
    assert card["gallery"]["layers"]["conv2"]["dimension"] == 8192
    assert card["gallery"]["layers"]["logits"]["recall_at_10"] == 1
    assert card["input"]["embeddings"] == {"conv2": 8192, "penultimate": 512, "logits": 10}
    assert card["limits"]["neighbours"] == 100
    assert "32 x 32 pixels" in card["caveats"]
