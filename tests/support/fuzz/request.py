"""Requests with random queries, on all routes of the service but those that reload it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final
from urllib.parse import quote

from tests.support.fakes import image_file

DUPLICATES: Final = "/gallery/duplicates"
ROUTES: Final = (
    ("POST", "/predict"),
    ("POST", "/classify"),
    ("POST", "/similar"),
    ("POST", "/embed"),
    ("POST", "/gallery"),
    ("GET", "/gallery"),
    ("POST", DUPLICATES),
    ("GET", "/gallery/{}"),
    ("PUT", "/gallery/{}"),
    ("PATCH", "/gallery/{}"),
    ("DELETE", "/gallery/{}"),
    ("GET", "/gallery/{}/image"),
    ("GET", "/gallery/{}/similar"),
    ("GET", "/experiments"),
    ("GET", "/experiments/{}"),
    ("GET", "/experiments/{}/curves.svg"),
    ("GET", "/experiments/curves/{}.svg"),
    ("GET", "/model"),
    ("GET", "/readyz"),
    ("GET", "/v2/models/kindred/versions/{}"),
    ("POST", "/v2/models/kindred/infer"),
    ("GET", "/web/{}"),
    ("GET", "/docs/{}"),
)
IDS: Final = ("fuzz-1", "fuzz-2", "fuzz-3", "cifar10-train-09858", "best-3", "loss", "main.js")
NAMES: Final = (
    *(
        "layer",
        "layer",
        "limit",
        "layers",
        "top_k",
        "fit",
        "explain",
        "exact",
        "offset",
        "cursor",
        "id",
    ),
    *("score_threshold", "threshold", "diversity", "positive", "negative", "exclude_self"),
    *("label", "predicted", "source", "regularizer", "blocks", "size", "attribute.a", "attribute."),
)
VALUES: Final = (
    *("0", "1", "2", "10", "100", "1000", "-1", "1e309", "nan", "inf", "-inf", "0x10", "1_0", "٣"),
    *("9" * 30, "0.5", "-0.0", "true", "yes", "null", "", " ", ",", "conv2", "logits", "input"),
    *("conv2,logits", "conv2,conv2", ",conv2,", "cat", "CAT", "bundle", "added", "crop", "pad"),
    *("batchnorm", "fuzz-1", "cifar10-train-09858", "../..", "%", "\0", "\n", "é", "😀", "\ufeff"),
    *("'", '"', "<b>", "{}", "[]", "a" * 300, "x" * 5000, "[/b]", "\u202e", "=", "&", ";", "+"),
)
LIKELY: Final = {
    "layer": ("conv2", "logits", "conv2,logits"),
    "layers": ("conv2", "conv2,logits", "conv2,conv2"),
    "positive": ("fuzz-1", "cifar10-train-09858"),
    "negative": ("fuzz-1", "cifar10-train-09858"),
    "cursor": ("cifar10-train-09858", "fuzz-1"),
    "label": ("cat", "dog"),
    "predicted": ("cat", "dog"),
}
"""Values that are right, or almost."""
IMAGE: Final = image_file()
KEYS: Final = tuple((b"Idempotency-Key", b"key-%d" % number) for number in range(5))
"""Headers of additions; they are few, so that few images are stored."""


@dataclass(frozen=True)
class Request:
    """A request, and the template of its route; without one, `head` is sent as it is."""

    method: str
    target: bytes
    body: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()
    route: str = ""
    head: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        """Return the bytes to send."""
        if self.head is not None:
            return self.head + self.body
        lines = [self.method.encode() + b" " + self.target + b" HTTP/1.1", b"Host: localhost"]
        lines += [name + b": " + value for name, value in self.headers]
        lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def random_query(random: Random) -> str:
    """Return a query of up to six parameters, some repeated, some not even pairs."""
    names = random.choices(NAMES, k=random.choice((0, 1, 1, 2, 3, 6)))
    pairs = [f"{_quoted(random, name)}={_quoted(random, _value(random, name))}" for name in names]
    if random.random() < 0.1:
        pairs.append(random.choice(("=", "&&", "limit", "%zz=%f", "limit=%ff%fe", "layer")))
    return "&".join(pairs)


def random_target(random: Random, template: str) -> bytes:
    """Return a path of the template with a random query."""
    path = template.replace("{}", quote(_id(random), safe=random.choice(("", "/.~"))))
    query = random_query(random)
    if template == DUPLICATES:
        query += "&limit=3"  # the last counts: more would take seconds
    return (f"{path}?{query}" if query or random.random() < 0.05 else path).encode()


def query_request(random: Random) -> Request:
    """Return a request with a random query; its body is an image, or empty."""
    method, template = random.choice(ROUTES)
    body = IMAGE if method in ("POST", "PUT") and random.random() < 0.9 else b""
    if random.random() < 0.05:
        method = random.choice(("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "POST", "TRACE"))
    return Request(method, random_target(random, template), body, KEYS[:1], route=template)


def _id(random: Random) -> str:
    return random.choice(IDS if random.random() < 0.8 else VALUES) or "-"


def _value(random: Random, name: str) -> str:
    if random.random() < 0.1:
        return ",".join(random.choices(VALUES, k=random.randint(2, 5)))
    return random.choice(LIKELY.get(name, VALUES) if random.random() < 0.7 else VALUES)


def _quoted(random: Random, text: str) -> str:
    return quote(text, safe=random.choice(("", ",:@/")))
