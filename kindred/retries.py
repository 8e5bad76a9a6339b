"""The errors of the client, and the policy by which a request is retried.

Knows statuses and seconds, but not images.
"""

import email.utils
import ipaddress
import re
import time
from http import HTTPStatus
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from pydantic import ValidationError

from service.schemas.errors import Problem

RETRY_STATUSES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
INITIAL_BACKOFF = 0.2
"""Seconds before the first retry if there is no `Retry-After`. Each wait doubles."""


class ProblemError(Exception):
    """The service refused a request. `problem` has the reason, `status` the HTTP status."""

    def __init__(self, response: httpx.Response) -> None:
        self.problem = _problem(response)
        self.status = response.status_code
        self.retry_after = _retry_after(response.headers.get("Retry-After", ""))
        super().__init__(f"{self.status} {self.problem.title}: {self.problem.detail}")


class UnreachableError(Exception):
    """There is no connection to the service, or it broke. The message has the URL."""

    def __init__(self, url: str, cause: httpx.TransportError | str) -> None:
        reason = str(cause) or type(cause).__name__
        proxy = _proxy_of(url)
        checked = f"the proxy {proxy}" if proxy else "that the service is running"
        super().__init__(f"no answer from {url} ({reason}): check the URL, and {checked}")


class RetryPolicy:
    """Counts the retries of one call and computes the wait before each."""

    def __init__(self, url: str, retries: int, longest_wait: float) -> None:
        self._url = url
        self._left = retries
        self._longest_wait = longest_wait
        self._next = INITIAL_BACKOFF

    def wait(self, error: ProblemError | httpx.TransportError) -> float:
        """Return the seconds until the next attempt.

        Raises:
            ProblemError: `error`, if a retry would not help, or none is left.
            UnreachableError: the same, if there is no connection.

        """
        seconds = self._next
        if isinstance(error, ProblemError):
            retried = error.status in RETRY_STATUSES
            seconds = self._next if error.retry_after is None else error.retry_after
        else:
            # A request that may have arrived is not retried: the service may have done the work.
            retried = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        if not retried or self._left == 0 or seconds > self._longest_wait:
            if isinstance(error, ProblemError):
                raise error
            raise UnreachableError(self._url, error) from error
        self._left -= 1
        self._next *= 2
        return seconds


def _retry_after(header: str) -> float | None:
    """Return the seconds of a `Retry-After` header, which has seconds or a date."""
    if header.isdecimal():
        return float(header)
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _problem(response: httpx.Response) -> Problem:
    """Return the problem of a response, or make one if a proxy sent something else."""
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        detail = response.text.strip()[:200] or response.reason_phrase
        return Problem.of(response.status_code, response.reason_phrase, detail, response.url.path)


def is_loopback(url: str) -> bool:
    """Return whether a URL is one of this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, without its password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if is_loopback(url) or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return re.sub("//[^/]*@", "//", proxy) if proxy else None
