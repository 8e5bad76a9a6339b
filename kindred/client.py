"""The synchronous and the asynchronous client: connections, retries and pages.

Their other methods are in the endpoints. Knows nothing of files or terminals.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self, TypedDict, TypeVar, Unpack

import httpx

from kindred.endpoints import AsyncSender, Call, Sender
from kindred.gallery_endpoints import (
    PAGE,
    Filters,
    GalleryEndpoints,
    Page,
    duplicates_page,
    gallery_page,
)
from kindred.retries import ProblemError, RetryPolicy, UnreachableError, is_loopback
from service.schemas.gallery import GalleryItem, Pair

URL = "http://127.0.0.1:8000"

A = TypeVar("A")
H = TypeVar("H", httpx.Client, httpx.AsyncClient)


class Options(TypedDict, total=False):
    """The options of both clients besides the URL.

    `key` is an API key, `timeout` the seconds until a response. `retries` is the maximum number of
    retries of one request, `longest_wait` the maximum seconds before a retry.
    """

    key: str | None
    timeout: float
    retries: int
    longest_wait: float


class _Base(GalleryEndpoints):
    """The endpoints and options that both clients share."""

    def __init__(
        self,
        url: str = URL,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        longest_wait: float = 30.0,
    ) -> None:
        if key is not None and not re.fullmatch("[!-~]+", key):
            raise ValueError(
                "the API key has a space, a line end or another character that no header can carry"
            )
        self.url = url
        self._retries = retries
        self._longest_wait = longest_wait
        self._arguments: dict[str, Any] = {
            "base_url": url,
            "timeout": timeout,
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            # Proxies of the environment are for other machines.
            "trust_env": not is_loopback(url),
        }

    def _connect(self, kind: Callable[..., H], transport: object) -> H:
        """Open the connections of httpx.

        Raises:
            UnreachableError: the URL or the proxy is unusable.

        """
        try:
            return kind(transport=transport, **self._arguments)
        except ImportError as error:  # httpx names the package and how to install it
            raise UnreachableError(self.url, str(error)) from error
        except (httpx.InvalidURL, ValueError) as error:
            raise UnreachableError(self.url, str(error)) from error

    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(self.url, self._retries, self._longest_wait)


class Client(_Base, Sender):
    """A connection to the service. Close it, or use it in a `with` statement.

    `key` is an API key, if the service needs one. After 429, 503 or a failed connection, a request
    is retried up to `retries` times, each after the seconds of `Retry-After`. If these are more
    than `longest_wait`, it is not retried. `transport` is httpx's, for tests.

    `fit` makes an image square: by its centre (`crop`), with bars (`pad`), or distorted
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
        self._http = self._connect(httpx.Client, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def gallery(self, *, page: int = PAGE, **filters: Unpack[Filters]) -> Iterator[GalleryItem]:
        """Yield the images of the gallery that match the filters, in the order of their ids."""
        return self._pages(lambda cursor: gallery_page(filters, cursor, page))

    def duplicates(
        self, *, layer: str | None = None, threshold: float = 0.98, **filters: Unpack[Filters]
    ) -> Iterator[Pair]:
        """Yield all pairs of images whose cosine is at least the threshold."""
        return self._pages(lambda cursor: duplicates_page(layer, threshold, filters, cursor))

    def _pages(self, request: Callable[[str], Call[Page[A]]]) -> Iterator[A]:
        cursor: str | None = ""
        while cursor is not None:
            found, cursor = self._send(request(cursor))
            yield from found

    def _send(self, call: Call[A]) -> A:
        retry_policy = self._retry_policy()
        while True:
            try:
                return call.parse(self._http.request(**call.arguments()))
            except (httpx.TransportError, ProblemError) as error:
                time.sleep(retry_policy.wait(error))


class AsyncClient(_Base, AsyncSender):
    """`Client` with `await`, and the same methods."""

    def __init__(
        self,
        url: str = URL,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(url, **options)
        self._http = self._connect(httpx.AsyncClient, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    def gallery(
        self, *, page: int = PAGE, **filters: Unpack[Filters]
    ) -> AsyncIterator[GalleryItem]:
        """Yield the images of the gallery that match the filters, in the order of their ids."""
        return self._pages(lambda cursor: gallery_page(filters, cursor, page))

    def duplicates(
        self, *, layer: str | None = None, threshold: float = 0.98, **filters: Unpack[Filters]
    ) -> AsyncIterator[Pair]:
        """Yield all pairs of images whose cosine is at least the threshold."""
        return self._pages(lambda cursor: duplicates_page(layer, threshold, filters, cursor))

    async def _pages(self, request: Callable[[str], Call[Page[A]]]) -> AsyncIterator[A]:
        cursor: str | None = ""
        while cursor is not None:
            found, cursor = await self._send(request(cursor))
            for one in found:
                yield one

    async def _send(self, call: Call[A]) -> A:
        retry_policy = self._retry_policy()
        while True:
            try:
                return call.parse(await self._http.request(**call.arguments()))
            except (httpx.TransportError, ProblemError) as error:
                await asyncio.sleep(retry_policy.wait(error))
