"""What a client may ask: each request and how its answer is read, said once for both clients.

Knows paths, parameters and types; nothing of connections or of trying again.
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
"""A file's path, a file's bytes, a Pillow image, or pixels uint8 [H, W] or [H, W, 3 or 4]."""
Fit = Literal["crop", "pad", "stretch"]
"""How a picture that is not square becomes one."""
Vector = npt.NDArray[np.float32]
Query = Mapping[str, str | int | float | bool | Sequence[str]]

NPY = "application/x-npy"
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")

A = TypeVar("A")
W = TypeVar("W", bound=Schema)


@dataclass(frozen=True)
class Call(Generic[A]):
    """One request, and how its answer is read; the same for both clients."""

    method: str
    path: str
    read: Callable[[httpx.Response], A]
    query: Query = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None

    def arguments(self) -> dict[str, Any]:  # Any: httpx takes them by name
        """What `httpx.Client.request` takes."""
        query = {
            name: _text(value) if isinstance(value, str | float | int) else list(value)
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


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def predict(
    picture: Picture, limit: int, layers: Sequence[str], explain: bool, fit: Fit
) -> Call[PredictResponse]:
    """What one picture is, and what is like it."""
    query: Query = {"limit": limit, "layers": ",".join(layers), "explain": explain, "fit": fit}
    return _post("/predict", picture, answer_as(PredictResponse), query)


def predict_many(
    pictures: Sequence[Picture], limit: int, layers: Sequence[str], explain: bool, fit: Fit
) -> Call[list[PredictResponse | Problem]]:
    """The same of several."""
    query: Query = {"limit": limit, "layers": ",".join(layers), "explain": explain, "fit": fit}
    return post_many("/predict", pictures, answers_as(PredictResponse), query)


def classify(picture: Picture, top_k: int, fit: Fit) -> Call[ClassifyResponse]:
    """What one picture is."""
    return _post("/classify", picture, answer_as(ClassifyResponse), {"top_k": top_k, "fit": fit})


def classify_many(
    pictures: Sequence[Picture], top_k: int, fit: Fit
) -> Call[list[ClassifyResponse | Problem]]:
    """The same of several."""
    query: Query = {"top_k": top_k, "fit": fit}
    return post_many("/classify", pictures, answers_as(ClassifyResponse), query)


def embed(picture: Picture, layer: str, fit: Fit) -> Call[Vector]:
    """The vector of a picture."""
    return _post("/embed", picture, _vector, {"layer": layer, "fit": fit}, {"Accept": NPY})


def embed_many(pictures: Sequence[Picture], layer: str, fit: Fit) -> Call[list[Vector | Problem]]:
    """The vectors of several; as JSON, for in a NumPy file there is no place for a problem."""
    return post_many("/embed", pictures, _vectors, {"layer": layer, "fit": fit})


def model() -> Call[Model]:
    """The model card."""
    return Call("GET", "/model", answer_as(Model))


def reload() -> Call[ReloadResponse]:
    """Another bundle in the place of the one that is served."""
    return Call("POST", "/admin/reload", answer_as(ReloadResponse))


def experiments() -> Call[ExperimentList]:
    """All experiments."""
    return Call("GET", "/experiments", answer_as(ExperimentList))


def experiment(name: str) -> Call[ExperimentRecords]:
    """One experiment with its records."""
    return Call("GET", f"/experiments/{quote(name, safe='')}", answer_as(ExperimentRecords))


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
    """Several pictures, however few, that are answered by a list."""
    if not pictures:
        raise ValueError("no pictures: give at least one")
    encoded = [encode(picture) for picture in pictures]
    if len(encoded) == 1:  # a form with one file would be answered as one picture
        body = json.dumps({"images": [base64.b64encode(encoded[0]).decode()]}).encode()
        headers = {"Content-Type": "application/json"}
        return Call("POST", path, read, query, headers, content=body)
    files = [("file", (str(number), file)) for number, file in enumerate(encoded)]
    return Call("POST", path, read, query, files=files)


def answer_as(kind: type[W]) -> Callable[[httpx.Response], W]:
    """Read an answer of one kind."""
    return lambda response: kind.model_validate_json(response.content)


def answers_as(kind: type[W]) -> Callable[[httpx.Response], list[W | Problem]]:
    """One answer or problem for each picture."""

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
        for one in answers_as(EmbedResponse)(response)
    ]


def show(response: httpx.Response) -> Image.Image:
    """Read a picture."""
    image = Image.open(io.BytesIO(response.content))
    image.load()
    return image


def encode(picture: Picture) -> bytes:
    """A picture as the bytes of a file; what is a file already is sent as it is."""
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | Path):
        return Path(picture).read_bytes()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8:
            raise TypeError(f"pixels are uint8, these are {picture.dtype}: scale and convert them")
        picture = Image.fromarray(picture)
    picture = ImageOps.exif_transpose(picture)  # a PNG would not say which way is up
    if picture.mode not in PNG_MODES:
        picture = picture.convert("RGB")
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()
