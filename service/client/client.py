"""The synchronous and the asynchronous client: connections, repetitions, and a method a request.

Knows nothing of files or terminals.
"""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

import httpx

from service.client import endpoints
from service.client.endpoints import Call, Fit, Picture, Vector
from service.client.gallery import AsyncGallery, Gallery
from service.client.models import ExperimentRecords, ExperimentSummary, Model
from service.client.retries import ProblemError, RetryPolicy, UnreachableError
from service.schemas.base import ReloadResponse
from service.schemas.errors import Problem
from service.schemas.images import ClassifyResponse, PredictResponse

URL = "http://127.0.0.1:8000"

A = TypeVar("A")


class Options(TypedDict, total=False):
    """The options of both clients besides the URL.

    `key` is an API key, `timeout` the seconds until a response. `retries` is how often one request
    is repeated, `longest_wait` the seconds of the longest wait before a repetition.
    """

    key: str | None
    timeout: float
    retries: int
    longest_wait: float


class _Base:
    """The options of both clients, and their defaults."""

    def __init__(
        self,
        url: str = URL,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        longest_wait: float = 30.0,
    ) -> None:
        self.url = url
        self._retries = retries
        self._longest_wait = longest_wait
        self._arguments: dict[str, Any] = {
            "base_url": url,
            "timeout": timeout,
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
        }

    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(self._retries, self._longest_wait)


