"""Uploads as a raw body, a form or JSON, of one or several images; their limits and errors."""

import base64
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service import images
from service.errors import MalformedBodyError
from service.http.codecs.uploads import decode_base64
from tests.service.conftest import MakeApp
from tests.support.fakes import file_of, image_file
from training.bundle import Fit, Pixels

PNG = {"Content-Type": "image/png"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def strict(make_app: MakeApp) -> Iterator[TestClient]:
    """A client of an app with small limits."""
    app = make_app(max_body_bytes=20_000, max_client_batch_size=3, max_pixels=2_000)
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("path", ["/predict", "/classify", "/similar", "/embed"])
def test_raw_form_and_json_uploads_get_the_same_response(client: TestClient, path: str) -> None:
    data = image_file()
    raw = client.post(path, content=data, headers=PNG)
    assert raw.status_code == 200
    octets = client.post(path, content=data, headers={"Content-Type": "application/octet-stream"})
    untyped = client.post(path, content=data)
    form = client.post(path, files={"file": ("cat.png", data, "image/png")})
    json = client.post(path, json={"image": b64(data)})
    uri = client.post(path, json={"image": f"data:image/png;base64,{b64(data)}"})
    for other in (octets, untyped, form, json, uri):
        assert other.json() == raw.json()


def folded(text: str) -> str:
    """Break base64 into lines of 76 characters, as in a mail."""
    return "".join(f"{text[start : start + 76]}\r\n" for start in range(0, len(text), 76))


@pytest.mark.parametrize(
    "write",
    [
        folded,
        lambda text: text.rstrip("="),
        lambda text: text.translate(str.maketrans("+/", "-_")),
        lambda text: folded(text.translate(str.maketrans("+/", "-_")).rstrip("=")),
        lambda text: f"Data:image/png;charset=utf-8;BASE64,{folded(text)}",
    ],
    ids=["line breaks", "no padding", "URL-safe", "all three", "a data URI"],
)
def test_base64_is_read_as_clients_write_it(
    client: TestClient, write: Callable[[str], str]
) -> None:
    data = next(one for one in map(image_file, range(99)) if "+" in b64(one) and len(one) % 3)
    expected = client.post("/classify", content=data, headers=PNG).json()
    assert client.post("/classify", json={"image": write(b64(data))}).json() == expected
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [write(b64(data))]}
    if not write(b64(data)).startswith("Data:"):
        answer = client.post("/v2/models/kindred/infer", json={"inputs": [tensor]})
        assert answer.status_code == 200


@pytest.mark.parametrize("text", ["a", "abc=d", "ab=cd===", "£", "abc!", "=", "http://a.org/b"])
def test_other_text_is_no_base64(text: str) -> None:
    assert isinstance(decode_base64(text), MalformedBodyError)


def test_json_may_begin_with_a_byte_order_mark(client: TestClient) -> None:
    body = json.dumps({"image": b64(image_file())})
    headers = {"Content-Type": "application/json"}
    answer = client.post("/classify", content=body.encode("utf-8-sig"), headers=headers)
    assert answer.status_code == 200
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        refused = client.post("/classify", content=body.encode(encoding), headers=headers)
        assert refused.status_code == 400
        assert "UTF-8" in refused.json()["detail"]


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize("before", [b"", b"\r\n", b"A preamble - with --b in it\r\n", b"--\r\n"])
@pytest.mark.parametrize("after", [b"", b"\r\n", b"\r\nAn epilogue\r\n--b\r\n"])
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_a_form_may_have_a_preamble_and_an_epilogue(
    client: TestClient, before: bytes, after: bytes, size: int
) -> None:
    data = image_file()
    body = before + PART + data + b"\r\n--b--" + after
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    expected = client.post("/classify", content=data, headers=PNG).json()
    assert client.post("/classify", content=pieces, headers=FORM).json() == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (PART + image_file(), "last boundary"),
        (PART + image_file() + b"\r\n--b\r\n", "last boundary"),
        (PART + image_file() + b"\r\n--b-", "last boundary"),
        (PART[:30], "last boundary"),
        (b"", "boundary"),
        (b"--other\r\n" + PART[5:] + image_file() + b"\r\n--other--", "Content-Type"),
        (b"--b--\r\n", "no file"),
    ],
)
def test_a_form_that_is_cut_off_says_so(client: TestClient, body: bytes, reason: str) -> None:
    answer = client.post("/classify", content=body, headers=FORM)
    assert answer.status_code == 400
    assert reason in answer.json()["detail"]


