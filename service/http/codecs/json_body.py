"""Parses untrusted JSON at a bounded cost.

A few bytes of JSON can become a Python object of fifty, and parsing holds the GIL. Knows bytes and
pydantic models; nothing of their meaning.
"""

import codecs
from collections.abc import Iterable
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.errors import MalformedBodyError, TooLargeError, did_you_mean

M = TypeVar("M", bound=BaseModel)

MAX_REASONS: Final = 5
"""Number of reasons in an error message."""


def read(model: type[M], body: bytes, max_commas: int) -> M:
    """Parse a body of at most `max_commas` commas as a model; it may begin with a byte order mark.

    The commas bound the number of values: nesting without commas is bounded by the parser.

    Raises:
        MalformedBodyError: the body is not JSON, or does not match the model.
        TooLargeError: the body has more commas.

    """
    if body.count(b",") > max_commas:
        raise TooLargeError(
            f"The JSON has more than {max_commas:,} values, which no request needs: send fewer."
        )
    if b"\0" in body[:4]:
        raise MalformedBodyError("The JSON must be UTF-8, and this seems to be UTF-16 or UTF-32.")
    try:
        return model.model_validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        raise MalformedBodyError(describe_error(error, model.model_fields)) from error


def describe_error(error: ValidationError, known: Iterable[str] = ()) -> str:
    """Return the first reasons why JSON does not match a model, as text of bounded length.

    Of an unknown field, the text has the nearest `known` one.
    """
    reasons = error.errors(include_url=False, include_input=False, include_context=False)
    text = "; ".join(
        f"{'.'.join(map(str, reason['loc']))[:100] or 'body'}: {_message(reason, known)}"
        for reason in reasons[:MAX_REASONS]
    )
    more = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    return f"The JSON is not valid here: {text}{more}."


def _message(reason: ErrorDetails, known: Iterable[str]) -> str:
    if reason["type"] != "extra_forbidden":
        return reason["msg"]
    name = str(reason["loc"][-1])[:100]
    return did_you_mean("There is no such field", name, known).removesuffix(".")
