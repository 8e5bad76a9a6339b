"""What OpenAPI says beyond the routes: how what is around them may refuse, and which keys it takes.

Knows the app's routes and keys; nothing of what is answered.
"""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from service.http.auth import Keys, is_public, require_admin
from service.http.problems import error_responses

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


ALWAYS = (500, 504)
"""Whatever is asked may go wrong, and has a deadline."""


class SecuredApp(FastAPI):
    """An app whose document tells of its guard; its keys are at `state.keys`."""

    def openapi(self) -> dict[str, Any]:  # Any: FastAPI's own type
        """Give the document, as it holds with these keys."""
        document = super().openapi()
        keys: Keys = self.state.keys
        if keys.known:
            document["components"]["securitySchemes"] = SCHEMES
        for route in iter_route_contexts(self.routes):
            path = route.path_format or ""
            for method in route.methods or ():
                if operation := document["paths"].get(path, {}).get(method.lower()):
                    _add_error_responses(operation, ALWAYS)
                    if not is_public(path):
                        _document_security(
                            operation, keys, changes=_requires_admin(route.dependant)
                        )
        return document


def _document_security(operation: dict[str, Any], keys: Keys, *, changes: bool) -> None:
    """Which keys an operation takes, and with which statuses its guard may refuse."""
    refused = {401: keys.known, 403: changes, 421: keys.local}
    _add_error_responses(operation, (one for one in refused if refused[one]))
    if keys.known:
        operation["security"] = [{name: []} for name in SCHEMES]
        if not (keys.required or changes):
            operation["security"].append({})  # or none of them


def _add_error_responses(operation: dict[str, Any], statuses: Iterable[int]) -> None:
    for status, said in error_responses(*statuses).items():
        operation["responses"][str(status)] = said


def _requires_admin(dependant: Dependant) -> bool:
    return dependant.call is require_admin or any(map(_requires_admin, dependant.dependencies))
