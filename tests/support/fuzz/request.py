"""Requests with random queries, on all routes of the service but those that reload it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final
from urllib.parse import quote

from tests.support.fakes import image_file

DUPLICATES: Final = "/gallery/duplicates"
_FILTER = "label predicted source attribute.a"
_SEARCH = f"layer exclude_self limit offset score_threshold diversity exact explain {_FILTER}"
ROUTES: Final = {
    ("POST", "/predict"): "limit layers explain fit",
    ("POST", "/classify"): "top_k fit",
    ("POST", "/similar"): f"positive negative fit {_SEARCH}",
    ("POST", "/embed"): "layer fit",
    ("POST", "/gallery"): "fit label id attribute.a",
    ("GET", "/gallery"): f"limit cursor {_FILTER}",
    ("POST", DUPLICATES): f"layer threshold cursor {_FILTER}",
    ("GET", "/gallery/{}"): "",
    ("PUT", "/gallery/{}"): "fit label id attribute.a",
    ("PATCH", "/gallery/{}"): "",
    ("DELETE", "/gallery/{}"): "",
    ("GET", "/gallery/{}/image"): "size",
    ("GET", "/gallery/{}/similar"): _SEARCH,
    ("GET", "/experiments"): "regularizer blocks",
    ("GET", "/experiments/{}"): "",
    ("GET", "/experiments/{}/curves.svg"): "",
    ("GET", "/experiments/curves/{}.svg"): "",
    ("GET", "/model"): "",
    ("GET", "/readyz"): "",
    ("GET", "/v2/models/kindred/versions/{}"): "",
    ("POST", "/v2/models/kindred/infer"): "",
    ("GET", "/web/{}"): "",
    ("GET", "/docs/{}"): "",
}
"""The routes, and the parameters of each."""
IDS: Final = ("fuzz-1", "fuzz-2", "fuzz-3", "cifar10-train-09858", "best-3", "loss", "main.js")
NAMES: Final = ("limit", "layer", "top_k", "attribute.", "Limit", "", "a", "[]", "a" * 300, "\0")
"""Parameters that most routes do not take."""
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


def random_query(random: Random, names: str) -> str:
    """Return a query of up to six of these parameters, some repeated, some not even pairs."""
    known = names.split() or NAMES
    pairs = [
        f"{_quoted(random, name)}={_quoted(random, _value(random, name))}"
        for name in random.choices(known, k=random.choice((0, 1, 1, 2, 3, 6)) if names else 0)
    ]
    if random.random() < 0.1:
        pairs.append(f"{_quoted(random, random.choice(NAMES))}=1")
    if random.random() < 0.05:
        pairs.append(random.choice(("=", "&&", "limit", "%zz=%f", "limit=%ff%fe", "layer")))
    return "&".join(pairs)


def random_target(random: Random, method: str, template: str) -> bytes:
    """Return a path of the template with a random query."""
    path = template.replace("{}", quote(_id(random), safe=random.choice(("", "/.~"))))
    query = random_query(random, ROUTES[method, template])
    if template == DUPLICATES:
        query += "&limit=3"  # more would take seconds
    return (f"{path}?{query}" if query or random.random() < 0.05 else path).encode()


def query_request(random: Random) -> Request:
    """Return a request with a random query; its body is an image, or empty."""
    method, template = random.choice(list(ROUTES))
    target = random_target(random, method, template)
    body = IMAGE if method in ("POST", "PUT") and random.random() < 0.9 else b""
    if random.random() < 0.05:
        method = random.choice(("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "POST", "TRACE"))
    return Request(method, target, body, KEYS[:1], route=template)


def _id(random: Random) -> str:
    return random.choice(IDS if random.random() < 0.8 else VALUES) or "-"


def _value(random: Random, name: str) -> str:
    if random.random() < 0.1:
        return ",".join(random.choices(VALUES, k=random.randint(2, 5)))
    return random.choice(LIKELY.get(name, VALUES) if random.random() < 0.7 else VALUES)


def _quoted(random: Random, text: str) -> str:
    return quote(text, safe=random.choice(("", ",:@/")))
