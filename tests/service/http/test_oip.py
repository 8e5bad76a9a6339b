"""The Open Inference Protocol, with Triton's client and with handwritten requests."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from fastapi.testclient import TestClient
from tritonclient.utils import InferenceServerException

from tests.support.fakes import image_file
from tests.support.images import striped_image
from tests.support.processes import running_server, serve_command

IMAGES = np.stack([striped_image(kind, 10_000) for kind in range(4)])
INFER = "/v2/models/kindred/infer"


@pytest.fixture(scope="module")
def http(bundle_path: Path) -> Iterator[httpx.Client]:
    """A client of a server in its own process."""
    with running_server(serve_command(bundle_path)) as client:
        yield client


@pytest.fixture(scope="module")
def tritonclient(http: httpx.Client) -> Iterator[Any]:
    """Triton's client of the same server."""
    client = triton.InferenceServerClient(f"{http.base_url.host}:{http.base_url.port}")
    yield client
    client.close()


def expected(http: httpx.Client) -> list[dict[str, Any]]:
    files = [("file", (str(kind), image_file(0, kind))) for kind in range(4)]
    results: list[dict[str, Any]] = http.post("/classify?top_k=10", files=files).json()["results"]
    return results


def test_tritonclient_finds_server_and_model_ready(tritonclient: Any) -> None:
    assert tritonclient.is_server_live()
    assert tritonclient.is_server_ready()
    assert tritonclient.is_model_ready("kindred")


