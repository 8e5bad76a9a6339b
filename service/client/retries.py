"""What may go wrong on the way to an answer, and whether it is worth another try.

Knows statuses and seconds; nothing of pictures.
"""

import email.utils
import time
from http import HTTPStatus

import httpx
from pydantic import ValidationError

from service.schemas.errors import Problem

RETRY_STATUSES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
INITIAL_BACKOFF = 0.2
"""Seconds before the first repetition where the service names none; each wait doubles."""


class ProblemError(Exception):
    """The service has answered that it cannot; `problem` says why and `status` is its status."""

    def __init__(self, response: httpx.Response) -> None:
        self.problem = _problem(response)
        self.status = response.status_code
        self.retry_after = _retry_after(response.headers.get("Retry-After", ""))
        super().__init__(f"{self.status} {self.problem.title}: {self.problem.detail}")


class UnreachableError(Exception):
    """Nothing answers, or what answers breaks off; the message says where it was looked for."""

    def __init__(self, url: str, cause: httpx.TransportError) -> None:
        reason = str(cause) or type(cause).__name__
        super().__init__(f"no answer from {url} ({reason}); is the service up?")
        # What may have arrived is not sent again: only who never got through tries once more.
        self.retried = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)


class RetryPolicy:
    """How often and how long one call waits."""

    def __init__(self, retries: int, longest_wait: float) -> None:
        self._left = retries
        self._longest_wait = longest_wait
        self._next = INITIAL_BACKOFF

    def wait(self, error: ProblemError | UnreachableError) -> float:
        """Seconds until the next try.

        Raises:
            ProblemError: or UnreachableError: `error`, where another try is no use or not allowed.

        """
        seconds = self._next
        if isinstance(error, ProblemError):
            retried = error.status in RETRY_STATUSES
            seconds = self._next if error.retry_after is None else error.retry_after
        else:
            retried = error.retried
        if not retried or self._left == 0 or seconds > self._longest_wait:
            raise error
        self._left -= 1
        self._next *= 2
        return seconds


def _retry_after(said: str) -> float | None:
    """Seconds, whether the header gives seconds or a date."""
    if said.isdecimal():
        return float(said)
    try:
        return max(email.utils.parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _problem(response: httpx.Response) -> Problem:
    """What the service says is wrong, or what can be said where it is not the service."""
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        said = response.text.strip()[:200] or response.reason_phrase
        return Problem(
            type="about:blank",
            title=response.reason_phrase,
            status=response.status_code,
            detail=said,
            instance=response.url.path,
            error=said,
        )
