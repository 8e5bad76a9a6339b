"""Filter expressions for Milvus, whose values are kept apart from their text.

So labels and attributes from clients are parameters, and cannot inject expressions. Knows Milvus's
filter language; nothing of connections.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite

from service.gallery.types import Filter, Value

Parameter = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Expression:
    """An expression with `{placeholders}`, and their values."""

    text: str
    values: Mapping[str, Parameter] = field(default_factory=dict)

    def __and__(self, other: "Expression") -> "Expression":
        """Combine two expressions; a placeholder must have the same value in both."""
        return Expression(f"{self.text} and {other.text}", {**self.values, **other.values})

    def with_literals(self) -> str:
        """Return the text with its values as literals, as milvus-lite has no parameters."""
        return self.text.format_map({name: _literal(value) for name, value in self.values.items()})


def expression(text: str, **values: Parameter) -> Expression:
    """Return an expression with this text and these values."""
    return Expression(text, values)


def to_expressions(filter_: Filter) -> list[Expression]:
    """Return the expressions of a filter, one for each condition."""
    filters = [
        expression(f"{name} == {{{name}}}", **{name: value})
        for name, value in (
            ("label", filter_.label),
            ("predicted", filter_.predicted),
            ("source", filter_.source),
        )
        if value is not None
    ]
    filters += [
        expression(
            f"array_contains_any(tags, {{attribute{number}}})",
            **{f"attribute{number}": tags_matching(name, text)},
        )
        for number, (name, text) in enumerate(filter_.attributes)
    ]
    return filters


def tags(attributes: Mapping[str, Value]) -> list[str]:
    """Return attributes as strings, one for each name and value, as Milvus can search them."""
    return [_tag(name, value) for name, value in attributes.items()]


def tags_matching(name: str, text: str) -> list[str]:
    """Return the tags of all values that a text matches: "3" matches 3, 3.0 and "3"."""
    values: list[Value] = [text]
    if text in ("true", "false"):
        values.append(text == "true")
    with suppress(ValueError):
        if isfinite(number := float(text)):
            values.append(number)
    return [_tag(name, value) for value in values]


def _tag(name: str, value: Value) -> str:
    if isinstance(value, bool | str):
        return json.dumps([name, value])
    try:
        same = float(value) == value
    except OverflowError:
        same = False
    return json.dumps([name, float(value) if same else str(value), "number"])


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _literal(value: Parameter | Sequence[str]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, int | float):
        return repr(value)
    return f"[{', '.join(map(_literal, value))}]"
