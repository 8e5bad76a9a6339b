"""The requests of both clients, and the parsing of their responses.

Knows paths, parameters and types, but neither connections nor retries.
"""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload
from urllib.parse import quote

import httpx
from PIL import Image
from pydantic import TypeAdapter

from kindred.models import ExperimentList, ExperimentRecords, ExperimentSummary, Model
from kindred.pictures import Picture, decode, encode
from kindred.retries import ProblemError
from kindred.vectors import Vector, read_npy, vector_of
from service.schemas.base import ReloadResponse, Schema
from service.schemas.errors import ItemError, Problem, Results
from service.schemas.images import ClassifyResponse, EmbedResponse, PredictResponse

Fit = Literal["crop", "pad", "stretch"]
"""How an image becomes square: by its centre, with bars, or distorted."""
Query = Mapping[str, str | int | float | bool | Sequence[str] | None]

NPY = "application/x-npy"
OCTETS = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")
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

    def arguments(self) -> dict[str, Any]:  # Any: keyword arguments of httpx
        """Return the arguments of `httpx.Client.request`."""
        return {
            "method": self.method,
            "url": self.path,
            "params": {name: value for name, value in self.query.items() if value is not None},
            "headers": self.headers,
            "content": self.content,
            "files": self.files,
        }

    def parse(self, response: httpx.Response) -> A:
        """Return the parsed response.

        Raises:
            ProblemError: the service refused the request.

        """
        if not response.is_success:
            raise ProblemError(response)
        return self.read(response)


class Sender(ABC):
    """Sends requests, and waits for their responses."""

    @abstractmethod
    def _send(self, call: Call[A]) -> A: ...


class AsyncSender(ABC):
    """`Sender` with `await`."""

    @abstractmethod
    async def _send(self, call: Call[A]) -> A: ...


class Method(Protocol[P, A_co]):
    """A method of both clients. It returns the parsed response, or a coroutine that does."""

    @overload
    def __get__(self, client: Sender, owner: object) -> Callable[P, A_co]: ...
    @overload
    def __get__(
        self, client: AsyncSender, owner: object
    ) -> Callable[P, Coroutine[Any, Any, A_co]]: ...


def endpoint(build: Callable[Concatenate[Any, P], Call[A]]) -> Method[P, A]:
    """Make a method that sends the request which `build` returns, with the same parameters."""

    @wraps(build)
    def method(client: Any, *args: P.args, **kwargs: P.kwargs) -> object:
        return client._send(build(client, *args, **kwargs))

    return cast(Method[P, A], method)


class Endpoints:
    """The methods of both clients that do not concern the gallery."""

    @endpoint
    def predict(
        self,
        picture: Picture,
        *,
        limit: int = 10,
        layers: Sequence[str] | None = None,
        explain: bool = False,
        fit: Fit = "crop",
    ) -> Call[PredictResponse]:
        """Return the class probabilities, and the similar images at each layer, by default all."""
        query = _predict_query(limit, layers, explain, fit)
        return _post("/predict", picture, parse_response(PredictResponse), query)

    @endpoint
    def predict_many(
        self,
        pictures: Sequence[Picture],
        *,
        limit: int = 10,
        layers: Sequence[str] | None = None,
        explain: bool = False,
        fit: Fit = "crop",
    ) -> Call[list[PredictResponse | Problem]]:
        """Run `predict` for several images. Results or problems are in the given order."""
        query = _predict_query(limit, layers, explain, fit)
        return post_many("/predict", pictures, parse_results(PredictResponse), query)

    @endpoint
    def classify(
        self, picture: Picture, *, top_k: int = 3, fit: Fit = "crop"
    ) -> Call[ClassifyResponse]:
        """Return the `top_k` most probable classes."""
        query = {"top_k": top_k, "fit": fit}
        return _post("/classify", picture, parse_response(ClassifyResponse), query)

    @endpoint
    def classify_many(
        self, pictures: Sequence[Picture], *, top_k: int = 3, fit: Fit = "crop"
    ) -> Call[list[ClassifyResponse | Problem]]:
        """Run `classify` for several images. Results or problems are in the given order."""
        query = {"top_k": top_k, "fit": fit}
        return post_many("/classify", pictures, parse_results(ClassifyResponse), query)

    @endpoint
    def embed(
        self, picture: Picture, *, layer: str | None = None, fit: Fit = "crop"
    ) -> Call[Vector]:
        """Return the embedding of an image at one layer, float32 [dimension].

        The default layer is the first that `model` lists as searched.
        """
        return _post("/embed", picture, _vector, {"layer": layer, "fit": fit}, {"Accept": NPY})

    @endpoint
    def embed_many(
        self, pictures: Sequence[Picture], *, layer: str | None = None, fit: Fit = "crop"
    ) -> Call[list[Vector | Problem]]:
        """Run `embed` for several images. Results or problems are in the given order."""
        # As JSON: a NumPy file cannot hold problems.
        return post_many("/embed", pictures, _vectors, {"layer": layer, "fit": fit})

    @endpoint
    def model(self) -> Call[Model]:
        """Return the network with its classes, its quality and its limitations."""
        return Call("GET", "/model", parse_response(Model))

    @endpoint
    def experiments(self) -> Call[tuple[ExperimentSummary, ...]]:
        """Return accuracy and training time of every experiment."""
        parse = parse_response(ExperimentList)
        return Call("GET", "/experiments", lambda response: parse(response).experiments)

    @endpoint
    def experiment(self, name: str) -> Call[ExperimentRecords]:
        """Return one experiment with the records of its runs."""
        path = f"/experiments/{quote(name, safe='')}"
        return Call("GET", path, parse_response(ExperimentRecords))

    @endpoint
    def reload(self) -> Call[ReloadResponse]:
        """Reload the bundle from its folder. Needs an admin key."""
        return Call("POST", "/admin/reload", parse_response(ReloadResponse))


def _predict_query(limit: int, layers: Sequence[str] | None, explain: bool, fit: Fit) -> Query:
    named = None if layers is None else ",".join(layers)
    return {"limit": limit, "layers": named, "explain": explain, "fit": fit}


def _post(
    path: str,
    picture: Picture,
    read: Callable[[httpx.Response], A],
    query: Query,
    headers: Mapping[str, str] = {},
) -> Call[A]:
    return Call("POST", path, read, query, {**OCTETS, **headers}, encode(picture))


def post_many(
    path: str, pictures: Sequence[Picture], read: Callable[[httpx.Response], A], query: Query
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
        return Call("POST", path, read, query, JSON, body)
    files = [("file", (str(number), file)) for number, file in enumerate(encoded)]
    return Call("POST", path, read, query, files=files)


def parse_response(kind: type[W]) -> Callable[[httpx.Response], W]:
    """Return a parser of responses of one type."""
    return lambda response: kind.model_validate_json(response.content)


def parse_results(kind: type[W]) -> Callable[[httpx.Response], list[W | Problem]]:
    """Return a parser of one response or problem per image."""

    def read(response: httpx.Response) -> list[W | Problem]:
        answers = TypeAdapter(Results[kind]).validate_json(response.content)  # type: ignore[valid-type]
        return [one.error if isinstance(one, ItemError) else one for one in answers.results]

    return read


def _vector(response: httpx.Response) -> Vector:
    return read_npy(response.content)


def _vectors(response: httpx.Response) -> list[Vector | Problem]:
    return [
        one if isinstance(one, Problem) else vector_of(one.vector)
        for one in parse_results(EmbedResponse)(response)
    ]


def parse_image(response: httpx.Response) -> Image.Image:
    """Decode an image."""
    return decode(response.content)
