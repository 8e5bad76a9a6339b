"""The middleware and the OpenAPI document: request ids, timings, metrics, compression."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.http.openapi import API_VERSION
from service.settings import Settings
from tests.service.conftest import MakeApp
from tests.support.factories import linked_copy
from tests.support.fakes import image_file
from tests.support.processes import running_app
from training.bundle.writer import update_current_link

PNG = {"Content-Type": "image/png"}
IMAGE_PATHS = ("/predict", "/classify", "/similar", "/embed")


def metric(client: TestClient, line: str) -> float:
    """Return the value of a metric, or 0 if it is missing."""
    found = re.search(rf"^{re.escape(line)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_a_plain_request_id_is_returned_and_any_other_is_replaced(client: TestClient) -> None:
    assert (
        client.get("/livez", headers={"X-Request-ID": "a-1.b_2"}).headers["X-Request-ID"]
        == "a-1.b_2"
    )
    for invalid in ("", "with space", "x" * 65, "<script>"):
        given = client.get("/livez", headers={"X-Request-ID": invalid}).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{32}", given)


def test_server_timing_lists_the_stages(client: TestClient) -> None:
    header = client.post("/predict", content=image_file(), headers=PNG).headers["Server-Timing"]
    stages = [part.split(";")[0] for part in header.split(", ")]
    assert stages == ["decode", "queue", "inference", "search"]


def test_a_long_response_is_compressed_if_the_client_accepts_gzip(client: TestClient) -> None:
    path = "/predict?explain=true"
    packed = client.post(path, content=image_file(), headers=PNG | {"Accept-Encoding": "gzip"})
    plain = client.post(path, content=image_file(), headers=PNG | {"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.json() == plain.json()


def test_requests_are_counted_by_route_and_status(client: TestClient) -> None:
    line = 'kindred_requests_total{route="/gallery/{image_id}",status="404"}'
    before = metric(client, line)
    client.get("/gallery/unknown-1")
    client.get("/gallery/unknown-2")
    assert metric(client, line) == before + 2


def test_requests_without_a_route_are_counted_together(client: TestClient) -> None:
    line = 'kindred_requests_total{route="none",status="404"}'
    before = metric(client, line)
    client.get("/nowhere/1")
    client.get("/nowhere/2")
    assert metric(client, line) == before + 2


def test_images_stages_batches_and_refusals_are_counted(make_app: MakeApp) -> None:
    with TestClient(make_app()) as client:
        client.post(
            "/classify", files=[("file", image_file()), ("file", b"?"), ("file", image_file(1))]
        )
        client.post("/classify", content=b"?", headers=PNG)
        client.get("/gallery?limit=0")
        expected = {
            'kindred_images_total{outcome="answered"}': 2,
            'kindred_images_total{outcome="refused"}': 2,
            'kindred_rejections_total{reason="not-an-image"}': 1,
            'kindred_rejections_total{reason="parameter"}': 1,
            "kindred_batch_images_sum": 3,  # one is the image that is checked at the start
            "kindred_queue_images": 0,
            "kindred_requests_in_flight": 1,
            'kindred_stage_seconds_count{stage="inference"}': 1,
        }
        assert {line: metric(client, line) for line in expected} == expected
        assert 'kindred_bundle_info{name="batchnorm-3"' in client.get("/metrics").text


def test_two_apps_have_separate_metrics(make_app: MakeApp) -> None:
    with TestClient(make_app()) as one, TestClient(make_app()) as other:
        one.get("/livez")
        line = 'kindred_requests_total{route="/livez",status="200"}'
        assert (metric(one, line), metric(other, line)) == (1, 0)


def test_a_404_refers_to_the_docs(client: TestClient) -> None:
    answer = client.post("/v2/models/other/infer")
    assert answer.status_code == 404
    assert "/docs" in answer.json()["detail"]
    assert client.get("/docs").status_code == 200


def test_head_is_answered_as_get_without_the_body(make_app: MakeApp) -> None:
    with running_app(make_app(max_batch_size=1)) as http:
        for path in ("/", "/livez", "/model", "/experiments", "/gallery/unknown", "/classify"):
            head, get = http.head(path), http.get(path)
            assert head.status_code == get.status_code
            assert head.headers["Content-Length"] == get.headers["Content-Length"]
            assert head.content == b""


def test_the_docs_are_served(client: TestClient) -> None:
    assert client.get("/docs").status_code == 200


def test_openapi_describes_the_three_upload_forms_with_working_examples(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in IMAGE_PATHS:
        content = paths[path]["post"]["requestBody"]["content"]
        assert content.keys() == {
            "application/octet-stream",
            "multipart/form-data",
            "application/json",
        }
        for example in content["application/json"]["examples"].values():
            assert client.post(path, json=example["value"]).status_code == 200


def test_openapi_describes_errors_as_problem_json_only(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    (media_type,) = response["content"].keys()
                    assert media_type == "application/problem+json"


@pytest.mark.parametrize("path", IMAGE_PATHS)
def test_openapi_lists_every_error_status(client: TestClient, path: str) -> None:
    responses = client.get("/openapi.json").json()["paths"][path]["post"]["responses"]
    assert {"400", "404", "413", "415", "422", "429", "500", "503", "504"} <= responses.keys()


def test_openapi_references_resolve(client: TestClient) -> None:
    response = client.get("/openapi.json")
    schemas = response.json()["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/([^\"]+)", response.text)) <= schemas.keys()


def test_openapi_has_the_version_of_the_api_and_model_that_of_the_bundle(
    bundle_path: Path, bundle_without_pixels_path: Path, tmp_path: Path
) -> None:
    linked_copy(bundle_path, tmp_path / "one")
    linked_copy(bundle_without_pixels_path, tmp_path / "other")
    update_current_link(tmp_path / "current", tmp_path / "one")
    versions = []
    with TestClient(create_app(Settings(bundle=tmp_path / "current", max_batch_size=1))) as client:
        for name in ("one", "other"):
            update_current_link(tmp_path / "current", tmp_path / name)
            reloaded = client.post("/admin/reload").json()["current"]["version"]
            assert client.get("/model").json()["version"] == reloaded
            assert client.get("/openapi.json").json()["info"]["version"] == API_VERSION
            versions.append(reloaded)
    assert versions[0] != versions[1]
    assert re.fullmatch(r"\d+\.\d+\.\d+", API_VERSION)
