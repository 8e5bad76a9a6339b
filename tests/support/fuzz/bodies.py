"""Bodies that are almost right: JSON, forms and tensors."""

import base64
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeVar

from tests.support.fuzz.request import IMAGE, KEYS, VALUES, Request, random_target

TEXT: Final = base64.b64encode(IMAGE).decode()
T = TypeVar("T")

JSON: Final = b"application/json"
UPLOADS: Final = (
    *(("POST", "/predict"), ("POST", "/classify"), ("POST", "/similar"), ("POST", "/embed")),
    *(("POST", "/gallery"), ("PUT", "/gallery/{}")),
)
INFER: Final = ("POST", "/v2/models/kindred/infer")
ODD: Final[tuple[object, ...]] = (
    *(None, True, False, 0, -1, 1.5, 10**400, -(10**20), 1e300, "", "a", "\0", "é" * 100, [], {}),
    *([[]], {"": None}, [None] * 50, TEXT, "data:image/png;base64," + TEXT, "data:,", "x" * 3000),
)


def json_request(random: Random) -> Request:
    """Return an upload, an edit or an inference request in JSON with something odd in it."""
    method, template = random.choice((*UPLOADS, INFER, ("PATCH", "/gallery/{}")))
    if template == INFER[1]:
        value: Any = tensors(random)
    elif method == "PATCH":
        value = {"label": "cat", "attributes": {"a": 1, "b": None}}
    else:
        one = {"image": TEXT, "label": "cat", "attributes": {"a": 1}}
        value = random.choice(({"image": TEXT}, {"images": [TEXT, TEXT]}, {"images": [one]}, one))
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        value = changed(random, value)
    body = damaged_json(random, json.dumps(value, ensure_ascii=random.random() < 0.5))
    return with_body(random, method, template, body, JSON)


