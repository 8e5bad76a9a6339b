"""The short way for plain calls: one raw image whose query has been seen before.

A route resolves its query to a `Plan`, which depends on nothing else. The state remembers the plan,
and the gate answers the next call with the same query by it, without routing and parameters. Both
ways embed and answer by the same functions.
"""

from fastapi import Response
from starlette.types import Receive, Scope

from service.engine.types import Priority
from service.errors import ClientGoneError
from service.http.codecs.uploads import Upload, Uploads, is_raw_image
from service.http.gate.headers import HeaderMap
from service.http.inference import respond_per_image
from service.retrieval.plan import Plan
from service.state import State


def plan_of(scope: Scope, headers: HeaderMap, state: State) -> Plan | None:
    """Return the plan of a call, if the body is one raw image and the query has been seen."""
    if scope["method"] != "POST" or not is_raw_image(headers.text("content-type")):
        return None
    return state.plans.get((scope["path"], scope["query_string"]))


async def answer(plan: Plan, scope: Scope, receive: Receive, state: State) -> Response:
    """Read the image, and answer as its route does.

    Raises:
        KindredError: as the route.

    """
    scope["state"]["template"] = scope["path"]
    state.admission.check(Priority.INTERACTIVE)
    body = await _read(receive)
    uploads = Uploads((Upload(body),), several=False, fit=plan.fit)
    return await respond_per_image(scope, state, uploads, plan)


async def _read(receive: Receive) -> bytes:
    """Read a body. A small one arrives in one piece and is not copied."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError("The client closed the connection.")
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    parts = [body]
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client closed the connection.")
        parts.append(message.get("body", b""))
    return b"".join(parts)