def test_the_format_is_read_from_the_content_and_not_from_the_header(client: TestClient) -> None:
    response = client.post(
        "/classify", content=image_file(), headers={"Content-Type": "image/jpeg"}
    )
    assert response.status_code == 200


def test_several_images_are_answered_in_their_order(client: TestClient) -> None:
    data = [image_file(seed, kind=seed % 10) for seed in range(12)]
    alone = [client.post("/classify", content=one, headers=PNG).json() for one in data]
    form = client.post("/classify", files=[("file", ("a.png", one, "image/png")) for one in data])
    json = client.post("/classify", json={"images": [b64(one) for one in data]})
    for answer in (form, json):
        labels = [one["predictions"][0]["label"] for one in answer.json()["results"]]
        assert labels == [one["predictions"][0]["label"] for one in alone]


def test_a_list_of_one_is_answered_by_a_list_of_one(client: TestClient) -> None:
    assert (
        len(client.post("/classify", json={"images": [b64(image_file())]}).json()["results"]) == 1
    )


def test_a_bad_image_among_good_ones_has_its_own_error(client: TestClient) -> None:
    images = [b64(image_file()), b64(b"no image"), "no base64!", b64(b""), b64(image_file(1))]
    response = client.post("/predict", json={"images": images})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [one.get("error", {}).get("status") for one in results] == [None, 415, 400, 400, None]
    assert results[0]["similar"]["conv2"] != results[4]["similar"]["conv2"]


