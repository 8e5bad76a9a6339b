"""The requests of both clients, and the parsing of their responses.

Knows paths, parameters and types, but neither connections nor repetitions.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import TypeAdapter

from service.client.models import ExperimentList, ExperimentRecords, Model
from service.schemas.base import ReloadResponse, Schema
from service.schemas.errors import ItemError, Problem, Results
from service.schemas.images import ClassifyResponse, EmbedResponse, PredictResponse

Picture = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
"""An image: path, bytes of a file, Pillow image, or pixels uint8 [H, W] or [H, W, 3 or 4]."""
Fit = Literal["crop", "pad", "stretch"]
"""How an image becomes square: by its middle, with bars, or distorted."""
Vector = npt.NDArray[np.float32]
"""One embedding, float32 [dimension]."""
Query = Mapping[str, str | int | float | bool | Sequence[str]]

NPY = "application/x-npy"
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")

A = TypeVar("A")
W = TypeVar("W", bound=Schema)


@dataclass(frozen=True)
class Call(Generic[A]):
    """One request, and the function that parses its response."""

    method: str
    path: str
    read: Callable[[httpx.Response], A]
    query: Query = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None

    def arguments(self) -> dict[str, Any]:  # Any: httpx takes them by name
        """Return the arguments of `httpx.Client.request`."""
        query = {
            name: _query_value(value) if isinstance(value, str | float | int) else list(value)
            for name, value in self.query.items()
        }
        return {
            "method": self.method,
            "url": self.path,
            "params": query,
            "headers": dict(self.headers),
            "content": self.content,
            "files": self.files,
        }


def _query_value(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def predict(
    picture: Picture, limit: int, layers: Sequence[str], explain: bool, fit: Fit
) -> Call[PredictResponse]:
    """Build the request for the classes of one image and the images similar to it."""
    query: Query = {"limit": limit, "layers": ",".join(layers), "explain": explain, "fit": fit}
    return _post("/predict", picture, parse_response(PredictResponse), query)


def predict_many(
    pictures: Sequence[Picture], limit: int, layers: Sequence[str], explain: bool, fit: Fit
) -> Call[list[PredictResponse | Problem]]:
    """Build the request for the classes and similar images of several images."""
    query: Query = {"limit": limit, "layers": ",".join(layers), "explain": explain, "fit": fit}
    return post_many("/predict", pictures, parse_results(PredictResponse), query)


def classify(picture: Picture, top_k: int, fit: Fit) -> Call[ClassifyResponse]:
    """Build the request for the classes of one image."""
    return _post(
        "/classify", picture, parse_response(ClassifyResponse), {"top_k": top_k, "fit": fit}
    )


def classify_many(
    pictures: Sequence[Picture], top_k: int, fit: Fit
) -> Call[list[ClassifyResponse | Problem]]:
    """Build the request for the classes of several images."""
    query: Query = {"top_k": top_k, "fit": fit}
    return post_many("/classify", pictures, parse_results(ClassifyResponse), query)


def embed(picture: Picture, layer: str, fit: Fit) -> Call[Vector]:
    """Build the request for the embedding of one image."""
    return _post("/embed", picture, _vector, {"layer": layer, "fit": fit}, {"Accept": NPY})


def embed_many(pictures: Sequence[Picture], layer: str, fit: Fit) -> Call[list[Vector | Problem]]:
    """Build the request for several embeddings, as JSON: a NumPy file cannot hold problems."""
    return post_many("/embed", pictures, _vectors, {"layer": layer, "fit": fit})


def model() -> Call[Model]:
    """Build the request for the model card."""
    return Call("GET", "/model", parse_response(Model))


def reload() -> Call[ReloadResponse]:
    """Build the request that reloads the bundle."""
    return Call("POST", "/admin/reload", parse_response(ReloadResponse))


def experiments() -> Call[ExperimentList]:
    """Build the request for all experiments."""
    return Call("GET", "/experiments", parse_response(ExperimentList))


def experiment(name: str) -> Call[ExperimentRecords]:
    """Build the request for one experiment with its records."""
    return Call("GET", f"/experiments/{quote(name, safe='')}", parse_response(ExperimentRecords))


def _post(
    path: str,
    picture: Picture,
    read: Callable[[httpx.Response], A],
    query: Query,
    headers: Mapping[str, str] | None = None,
) -> Call[A]:
    headers = {"Content-Type": "application/octet-stream", **(headers or {})}
    return Call("POST", path, read, query, headers, content=encode(picture))


def post_many(
    path: str,
    pictures: Sequence[Picture],
    read: Callable[[httpx.Response], A],
    query: Query,
) -> Call[A]:
    """Build a request with several images, or with one, whose response is a list.

    Raises:
        ValueError: there are no images.

    """
    if not pictures:
        raise ValueError("no images: give at least one")
    encoded = [encode(picture) for picture in pictures]
    if len(encoded) == 1:  # the response to a form with one file is no list
        body = json.dumps({"images": [base64.b64encode(encoded[0]).decode()]}).encode()
        headers = {"Content-Type": "application/json"}
        return Call("POST", path, read, query, headers, content=body)
    files = [("file", (str(number), file)) for number, file in enumerate(encoded)]
    return Call("POST", path, read, query, files=files)


def parse_response(kind: type[W]) -> Callable[[httpx.Response], W]:
    """Return a parser of responses of one type."""
    return lambda response: kind.model_validate_json(response.content)


def parse_results(kind: type[W]) -> Callable[[httpx.Response], list[W | Problem]]:
    """Return a parser of one response or problem an image."""

    def read(response: httpx.Response) -> list[W | Problem]:
        answers = TypeAdapter(Results[kind]).validate_json(response.content)  # type: ignore[valid-type]
        return [one.error if isinstance(one, ItemError) else one for one in answers.results]

    return read


def _vector(response: httpx.Response) -> Vector:
    vector: Vector = np.load(io.BytesIO(response.content), allow_pickle=False)
    return vector


def _vectors(response: httpx.Response) -> list[Vector | Problem]:
    return [
        one if isinstance(one, Problem) else np.array(one.vector, np.float32)
        for one in parse_results(EmbedResponse)(response)
    ]


def parse_image(response: httpx.Response) -> Image.Image:
    """Decode an image."""
    image = Image.open(io.BytesIO(response.content))
    image.load()
    return image


def encode(picture: Picture) -> bytes:
    """Return an image as the bytes of a file. A file is returned unchanged, the rest as PNG.

    Raises:
        TypeError: pixels are not uint8.
        OSError: the file cannot be read.

    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | Path):
        return Path(picture).read_bytes()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, not {picture.dtype}: convert them to 0 to 255")
        picture = Image.fromarray(picture)
    picture = ImageOps.exif_transpose(picture)  # the PNG has no orientation
    if picture.mode not in PNG_MODES:
        picture = picture.convert("RGB")
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
