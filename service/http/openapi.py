"""Completes the OpenAPI document: API version, API keys, and the errors of the middleware.

Knows the app's routes and keys, but not what the routes do.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from service.http.auth import Keys, is_public, require_admin
from service.http.codecs.bodies import SCHEMAS
from service.http.operations import OPERATIONS
from service.http.problems import error_responses
from service.http.routes import oip
from service.retrieval.links import links

API_VERSION = "1.1.0"
"""The version of the HTTP API (semantic versioning). The bundle's version is at `/model`."""

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}

ALWAYS = (422, 500, 504)
"""The error statuses of every operation: a parameter is unknown, an internal error, a deadline."""


class SecuredApp(FastAPI):
    """An app whose OpenAPI document describes its API keys, found at `state.keys`."""

    def openapi(self) -> dict[str, Any]:  # Any: FastAPI's own type
        """Return the document for these keys."""
        document = super().openapi()
        document["components"]["schemas"] |= {**SCHEMAS, "InferRequest": oip.INFER_SCHEMA}
        _replace_constants(document["components"]["schemas"])
        keys: Keys = self.state.keys
        if keys.known:
            document["components"]["securitySchemes"] = SCHEMES
        for route in iter_route_contexts(self.routes):
            path = route.path_format or ""
            for method in route.methods or ():
                if operation := document["paths"].get(path, {}).get(method.lower()):
                    operation["operationId"], operation["summary"] = OPERATIONS[f"{method} {path}"]
                    _add_error_responses(operation, ALWAYS)
                    if not is_public(path):
                        admin_only = _requires_admin(route.dependant)
                        _document_security(operation, keys, admin_only=admin_only)
        for replaced in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(replaced, None)
        prefix = links.get().prefix
        return {**document, "servers": [{"url": prefix}]} if prefix else document


def _replace_constants(schemas: Mapping[str, dict[str, Any]]) -> None:
    """Describe a constant number as its only value: generators write wrong code for constants."""
    for schema in schemas.values():
        for one in schema.get("properties", {}).values():
            if isinstance(one.get("const"), int):
                one["enum"] = [one.pop("const")]


def _document_security(operation: dict[str, Any], keys: Keys, *, admin_only: bool) -> None:
    """Add the keys that an operation accepts, and the statuses of its authentication errors."""
    refusals = {401: keys.known, 403: admin_only, 421: keys.local}
    _add_error_responses(operation, (status for status, occurs in refusals.items() if occurs))
    if keys.known:
        operation["security"] = [{name: []} for name in SCHEMES]
        if not (keys.required or admin_only):
            operation["security"].append({})  # the keys are optional


def _add_error_responses(operation: dict[str, Any], statuses: Iterable[int]) -> None:
    for status, response in error_responses(*statuses).items():
        operation["responses"][str(status)] = response


def _requires_admin(dependant: Dependant) -> bool:
    return dependant.call is require_admin or any(map(_requires_admin, dependant.dependencies))