def test_images_that_are_all_bad_have_an_error_each(client: TestClient) -> None:
    results = client.post("/classify", json={"images": ["", "?"]}).json()["results"]
    assert [one["error"]["status"] for one in results] == [400, 400]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"{}", "either"),
        (b'{"image": "", "images": [""]}', "either"),
        (b'{"images": []}', "either"),
        (b'{"image": 3}', "string"),
        (b'{"url": "http://169.254.169.254/"}', "no such field"),
        (b'{"image": "http://169.254.169.254/"}', "URLs are not fetched"),
    ],
)
def test_malformed_json_is_400_and_says_why(client: TestClient, body: bytes, reason: str) -> None:
    response = client.post("/classify", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert reason in response.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"images": [' + b'"",' * 100_000 + b'""]}',
        b"{" + b",".join(b'"%d": 1' % key for key in range(100_000)) + b"}",
        b'{"images": [' + b"[]," * 100_000 + b"[]]}",
    ],
    ids=["strings", "keys", "lists"],
)
def test_json_of_more_values_than_any_request_needs_is_not_even_parsed(
    client: TestClient, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr("service.http.codecs.uploads._Images.model_validate_json", never)
    response = client.post("/classify", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert "values" in response.json()["detail"]


def test_repeated_starts_of_a_data_uri_are_refused_in_linear_time() -> None:
    """The time to look for a data: URI must not grow with the number of its possible starts."""

    def seconds(text: str) -> float:
        began = time.perf_counter()
        assert isinstance(decode_base64(text), MalformedBodyError)
        return time.perf_counter() - began

    plain = min(seconds("e-ta:" * 40_000) for _ in range(5))
    assert min(seconds("data:" * 40_000) for _ in range(5)) < 20 * plain + 0.01


def test_json_may_have_the_maximum_number_of_images(client: TestClient) -> None:
    uri = f"data:image/png;charset=utf-8;base64,{b64(image_file())}"
    results = client.post("/classify", json={"images": [uri] * 64}).json()["results"]
    assert all("predictions" in one for one in results)
    assert client.post("/classify", json={"images": [uri] * 65}).status_code == 413


def test_urls_are_never_fetched(client: TestClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        url = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/cat.png"
        for response in (
            client.post("/classify", json={"image": url}),
            client.post("/classify", json={"url": url}),
            client.post("/classify", files={"file": (None, url)}),
            client.post("/classify", files={"file": url.encode()}),
            client.post("/classify", content=url.encode(), headers=PNG),
            client.post(f"/classify?url={url}", content=b""),
        ):
            assert response.status_code in (400, 415, 422)
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_the_model_lists_the_limits(strict: TestClient) -> None:
    limits = strict.get("/model").json()["limits"]
    found = {limit: limits[limit] for limit in ("body_bytes", "images", "pixels")}
    assert found == {"body_bytes": 20_000, "images": 3, "pixels": 2_000}


def test_a_form_without_a_file_is_400_and_says_how(client: TestClient) -> None:
    for form in (
        client.post("/classify", files={"image": ("a.png", image_file())}),
        client.post("/classify", files={"file": (None, "cat.png")}),
        client.post(
            "/classify", content=b"--", headers={"Content-Type": "multipart/form-data; boundary=x"}
        ),
        client.post("/classify", content=b"", headers={"Content-Type": "multipart/form-data"}),
    ):
        assert form.status_code == 400
    assert "-F file=@cat.png" in client.post("/classify", files={"x": b""}).json()["detail"]


@pytest.mark.parametrize("charset", ["undefined", "idna", "utf-16", "hex", "nonsense"])
def test_a_form_in_an_unusual_charset_is_parsed_or_refused(
    client: TestClient, charset: str
) -> None:
    form = (
        b'--x\r\nContent-Disposition: form-data; name="\xff\xfe.xn--"; filename="\xff"\r\n\r\n'
        b"GIF\r\n--x--\r\n"
    )
    kind = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    assert client.post("/classify", content=form, headers=kind).status_code == 400


def test_uploads_are_never_written_to_disk(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may have no writable disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8)
    response = client.post(
        "/classify", files={"file": ("noise.bmp", file_of(Image.fromarray(noise), "BMP"))}
    )
    assert response.status_code == 200


def test_a_compressed_body_is_415_and_says_so(client: TestClient) -> None:
    for path in ("/classify", "/v2/models/kindred/infer"):
        headers = PNG | {"Content-Encoding": "gzip"}
        response = client.post(path, content=gzip.compress(image_file()), headers=headers)
        assert response.status_code == 415
        assert "'gzip'" in response.json()["detail"]
    whole = client.post("/classify", content=image_file(), headers={"Content-Encoding": "identity"})
    assert whole.status_code == 200


def test_an_empty_body_is_400(client: TestClient) -> None:
    response = client.post("/classify", content=b"", headers=PNG)
    assert response.status_code == 400
    assert "empty" in response.json()["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "video/mp4"])
def test_an_unsupported_media_type_is_415_and_says_which_are_supported(
    client: TestClient, kind: str
) -> None:
    response = client.post("/classify", content=image_file(), headers={"Content-Type": kind})
    assert response.status_code == 415
    assert "Content-Type: image/png" in response.json()["detail"]


def test_too_many_bytes_are_413_with_and_without_a_content_length(strict: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    long = b"x" * 20_001
    for response in (
        strict.post("/classify", content=long, headers=PNG),
        strict.post("/classify", content=chunks(), headers=PNG),
        strict.post("/classify", files={"file": long}),
        strict.post("/classify", json={"image": b64(long)}),
    ):
        assert response.status_code == 413
        assert "20,000 bytes" in response.json()["detail"]


def test_too_many_pixels_are_413(make_app: MakeApp) -> None:
    with TestClient(make_app(max_pixels=1023)) as client:
        response = client.post("/classify", content=image_file(), headers=PNG)
    assert response.status_code == 413
    assert "1,023 pixels" in response.json()["detail"]


def test_too_many_images_are_413_in_either_form(strict: TestClient) -> None:
    form = strict.post("/classify", files=[("file", b"x")] * 4)
    json = strict.post("/classify", json={"images": ["", "", "", ""]})
    for response in (form, json):
        assert response.status_code == 413
        assert "more than 3 images" in response.json()["detail"]


def test_large_images_are_decoded_together_up_to_a_number_of_pixels(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JPEG counts with the pixels that are left of it after it was read small."""
    decode = images.decode
    lock = threading.Lock()
    running: list[int] = []
    most: list[int] = []

    def slow(image: Image.Image, side: int, fit: Fit = "crop") -> Pixels:
        with lock:
            running.append(image.width * image.height)
            most.append(sum(running))
        time.sleep(0.02)
        with lock:
            running.remove(image.width * image.height)
        return decode(image, side, fit)

    monkeypatch.setattr(images, "decode", slow)
    large = {kind: file_of(Image.new("RGB", (1000, 600)), kind) for kind in ("PNG", "JPEG")}
    with (
        TestClient(make_app(max_pixels=1_000_000, max_batch_size=1)) as http,
        ThreadPoolExecutor(8) as clients,
    ):

        def post(kind: str) -> int:
            status: int = http.post("/classify", files={"file": large[kind]}).status_code
            return status

        assert {*clients.map(post, ["PNG"] * 8)} == {200}
        assert max(most) == 600_000
        most.clear()
        assert {*clients.map(post, ["JPEG"] * 4)} == {200}
        assert min(most) == 500 * 300
