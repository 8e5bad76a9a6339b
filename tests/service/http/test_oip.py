"""The Open Inference Protocol, by the stock client of Triton and by hand."""

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

from tests.support.fakes import picture
from tests.support.images import stripes
from tests.support.processes import serve_bundle, serving

IMAGES = np.stack([stripes(kind, 10_000) for kind in range(4)])
INFER = "/v2/models/kindred/infer"


@pytest.fixture(scope="module")
def http(bundle_path: Path) -> Iterator[httpx.Client]:
    """A server in its own process."""
    with serving(serve_bundle(bundle_path)) as client:
        yield client


@pytest.fixture(scope="module")
def stock(http: httpx.Client) -> Iterator[Any]:
    """The stock client."""
    client = triton.InferenceServerClient(f"{http.base_url.host}:{http.base_url.port}")
    yield client
    client.close()


def expected(http: httpx.Client) -> list[dict[str, Any]]:
    files = [("file", (str(kind), picture(0, kind))) for kind in range(4)]
    results: list[dict[str, Any]] = http.post("/classify?top_k=10", files=files).json()["results"]
    return results


def test_the_stock_client_finds_it_well(stock: Any) -> None:
    assert stock.is_server_live()
    assert stock.is_server_ready()
    assert stock.is_model_ready("kindred")


def test_the_stock_client_reads_what_there_is(stock: Any, http: httpx.Client) -> None:
    model = http.get("/model").json()
    server = stock.get_server_metadata()
    assert "binary_tensor_data" in server["extensions"]
    found = stock.get_model_metadata("kindred")
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
    assert stock.get_model_metadata("kindred", model_version=model["version"]) == found


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_the_stock_client_infers(
    stock: Any, http: httpx.Client, binary_in: bool, binary_out: bool
) -> None:
    sent = triton.InferInput("images", list(IMAGES.shape), "UINT8")
    sent.set_data_from_numpy(IMAGES, binary_data=binary_in)
    names = ("labels", "probabilities", "conv2")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    answer = stock.infer("kindred", [sent], outputs=outputs, request_id="mine")
    assert answer.get_response()["id"] == "mine"
    labels = [one.decode() if binary_out else one for one in answer.as_numpy("labels")]
    classified = expected(http)
    assert labels == [one["predictions"][0]["label"] for one in classified]
    probabilities = answer.as_numpy("probabilities")
    for row, one in zip(probabilities, classified, strict=True):
        for prediction in one["predictions"]:
            assert row[prediction["index"]] == pytest.approx(prediction["probability"], abs=1e-4)
    assert answer.as_numpy("conv2").shape == (4, 8192)


def test_without_outputs_the_stock_client_gets_them_all(stock: Any) -> None:
    sent = triton.InferInput("images", list(IMAGES.shape), "UINT8")
    sent.set_data_from_numpy(IMAGES)
    answer = stock.infer("kindred", [sent])
    for name in ("labels", "probabilities", "conv2", "penultimate", "logits"):
        assert len(answer.as_numpy(name)) == 4


@pytest.mark.parametrize("binary", [True, False])
def test_whole_files_may_be_sent(stock: Any, http: httpx.Client, binary: bool) -> None:
    files = [picture(0, kind) for kind in range(4)]
    encoded = files if binary else [base64.b64encode(file) for file in files]
    sent = triton.InferInput("images", [4], "BYTES")
    sent.set_data_from_numpy(np.array(encoded, dtype=np.object_), binary_data=binary)
    answer = stock.infer("kindred", [sent])
    labels = [one.decode() for one in answer.as_numpy("labels")]
    assert labels == [one["predictions"][0]["label"] for one in expected(http)]


def test_the_stock_client_is_told_what_is_wrong(stock: Any) -> None:
    sent = triton.InferInput("images", [1, 3, 32, 32], "UINT8")
    sent.set_data_from_numpy(IMAGES[:1].transpose(0, 3, 1, 2).copy())
    with pytest.raises(InferenceServerException, match=r"the shape \[N, 32, 32, 3\]"):
        stock.infer("kindred", [sent])