def changed(random: Random, value: Any) -> Any:
    """Replace, remove or add a random part of a JSON value."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        copy, key = dict(value), random.choice(list(value))
        action = random.randrange(4)
        if action == 0:
            del copy[key]
        elif action == 1:
            copy[random.choice((*VALUES, "id", "image", "images", "data", "name"))] = copy[key]
        else:
            copy[key] = changed(random, copy[key])
        return copy
    if isinstance(value, list) and value and random.random() < 0.8:
        position = random.randrange(len(value))
        return [*value[:position], changed(random, value[position]), *value[position + 1 :]]
    return random.choice(ODD)


def damaged_json(random: Random, text: str) -> bytes:
    """Encode JSON, now and then in another encoding, cut off, or as no JSON at all."""
    ways: tuple[Callable[[str], bytes], ...] = (
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("latin-1", "replace"),
        lambda text: text[: random.randrange(len(text) + 1)].encode(),
        lambda text: flipped(random, text.encode()),
        lambda text: text.replace('"a"', '"\\ud800"').encode(),
        lambda text: text.replace("1", "NaN").encode(),
        lambda _: b"[" * random.choice((10, 1000, 100_000)),
        lambda _: b'{"image":' * 1000,
        lambda _: b"1" * 5000,
        lambda text: (text + text).encode(),
    )
    return random.choice(ways)(text) if random.random() < 0.2 else text.encode()


def mostly(random: Random, good: T, odd: Sequence[T]) -> T:
    """Return something odd one time in five."""
    return random.choice(odd) if random.random() < 0.2 else good


FIELD: Final = b'Content-Disposition: form-data; name="file"; filename="a.png"'
FIELDS: Final = (
    *(FIELD + b"\r\nContent-Type: image/png", FIELD.replace(b"file", b"other"), b""),
    FIELD.replace(b'; filename="a.png"', b""),
    *(b"Content-Disposition: form-data", b"X" * 9000 + b": y", b"\r\n".join([b"a: b"] * 50)),
    b"Content-Disposition: form-data; name*=UTF-8''%ff; filename*=x''%zz",
    b'Content-Disposition: form-data; name="\xff\xfe"; filename="\0"',
    FIELD + b"\r\nContent-Transfer-Encoding: base64",
)
BOUNDARIES: Final = (b"----WebKit", b"a" * 70, b"'()+_,-./:=?", b"a" * 300, b"", b"\xff", b'"')
CHARSETS: Final = (b"; charset=utf-7", b"; charset=\xff", b"; charset=idna", b"; charset=rot13")


def form_request(random: Random) -> Request:
    """Return a form with files, with something odd in it."""
    method, template = random.choice(UPLOADS)
    boundary = mostly(random, b"b", BOUNDARIES)
    parts = b"".join(
        b"--%s\r\n%s\r\n\r\n%s\r\n"
        % (boundary, mostly(random, FIELD, FIELDS), mostly(random, IMAGE, (b"", b"x" * 5000)))
        for _ in range(mostly(random, 1, (0, 2, 70)))
    )
    body = mostly(random, b"", (b"\r\n", b"A preamble\r\n")) + parts + b"--%s--\r\n" % boundary
    body = mostly(random, body, (body[: random.randrange(len(body))], flipped(random, body)))
    named = mostly(random, boundary, (b'"%s"' % boundary, b"other", b""))
    charset = mostly(random, b"", CHARSETS)
    return with_body(
        random, method, template, body, b"multipart/form-data; boundary=" + named + charset
    )


def tensors(random: Random) -> dict[str, Any]:
    """Return a valid request of the Open Inference Protocol, as JSON."""
    pixels = {"name": "images", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    files = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [TEXT]}
    outputs = [{"name": name} for name in ("labels", "probabilities", "conv2")]
    value: dict[str, Any] = {"inputs": [random.choice((pixels, files))], "id": "1"}
    if random.random() < 0.5:
        binary = {"parameters": {"binary_data": True}}
        value["outputs"] = [one | (binary if random.random() < 0.5 else {}) for one in outputs]
    return value


def tensor_request(random: Random) -> Request:
    """Return an inference request whose tensors follow its JSON, with something odd in it."""
    value = tensors(random)
    (tensor,) = value["inputs"]
    file = len(IMAGE).to_bytes(4, "little") + IMAGE
    raw = b"\0" * 3072 if tensor["datatype"] == "UINT8" else file
    raw = mostly(random, raw, (file, b"\xff" * 8, b"", b"\0" * 4, raw[:-1], raw + raw))
    del tensor["data"]
    sizes = (len(raw) + 1, 0, -1, 2**70, "4", None, 1.0, True)
    tensor["parameters"] = {"binary_data_size": mostly(random, len(raw), sizes)}
    value = mostly(random, value, (changed(random, value),))
    head = json.dumps(value).encode()
    lengths = (len(head) - 1, len(head) + len(raw), 0, -1, 10**30, "x", "\u0661")
    length = str(mostly(random, len(head), lengths)).encode()
    body = mostly(random, head + raw, (flipped(random, head + raw),))
    media_type = random.choice((b"application/octet-stream", JSON))
    header = (b"Inference-Header-Content-Length", length)
    return with_body(random, *INFER, body, media_type, header)


def with_body(
    random: Random,
    method: str,
    template: str,
    body: bytes,
    media_type: bytes,
    *headers: tuple[bytes, bytes],
) -> Request:
    """Return a request with a body."""
    target = random_target(random, method, template) if random.random() < 0.3 else template.encode()
    return Request(
        method,
        target.replace(b"{}", b"fuzz-%d" % random.randrange(3)),
        body,
        ((b"Content-Type", media_type), random.choice(KEYS), *headers),
        route=template,
    )


def flipped(random: Random, data: bytes) -> bytes:
    """Change up to eight random bytes."""
    copy = bytearray(data)
    for _ in range(random.randint(1, 8) if data else 0):
        copy[random.randrange(len(copy))] = random.randrange(256)
    return bytes(copy)
