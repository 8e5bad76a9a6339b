"""What OpenAPI says beyond the routes: which keys an operation takes, as its guard sees to it.

Knows the app's routes and keys; nothing of what is answered.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from service.keys import Keys, is_keyless, may_change
from service.problems import documented

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class GuardedApp(FastAPI):
    """An app whose document tells of its guard; its keys are at `state.keys`."""

    def openapi(self) -> dict[str, Any]:  # Any: FastAPI's own type
        """Give the document, as it holds with these keys."""
        document = super().openapi()
        keys: Keys = self.state.keys
        if keys.known:
            document["components"]["securitySchemes"] = SCHEMES
        for route in iter_route_contexts(self.routes):
            path = route.path_format or ""
            for method in () if is_keyless(path) else route.methods or ():
                if operation := document["paths"].get(path, {}).get(method.lower()):
                    _tell(operation, keys, changes=_depends_on_may_change(route.dependant))
        return document


def _tell(operation: dict[str, Any], keys: Keys, *, changes: bool) -> None:
    """Which keys an operation takes, and with which statuses its guard may refuse."""
    refused = {401: keys.known, 403: changes, 421: keys.local}
    for status, said in documented(*(one for one in refused if refused[one])).items():
        operation["responses"][str(status)] = said
    if keys.known:
        operation["security"] = [{name: []} for name in SCHEMES]
        if not (keys.required or changes):
            operation["security"].append({})  # or none of them


def _depends_on_may_change(dependant: Dependant) -> bool:
    return dependant.call is may_change or any(map(_depends_on_may_change, dependant.dependencies))