def test_another_version_is_not_there(stock: Any) -> None:
    with pytest.raises(InferenceServerException, match="No version 'none' here"):
        stock.get_model_metadata("kindred", model_version="none")


# By hand.


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
    ("body", "said"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "There is one input, 'images'"),
        ({"inputs": [tensor(), tensor()]}, "There is one input"),
        ({"inputs": [tensor(name="x")]}, "There is one input"),
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
        ({"inputs": [tensor()], "outputs": [{"name": "x"}]}, "there is no second or other 'x'"),
        ({"inputs": [tensor()], "outputs": [{"name": "conv2"}] * 2}, "each once"),
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
            "ask for 'labels'",
        ),
        ({"inputs": [tensor(parameters={"binary_data_size": 7})]}, "bytes are behind"),
        ({"inputs": [tensor(parameters={"binary_data_size": -7})]}, "bytes are behind"),
        ({"inputs": [tensor(parameters={"binary_data_size": "x"})]}, "bytes are behind"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, body: dict[str, object], said: str) -> None:
    answer = client.post(INFER, json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("length", "body", "said"),
    [
        ("x", b"{}", "says that the JSON has 'x' bytes"),
        ("99", b"{}", "the body has 2"),
        ("-1", b"{}", "'-1' bytes"),
        ("1", b"{}", "not what it should be"),
        ("9" * 5000, b"{}", "the body has 2"),
    ],
)
def test_a_wrong_length_is_said(client: TestClient, length: str, body: bytes, said: str) -> None:
    answer = client.post(INFER, content=body, headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def binary(raw: bytes, **update: object) -> tuple[bytes, dict[str, str]]:
    one = tensor(data=None, parameters={"binary_data_size": len(raw)}, **update)
    text = json.dumps({"inputs": [one]}).encode()
    return text + raw, {"Inference-Header-Content-Length": str(len(text))}


@pytest.mark.parametrize(
    "raw", [b"\x05\x00\x00\x00abc", b"\x01", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"]
)
def test_elements_that_are_cut_off_or_empty_are_refused(client: TestClient, raw: bytes) -> None:
    body, headers = binary(raw, datatype="BYTES", shape=[1])
    assert client.post(INFER, content=body, headers=headers).status_code == 400


def test_bytes_that_belong_to_nothing_are_refused(client: TestClient) -> None:
    body, headers = binary(IMAGES[0].tobytes())
    assert client.post(INFER, content=body, headers=headers).status_code == 200
    answer = client.post(INFER, content=body + b"x", headers=headers)
    assert "1 bytes at the end" in answer.json()["error"]


def test_too_many_images_are_refused_before_they_are_read(client: TestClient) -> None:
    answer = client.post(INFER, json={"inputs": [tensor(shape=[65, 32, 32, 3], data=[])]})
    assert answer.status_code == 413


def test_json_of_more_values_than_all_images_have_is_not_even_parsed(client: TestClient) -> None:
    for more in ({"parameters": {"x": [0] * 300_000}}, {"inputs": [tensor(data=[[]] * 300_000)]}):
        answer = client.post(INFER, json={"inputs": [tensor()], **more})
        assert answer.status_code == 413
        assert "197,632 values" in answer.json()["error"]


def test_as_many_images_as_are_allowed_fit_into_json(client: TestClient) -> None:
    most = tensor(shape=[64, 32, 32, 3], data=[IMAGES[0].tolist()] * 64)
    answer = client.post(INFER, json={"inputs": [most], "outputs": [{"name": "labels"}]})
    assert len(answer.json()["outputs"][0]["data"]) == 64


def test_a_file_that_is_no_picture_is_refused(client: TestClient) -> None:
    data = [base64.b64encode(b"no picture").decode()]
    one = tensor(datatype="BYTES", shape=[1], data=data)
    assert client.post(INFER, json={"inputs": [one]}).status_code == 415
