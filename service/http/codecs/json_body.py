"""JSON from strangers, read at a cost that is known before it is paid.

A few bytes of JSON can become a Python object of fifty, and no thread does anything else while it
is parsed. Knows bytes and types; nothing of what they mean.
"""

from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from service.errors import MalformedBodyError, TooLargeError

M = TypeVar("M", bound=BaseModel)

MAX_REASON_LENGTH: Final = 5
"""How many of many reasons are said."""


def read(kind: type[M], body: bytes, most: int) -> M:
    """The body as this kind; there are at most `most` commas in it.

    That many more values it can hold, since nesting without commas goes no deeper than the parser.

    Raises:
        MalformedBodyError: it is not JSON, or not of this kind; says why.
        TooLargeError: there are more.

    """
    if body.count(b",") > most:
        raise TooLargeError(f"The JSON has more than {most:,} values; no request needs so many.")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise MalformedBodyError(describe_error(error)) from error


def describe_error(error: ValidationError) -> str:
    """What is wrong with some JSON, in a sentence that is not as long as the sender pleases."""
    reasons = error.errors(include_url=False, include_input=False, include_context=False)
    said = "; ".join(
        f"{'.'.join(map(str, reason['loc']))[:100] or 'body'}: {reason['msg']}"
        for reason in reasons[:MAX_REASON_LENGTH]
    )
    more = (
        f"; and {len(reasons) - MAX_REASON_LENGTH} more" if len(reasons) > MAX_REASON_LENGTH else ""
    )
    return f"The JSON is not what it should be: {said}{more}."
