"""Turns errors into responses, `application/problem+json` (RFC 9457); no other module does."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse
from starlette.routing import compile_path
from starlette.types import Scope

from service.errors import ClientGoneError, KindredError
from service.retrieval.links import links
from service.schemas.errors import FieldProblem, Problem

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger(__name__)

_UNPROCESSABLE = "Invalid parameter"
_ERROR_TITLES = {error.status: f"{error.title}." for error in KindredError.__subclasses__()} | {
    422: f"{_UNPROCESSABLE}."
}
"""The title of each status; of 409, which several errors have, that of the last of them."""


def problem(error: KindredError, path: str) -> Problem:
    """Return the body of an error response."""
    kind = f"urn:kindred:problem:{error.name}"
    return Problem.of(error.status, error.title, error.detail, links.get().to(path), type=kind)


def respond(error: KindredError, scope: Scope) -> Response:
    """Return the response to a request that failed with an error of the service."""
    scope["state"]["rejection"] = error.name
    return build_response(error, scope["path"])


def unexpected(error: Exception, scope: Scope) -> Response:
    """Log an unexpected error, and return the response."""
    logger.error("Unexpected error at %s", scope["path"], exc_info=error)
    return respond(
        KindredError("An unexpected error occurred; the service's log has the details."), scope
    )


def build_response(error: KindredError, path: str) -> Response:
    """Return the response to a request at a path that has failed."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return _response(problem(error, path), headers)


def error_responses(
    *errors: int | type[KindredError],
) -> dict[int | str, dict[str, Any]]:  # Any: FastAPI's own type
    """Return the OpenAPI `responses` for errors, given by their statuses or classes."""
    schema = {"$ref": "#/components/schemas/Problem"}
    titles = {one: _ERROR_TITLES[one] for one in errors if isinstance(one, int)}
    titles |= {one.status: f"{one.title}." for one in errors if not isinstance(one, int)}
    return {
        status: {"description": title, "content": {MEDIA_TYPE: {"schema": schema}}}
        | ({"headers": _RETRY_AFTER} if status in (429, 503) else {})
        for status, title in titles.items()
    }


def install(app: FastAPI) -> None:
    """Register the error handlers of this app."""
    app.exception_handler(KindredError)(_on_kindred_error)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.exception_handler(ClientDisconnect)(_on_disconnect)
    app.exception_handler(Exception)(_on_unexpected_error)


_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before a retry.", "schema": {"type": "integer"}}
}


def _response(body: Problem, headers: Mapping[str, str]) -> Response:
    return Response(
        body.model_dump_json(exclude_none=True),
        status_code=body.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


async def _on_kindred_error(request: Request, error: KindredError) -> Response:
    return respond(error, request.scope)


async def _on_disconnect(request: Request, _: Exception) -> Response:
    return respond(ClientGoneError("The client closed the connection."), request.scope)


async def _on_unexpected_error(request: Request, error: Exception) -> Response:
    return unexpected(error, request.scope)


async def _on_validation_error(request: Request, error: RequestValidationError) -> Response:
    request.state.rejection = "parameter"
    errors = tuple(
        FieldProblem(location=".".join(map(str, found["loc"])), detail=found["msg"])
        for found in error.errors()
    )
    detail = "; ".join(f"{found.location}: {found.detail}" for found in errors)
    kind = "urn:kindred:problem:parameter"
    path = links.get().to(request.url.path)
    body = Problem.of(422, _UNPROCESSABLE, detail, path, type=kind, errors=errors)
    return _response(body, {})


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    status, path = HTTPStatus(error.status_code), links.get().to(request.url.path)
    if status == HTTPStatus.NOT_FOUND and _methods(request, request.url.path.rstrip("/")):
        # Starlette's own redirection has the scheme and the host that a proxy uses here.
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(path.rstrip("/") + query, HTTPStatus.TEMPORARY_REDIRECT)
    request.state.rejection = status.phrase.lower().replace(" ", "-")
    detail = error.detail
    if status == HTTPStatus.NOT_FOUND:
        detail = f"No route at {path}: see {links.get().to('/docs')} for the API."
    elif detail == status.phrase:
        detail = f"{status.description or status.phrase}: {request.method} {path}."
    body = Problem.of(status, status.phrase, detail, path)
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods(request, request.url.path)))
    return _response(body, headers)


def _methods(request: Request, path: str) -> set[str]:
    """Return the methods of all routes at a path; Starlette's router names those of one route.

    If several templates match the path, the one with the fewest parameters counts, as OpenAPI says.
    """
    matching = [
        route
        for route in iter_route_contexts(request.app.routes)
        if route.methods and compile_path(route.path or "")[0].match(path)
    ]
    fewest = min(((route.path or "").count("{") for route in matching), default=0)
    best = [route for route in matching if (route.path or "").count("{") == fewest]
    return {method for route in best for method in route.methods or ()}