def test_tritonclient_reads_the_metadata(tritonclient: Any, http: httpx.Client) -> None:
    model = http.get("/model").json()
    server = tritonclient.get_server_metadata()
    assert "binary_tensor_data" in server["extensions"]
    found = tritonclient.get_model_metadata("kindred")
    assert found["versions"] == [model["version"]] == [server["version"]]
    assert found["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    shapes = {one["name"]: one["shape"] for one in found["outputs"]}
    assert shapes == {
        "labels": [-1],
        "probabilities": [-1, 10],
        "conv2": [-1, 8192],
        "penultimate": [-1, 512],
        "logits": [-1, 10],
    }
    assert tritonclient.get_model_metadata("kindred", model_version=model["version"]) == found


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tritonclient_infers(
    tritonclient: Any, http: httpx.Client, binary_in: bool, binary_out: bool
) -> None:
    sent = triton.InferInput("images", list(IMAGES.shape), "UINT8")
    sent.set_data_from_numpy(IMAGES, binary_data=binary_in)
    names = ("labels", "probabilities", "conv2")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    answer = tritonclient.infer("kindred", [sent], outputs=outputs, request_id="mine")
    assert answer.get_response()["id"] == "mine"
    labels = [one.decode() if binary_out else one for one in answer.as_numpy("labels")]
    classified = expected(http)
    assert labels == [one["predictions"][0]["label"] for one in classified]
    probabilities = answer.as_numpy("probabilities")
    for row, one in zip(probabilities, classified, strict=True):
        for prediction in one["predictions"]:
            assert row[prediction["index"]] == pytest.approx(prediction["probability"], abs=1e-4)
    assert answer.as_numpy("conv2").shape == (4, 8192)


def test_without_requested_outputs_all_are_returned(tritonclient: Any) -> None:
    sent = triton.InferInput("images", list(IMAGES.shape), "UINT8")
    sent.set_data_from_numpy(IMAGES)
    answer = tritonclient.infer("kindred", [sent])
    for name in ("labels", "probabilities", "conv2", "penultimate", "logits"):
        assert len(answer.as_numpy(name)) == 4


@pytest.mark.parametrize("binary", [True, False])
def test_image_files_are_accepted_as_bytes(
    tritonclient: Any, http: httpx.Client, binary: bool
) -> None:
    files = [image_file(0, kind) for kind in range(4)]
    encoded = files if binary else [base64.b64encode(file) for file in files]
    sent = triton.InferInput("images", [4], "BYTES")
    sent.set_data_from_numpy(np.array(encoded, dtype=np.object_), binary_data=binary)
    answer = tritonclient.infer("kindred", [sent])
    labels = [one.decode() for one in answer.as_numpy("labels")]
    assert labels == [one["predictions"][0]["label"] for one in expected(http)]


def test_tritonclient_raises_with_the_error_detail(tritonclient: Any) -> None:
    sent = triton.InferInput("images", [1, 3, 32, 32], "UINT8")
    sent.set_data_from_numpy(IMAGES[:1].transpose(0, 3, 1, 2).copy())
    with pytest.raises(InferenceServerException, match=r"the shape \[N, 32, 32, 3\]"):
        tritonclient.infer("kindred", [sent])


def test_an_unknown_version_is_not_found(tritonclient: Any) -> None:
    with pytest.raises(InferenceServerException, match="No version 'none'; available: "):
        tritonclient.get_model_metadata("kindred", model_version="none")


# Handwritten requests.


def tensor(**update: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "name": "images",
        "datatype": "UINT8",
        "shape": [1, 32, 32, 3],
        "data": IMAGES[0].tolist(),
    }
    return {**whole, **update}


def test_data_may_be_nested_or_flat(client: TestClient) -> None:
    flat = tensor(data=IMAGES[0].ravel().tolist())
    answers = [client.post(INFER, json={"inputs": [one]}).json() for one in (tensor(), flat)]
    assert answers[0] == answers[1]
    assert answers[0]["outputs"][0]["name"] == "labels"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "Send exactly one input, 'images'"),
        ({"inputs": [tensor(), tensor()]}, "exactly one input"),
        ({"inputs": [tensor(name="x")]}, "exactly one input"),
        ({"inputs": [tensor(datatype="FP32")]}, "UINT8 or BYTES, not 'FP32'"),
        ({"inputs": [tensor(shape=[0, 32, 32, 3], data=[])]}, "N at least 1"),
        ({"inputs": [tensor(shape=[2, 32, 32, 3])]}, "3072 elements"),
        ({"inputs": [tensor(shape=[-1, 32, 32, 3])]}, "N at least 1"),
        ({"inputs": [tensor(shape=[])]}, "the shape"),
        ({"inputs": [tensor(data=None)]}, "neither 'data'"),
        ({"inputs": [tensor(data=[256] * 3072)]}, "from 0 to 255"),
        ({"inputs": [tensor(data=[-1] * 3072)]}, "from 0 to 255"),
        ({"inputs": [tensor(data=[0.5] * 3072)]}, "from 0 to 255"),
        ({"inputs": [tensor(data=["a"] * 3072)]}, "from 0 to 255"),
        ({"inputs": [tensor(data=[[1, 2], [3]])]}, "3 elements"),
        ({"inputs": [tensor(datatype="BYTES", shape=[1], data=["?"])]}, "base64"),
        ({"inputs": [tensor(datatype="BYTES", shape=[1], data=[1])]}, "base64"),
        ({"inputs": [tensor(datatype="BYTES", shape=[2], data=["aaaa"])]}, "1 elements"),
        ({"inputs": [tensor(datatype="BYTES", shape=[1, 2], data=["aaaa"])]}, "the shape [N]"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "x"}]},
            "Output 'x' is unknown or requested twice",
        ),
        ({"inputs": [tensor()], "outputs": [{"name": "conv2"}] * 2}, "requested twice"),
        ({"inputs": [tensor()], "outputs": [{"name": "conv2"}] * 99}, "at most 16"),
        ({"inputs": [tensor(data=["A" * 1_000_000, *"a" * 5000])]}, "from 0 to 255"),
        ({"inputs": [tensor(data=[True] * 3072)]}, "from 0 to 255"),
        ({"inputs": [tensor(data=[0] * 9999)]}, "3073 elements"),
        ({"inputs": [0] * 100_000}, "at most 16"),
        (
            {
                "inputs": [tensor()],
                "outputs": [{"name": "labels", "parameters": {"classification": 3}}],
            },
            "request the output 'labels'",
        ),
        ({"inputs": [tensor(parameters={"binary_data_size": 7})]}, "bytes follow the JSON"),
        ({"inputs": [tensor(parameters={"binary_data_size": -7})]}, "bytes follow the JSON"),
        ({"inputs": [tensor(parameters={"binary_data_size": "x"})]}, "bytes follow the JSON"),
    ],
)
def test_an_invalid_request_is_400_with_the_reason(
    client: TestClient, body: dict[str, object], reason: str
) -> None:
    answer = client.post(INFER, json=body)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("length", "body", "reason"),
    [
        ("x", b"{}", "gives 'x' bytes of JSON"),
        ("99", b"{}", "the body has 2"),
        ("-1", b"{}", "'-1' bytes"),
        ("1", b"{}", "not valid"),
        ("9" * 5000, b"{}", "the body has 2"),
    ],
)
def test_a_wrong_json_length_is_400_with_the_reason(
    client: TestClient, length: str, body: bytes, reason: str
) -> None:
    answer = client.post(INFER, content=body, headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


def binary(raw: bytes, **update: object) -> tuple[bytes, dict[str, str]]:
    one = tensor(data=None, parameters={"binary_data_size": len(raw)}, **update)
    text = json.dumps({"inputs": [one]}).encode()
    return text + raw, {"Inference-Header-Content-Length": str(len(text))}


@pytest.mark.parametrize(
    "raw", [b"\x05\x00\x00\x00abc", b"\x01", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"]
)
def test_truncated_or_empty_elements_are_refused(client: TestClient, raw: bytes) -> None:
    body, headers = binary(raw, datatype="BYTES", shape=[1])
    assert client.post(INFER, content=body, headers=headers).status_code == 400


def test_surplus_bytes_are_refused(client: TestClient) -> None:
    body, headers = binary(IMAGES[0].tobytes())
    assert client.post(INFER, content=body, headers=headers).status_code == 200
    answer = client.post(INFER, content=body + b"x", headers=headers)
    assert "1 bytes at the end" in answer.json()["error"]


def test_too_many_images_are_refused_before_they_are_read(client: TestClient) -> None:
    answer = client.post(INFER, json={"inputs": [tensor(shape=[65, 32, 32, 3], data=[])]})
    assert answer.status_code == 413


def test_json_with_too_many_values_is_refused_unparsed(client: TestClient) -> None:
    for more in ({"parameters": {"x": [0] * 300_000}}, {"inputs": [tensor(data=[[]] * 300_000)]}):
        answer = client.post(INFER, json={"inputs": [tensor()], **more})
        assert answer.status_code == 413
        assert "197,632 values" in answer.json()["error"]


def test_the_maximum_number_of_images_fits_into_json(client: TestClient) -> None:
    most = tensor(shape=[64, 32, 32, 3], data=[IMAGES[0].tolist()] * 64)
    answer = client.post(INFER, json={"inputs": [most], "outputs": [{"name": "labels"}]})
    assert len(answer.json()["outputs"][0]["data"]) == 64


def test_a_file_that_is_not_an_image_is_refused(client: TestClient) -> None:
    data = [base64.b64encode(b"no image").decode()]
    one = tensor(datatype="BYTES", shape=[1], data=data)
    assert client.post(INFER, json={"inputs": [one]}).status_code == 415
