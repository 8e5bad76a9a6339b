"""Refuses query parameters that a route does not have, and those that are given twice.

FastAPI ignores the former, and takes the last of the latter. Knows the parameters of the routes,
but not what they mean.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi._compat import ModelField, field_annotation_is_sequence
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import iter_route_contexts

from service.errors import did_you_mean
from service.http.dependencies import ATTRIBUTE, attributes_of


@dataclass(frozen=True)
class QueryParameters:
    """The names of the query parameters of a route."""

    names: frozenset[str]
    lists: frozenset[str]
    """Those that may be repeated."""
    attributes: bool
    """Whether `attribute.NAME` is one too."""

    def check(self, given: Iterable[str], where: str) -> None:
        """Refuse names that are unknown, or repeated without being a list.

        Raises:
            RequestValidationError: with the reason for each refused name.

        """
        errors = [
            {"type": "parameter", "loc": (where, name), "msg": reason}
            for name, count in Counter(given).items()
            if (reason := self._reason(name, count))
        ]
        if errors:
            raise RequestValidationError(errors)

    def _reason(self, name: str, count: int) -> str:
        if name not in self.names and not (self.attributes and name.startswith(ATTRIBUTE)):
            names = self.names | ({f"{ATTRIBUTE}NAME"} if self.attributes else set())
            return did_you_mean("There is no such parameter", name, names)
        if count > 1 and name not in self.lists:
            return f"Given {count} times: give it once."
        return ""


def install(app: FastAPI) -> None:
    """Collect the query parameters of the documented routes, which `check_query` needs."""
    app.state.query_parameters = {
        route.endpoint: _parameters(route.dependant)
        for route in iter_route_contexts(app.routes)
        if route.include_in_schema and getattr(route, "dependant", None)
    }


async def check_query(request: Request) -> None:
    """Refuse unknown and repeated query parameters of a documented route.

    Raises:
        RequestValidationError: there are some.

    """
    if request.scope["query_string"]:
        parameters = parameters_of(request)
        if parameters is not None:
            names = [name for name, _ in request.query_params.multi_items()]
            parameters.check(names, "query")


def parameters_of(request: Request) -> QueryParameters | None:
    """Return the query parameters of the route of a request; None if it is not documented."""
    known: QueryParameters | None = request.app.state.query_parameters.get(
        request.scope["endpoint"]
    )
    return known


def _parameters(dependant: Dependant) -> QueryParameters:
    query = [one for one in get_flat_params(dependant) if isinstance(one.field_info, Query)]
    return QueryParameters(
        names=frozenset(one.alias for one in query),
        lists=frozenset(one.alias for one in query if _is_list(one)),
        attributes=_reads_attributes(dependant),
    )


def _is_list(parameter: ModelField) -> bool:
    return field_annotation_is_sequence(parameter.field_info.annotation)


def _reads_attributes(dependant: Dependant) -> bool:
    return dependant.call is attributes_of or any(map(_reads_attributes, dependant.dependencies))
