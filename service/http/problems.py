"""The only place that turns an error into a response: `application/problem+json` (RFC 9457)."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

from service.errors import (
    BundleRefusedError,
    ClientGoneError,
    DeadlinePassedError,
    ForbiddenError,
    InferenceFailedError,
    KindredError,
    MalformedBodyError,
    MisdirectedError,
    NotAnImageError,
    NotFoundError,
    QueueFullError,
    StorageError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from service.schemas.errors import FieldProblem, Problem

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger(__name__)

_UNPROCESSABLE = "A parameter is not what it should be"
_ERROR_TITLES = {
    error.status: f"{error.title}."
    for error in (
        MalformedBodyError,
        UnauthorizedError,
        ForbiddenError,
        NotFoundError,
        BundleRefusedError,
        TooLargeError,
        NotAnImageError,
        MisdirectedError,
        QueueFullError,
        InferenceFailedError,
        UnavailableError,
        DeadlinePassedError,
        StorageError,
    )
} | {422: f"{_UNPROCESSABLE}."}


def problem(error: KindredError, path: str) -> Problem:
    """What is said of an error over the wire."""
    return Problem(
        type=f"urn:kindred:problem:{error.name}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=path,
        error=error.detail,
    )


def respond(error: KindredError, request: Request) -> Response:
    """Answer with an error of our own."""
    request.state.rejection = error.name
    return _encode_problem(error, request.url.path)


def _encode_problem(error: KindredError, path: str) -> Response:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return _response(problem(error, path), headers)


def encode_problem(error: KindredError, path: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body that `respond` gives, for where there is no `Request` yet."""
    response = _encode_problem(error, path)
    return response.raw_headers, bytes(response.body)


def error_responses(
    *ways: int | type[KindredError],
) -> dict[int | str, dict[str, Any]]:  # Any: FastAPI's own type
    """The `responses` of a route that may fail in these ways: statuses, or errors."""
    schema = {"$ref": "#/components/schemas/Problem"}
    titles = {way: _ERROR_TITLES[way] for way in ways if isinstance(way, int)}
    titles |= {way.status: f"{way.title}." for way in ways if not isinstance(way, int)}
    return {
        status: {
            "description": title,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        | ({"headers": _RETRY_AFTER} if status in (429, 503) else {})
        for status, title in titles.items()
    }


def install(app: FastAPI) -> None:
    """Have every error of this app answered here."""
    app.add_exception_handler(KindredError, _on_kindred_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unexpected_error)


_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
}


def _response(said: Problem, headers: Mapping[str, str]) -> Response:
    return Response(
        said.model_dump_json(exclude_none=True),
        status_code=said.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


async def _on_kindred_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, KindredError)  # noqa: S101  registered for it
    return respond(error, request)


async def _on_disconnect(request: Request, _: Exception) -> Response:
    return respond(ClientGoneError("The client went away."), request)


async def _on_unexpected_error(request: Request, error: Exception) -> Response:
    logger.error("Unexpected error at %s", request.url.path, exc_info=error)
    response = respond(KindredError("An unexpected error; it has been logged."), request)
    # Sent from outside of our middleware, which adds this elsewhere.
    response.headers["X-Request-ID"] = getattr(request.state, "request_id", "unknown")
    return response


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for it
    request.state.rejection = "parameter"
    errors = tuple(
        FieldProblem(location=".".join(map(str, found["loc"])), detail=found["msg"])
        for found in error.errors()
    )
    detail = "; ".join(f"{found.location}: {found.detail}" for found in errors)
    said = Problem(
        type="urn:kindred:problem:parameter",
        title=_UNPROCESSABLE,
        status=422,
        detail=detail,
        instance=request.url.path,
        error=detail,
        errors=errors,
    )
    return _response(said, {})


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it
    status = HTTPStatus(error.status_code)
    request.state.rejection = status.phrase.lower().replace(" ", "-")
    detail = error.detail
    if status == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path}; /docs lists what there is."
    elif detail == status.phrase:
        detail = f"{status.description or status.phrase}: {request.method} {request.url.path}."
    said = Problem(
        type="about:blank",
        title=status.phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        error=detail,
    )
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return _response(said, headers)


def _methods(request: Request) -> set[str]:
    """All that a path may be asked with; the router names those of one of its routes alone.

    Where several templates take the path, the one that leaves the least open is meant, as in the
    OpenAPI document.
    """
    taking = [
        route
        for route in iter_route_contexts(request.app.routes)
        if route.methods and compile_path(route.path or "")[0].match(request.url.path)
    ]
    least = min(((route.path or "").count("{") for route in taking), default=0)
    meant = [route for route in taking if (route.path or "").count("{") == least]
    return {method for route in meant for method in route.methods or ()}
