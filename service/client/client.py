"""A client of the service, for programs; for people there is `python -m service.client cat.png`.

    from service.client import Kindred

    with Kindred("http://localhost:8000") as kindred:
        answer = kindred.predict("cat.png")
        print(answer.predictions[0].label, [kin.id for kin in answer.similar["conv2"]])

`AsyncKindred` is the same with `await`. Needs httpx, Pillow and NumPy; neither torch nor FAISS.
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
from service.client.gallery_endpoints import New
from service.client.models import ExperimentRecords, ExperimentSummary, Model
from service.client.retries import ProblemError, RetryPolicy, UnreachableError
from service.schemas.base import ReloadResponse
from service.schemas.errors import Problem
from service.schemas.images import ClassifyResponse, PredictResponse

__all__ = [
    "AsyncKindred",
    "ExperimentRecords",
    "ExperimentSummary",
    "Fit",
    "Kindred",
    "Model",
    "New",
    "Picture",
    "Problem",
    "ProblemError",
    "UnreachableError",
]

URL = "http://127.0.0.1:8000"

A = TypeVar("A")


class Options(TypedDict, total=False):
    """What both clients may be given by name, besides the URL.

    `key` is an API key, where the service asks for one; `timeout` the seconds that an answer may
    take, and `retries` and `longest_wait` are how often and how long one call waits.
    """

    key: str | None
    timeout: float
    retries: int
    longest_wait: float


class _Settings:
    """What both clients are given."""

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


class Kindred(Gallery, _Settings):
    """A connection to the service; close it, or use it in a `with` statement.

    `key` is an API key, where the service asks for one. Answers 429 and 503, and failed
    connections, are tried again up to `retries` times, after as long as `Retry-After` says; a wait
    of more than `longest_wait` seconds is not worth it. `transport` is httpx's, for tests.

    `fit` is how a picture that is not square becomes one: by its middle (`crop`), with bars
    (`pad`), or out of shape (`stretch`).

    All calls raise:
        ProblemError: the service says why there is no answer.
        UnreachableError: nothing answers.

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
        """Class probabilities, and the similar images at each layer."""
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
        """The same for several pictures, each with its own answer or problem, in their order."""
        return self._do(endpoints.predict_many(pictures, limit, layers, explain, fit))

    def classify(self, picture: Picture, *, top_k: int = 3, fit: Fit = "crop") -> ClassifyResponse:
        """The most probable classes."""
        return self._do(endpoints.classify(picture, top_k, fit))

    def classify_many(
        self, pictures: Sequence[Picture], *, top_k: int = 3, fit: Fit = "crop"
    ) -> list[ClassifyResponse | Problem]:
        """The same for several pictures, each with its own answer or problem, in their order."""
        return self._do(endpoints.classify_many(pictures, top_k, fit))

    def embed(self, picture: Picture, *, layer: str = "conv2", fit: Fit = "crop") -> Vector:
        """The picture as the network represents it at one layer, float32 [dimension]."""
        return self._do(endpoints.embed(picture, layer, fit))

    def embed_many(
        self, pictures: Sequence[Picture], *, layer: str = "conv2", fit: Fit = "crop"
    ) -> list[Vector | Problem]:
        """The same for several pictures, each with its own answer or problem, in their order."""
        return self._do(endpoints.embed_many(pictures, layer, fit))

    def model(self) -> Model:
        """The network, how good it is, and what it is not for."""
        return self._do(endpoints.model())

    def experiments(self) -> tuple[ExperimentSummary, ...]:
        """Stored accuracy and training time of every experiment."""
        return self._do(endpoints.experiments()).experiments

    def experiment(self, name: str) -> ExperimentRecords:
        """One experiment with the record of each of its runs."""
        return self._do(endpoints.experiment(name))

    def reload(self) -> ReloadResponse:
        """Have the service serve the bundle that stands at its place now; needs an admin key."""
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


class AsyncKindred(AsyncGallery, _Settings):
    """`Kindred` with `await`; its calls are the same."""

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
        """Class probabilities, and the similar images at each layer."""
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
        """The same for several pictures, each with its own answer or problem, in their order."""
        return await self._do(endpoints.predict_many(pictures, limit, layers, explain, fit))

    async def classify(
        self, picture: Picture, *, top_k: int = 3, fit: Fit = "crop"
    ) -> ClassifyResponse:
        """The most probable classes."""
        return await self._do(endpoints.classify(picture, top_k, fit))

    async def classify_many(
        self, pictures: Sequence[Picture], *, top_k: int = 3, fit: Fit = "crop"
    ) -> list[ClassifyResponse | Problem]:
        """The same for several pictures, each with its own answer or problem, in their order."""
        return await self._do(endpoints.classify_many(pictures, top_k, fit))

    async def embed(self, picture: Picture, *, layer: str = "conv2", fit: Fit = "crop") -> Vector:
        """The picture as the network represents it at one layer, float32 [dimension]."""
        return await self._do(endpoints.embed(picture, layer, fit))

    async def embed_many(
        self, pictures: Sequence[Picture], *, layer: str = "conv2", fit: Fit = "crop"
    ) -> list[Vector | Problem]:
        """The same for several pictures, each with its own answer or problem, in their order."""
        return await self._do(endpoints.embed_many(pictures, layer, fit))

    async def model(self) -> Model:
        """The network, how good it is, and what it is not for."""
        return await self._do(endpoints.model())

    async def experiments(self) -> tuple[ExperimentSummary, ...]:
        """Stored accuracy and training time of every experiment."""
        return (await self._do(endpoints.experiments())).experiments

    async def experiment(self, name: str) -> ExperimentRecords:
        """One experiment with the record of each of its runs."""
        return await self._do(endpoints.experiment(name))

    async def reload(self) -> ReloadResponse:
        """Have the service serve the bundle that stands at its place now; needs an admin key."""
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