class Kindred(Gallery, _Base):
    """A connection to the service. Close it, or use it in a `with` statement.

    `key` is an API key, if the service needs one. After 429, 503 or a failed connection, a request
    is repeated up to `retries` times, each after the seconds of `Retry-After`. If these are more
    than `longest_wait`, it is not repeated. `transport` is httpx's, for tests.

    `fit` makes an image square: by its middle (`crop`), with bars (`pad`), or distorted
    (`stretch`).

    Raises (all methods):
        ProblemError: the service refuses the request; `problem` has the reason.
        UnreachableError: the service does not answer.

    """

    def __init__(
        self,
        url: str = URL,
        *,
        transport: httpx.BaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(url, **options)
        self._http = httpx.Client(transport=transport, **self._arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def predict(
        self,
        picture: Picture,
        *,
        limit: int = 10,
        layers: Sequence[str] = ("conv2", "logits"),
        explain: bool = False,
        fit: Fit = "crop",
    ) -> PredictResponse:
        """Return the class probabilities, and the similar images at each layer."""
        return self._do(endpoints.predict(picture, limit, layers, explain, fit))

    def predict_many(
        self,
        pictures: Sequence[Picture],
        *,
        limit: int = 10,
        layers: Sequence[str] = ("conv2", "logits"),
        explain: bool = False,
        fit: Fit = "crop",
    ) -> list[PredictResponse | Problem]:
        """Run `predict` for several images. Results or problems are in the given order."""
        return self._do(endpoints.predict_many(pictures, limit, layers, explain, fit))

    def classify(self, picture: Picture, *, top_k: int = 3, fit: Fit = "crop") -> ClassifyResponse:
        """Return the `top_k` most probable classes."""
        return self._do(endpoints.classify(picture, top_k, fit))

    def classify_many(
        self, pictures: Sequence[Picture], *, top_k: int = 3, fit: Fit = "crop"
    ) -> list[ClassifyResponse | Problem]:
        """Run `classify` for several images. Results or problems are in the given order."""
        return self._do(endpoints.classify_many(pictures, top_k, fit))

    def embed(self, picture: Picture, *, layer: str = "conv2", fit: Fit = "crop") -> Vector:
        """Return the embedding of an image at one layer, float32 [dimension]."""
        return self._do(endpoints.embed(picture, layer, fit))

    def embed_many(
        self, pictures: Sequence[Picture], *, layer: str = "conv2", fit: Fit = "crop"
    ) -> list[Vector | Problem]:
        """Run `embed` for several images. Results or problems are in the given order."""
        return self._do(endpoints.embed_many(pictures, layer, fit))

    def model(self) -> Model:
        """Return the network with its classes, its quality and its limitations."""
        return self._do(endpoints.model())

    def experiments(self) -> tuple[ExperimentSummary, ...]:
        """Return accuracy and training time of every experiment."""
        return self._do(endpoints.experiments()).experiments

    def experiment(self, name: str) -> ExperimentRecords:
        """Return one experiment with the records of its runs."""
        return self._do(endpoints.experiment(name))

    def reload(self) -> ReloadResponse:
        """Reload the bundle from its folder. Needs an admin key."""
        return self._do(endpoints.reload())

    def _do(self, call: Call[A]) -> A:
        retry_policy = self._retry_policy()
        while True:
            error: ProblemError | UnreachableError
            try:
                response = self._http.request(**call.arguments())
            except httpx.TransportError as cause:
                error = UnreachableError(self.url, cause)
            else:
                if response.is_success:
                    return call.read(response)
                error = ProblemError(response)
            time.sleep(retry_policy.wait(error))


class AsyncKindred(AsyncGallery, _Base):
    """`Kindred` with `await`, and the same methods."""

    def __init__(
        self,
        url: str = URL,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(url, **options)
        self._http = httpx.AsyncClient(transport=transport, **self._arguments)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def predict(
        self,
        picture: Picture,
        *,
        limit: int = 10,
        layers: Sequence[str] = ("conv2", "logits"),
        explain: bool = False,
        fit: Fit = "crop",
    ) -> PredictResponse:
        """Return the class probabilities, and the similar images at each layer."""
        return await self._do(endpoints.predict(picture, limit, layers, explain, fit))

    async def predict_many(
        self,
        pictures: Sequence[Picture],
        *,
        limit: int = 10,
        layers: Sequence[str] = ("conv2", "logits"),
        explain: bool = False,
        fit: Fit = "crop",
    ) -> list[PredictResponse | Problem]:
        """Run `predict` for several images. Results or problems are in the given order."""
        return await self._do(endpoints.predict_many(pictures, limit, layers, explain, fit))

    async def classify(
        self, picture: Picture, *, top_k: int = 3, fit: Fit = "crop"
    ) -> ClassifyResponse:
        """Return the `top_k` most probable classes."""
        return await self._do(endpoints.classify(picture, top_k, fit))

    async def classify_many(
        self, pictures: Sequence[Picture], *, top_k: int = 3, fit: Fit = "crop"
    ) -> list[ClassifyResponse | Problem]:
        """Run `classify` for several images. Results or problems are in the given order."""
        return await self._do(endpoints.classify_many(pictures, top_k, fit))

    async def embed(self, picture: Picture, *, layer: str = "conv2", fit: Fit = "crop") -> Vector:
        """Return the embedding of an image at one layer, float32 [dimension]."""
        return await self._do(endpoints.embed(picture, layer, fit))

    async def embed_many(
        self, pictures: Sequence[Picture], *, layer: str = "conv2", fit: Fit = "crop"
    ) -> list[Vector | Problem]:
        """Run `embed` for several images. Results or problems are in the given order."""
        return await self._do(endpoints.embed_many(pictures, layer, fit))

    async def model(self) -> Model:
        """Return the network with its classes, its quality and its limitations."""
        return await self._do(endpoints.model())

    async def experiments(self) -> tuple[ExperimentSummary, ...]:
        """Return accuracy and training time of every experiment."""
        return (await self._do(endpoints.experiments())).experiments

    async def experiment(self, name: str) -> ExperimentRecords:
        """Return one experiment with the records of its runs."""
        return await self._do(endpoints.experiment(name))

    async def reload(self) -> ReloadResponse:
        """Reload the bundle from its folder. Needs an admin key."""
        return await self._do(endpoints.reload())

    async def _do(self, call: Call[A]) -> A:
        retry_policy = self._retry_policy()
        while True:
            error: ProblemError | UnreachableError
            try:
                response = await self._http.request(**call.arguments())
            except httpx.TransportError as cause:
                error = UnreachableError(self.url, cause)
            else:
                if response.is_success:
                    return call.read(response)
                error = ProblemError(response)
            await asyncio.sleep(retry_policy.wait(error))
