"""What a Milvus is asked for: expressions whose values stand apart from their text.

So whatever people write, be it a label or an attribute, is a value, and never part of the question.
Knows Milvus's filter language; nothing of connections.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from service.gallery.types import Filter, Value

Parameter = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Expression:
    """An expression with `{names}`, and the values that stand for them."""

    text: str
    values: Mapping[str, Parameter] = field(default_factory=dict)

    def __and__(self, other: "Expression") -> "Expression":
        """Both; a name stands for one value in the two of them."""
        return Expression(f"{self.text} and {other.text}", {**self.values, **other.values})

    def with_literals(self) -> str:
        """The expression with its values as literals, for milvus-lite, which knows no others.

        Milvus itself is given the values apart.
        """
        return self.text.format_map({name: _literal(value) for name, value in self.values.items()})


def expression(text: str, **values: Parameter) -> Expression:
    """The filter of that text and these values."""
    return Expression(text, values)


def to_expressions(filter_: Filter) -> list[Expression]:
    """What makes an image a wanted one, each part a filter of its own."""
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
    """Attributes as Milvus can look for them: one string each for a name and its value."""
    return [_tag(name, value) for name, value in attributes.items()]


def tags_matching(name: str, text: str) -> list[str]:
    """The tags of all values that a text may stand for: "3" is 3, 3.0 and "3"."""
    values: list[Value] = [text]
    if text in ("true", "false"):
        values.append(text == "true")
    try:
        number = float(text)
    except ValueError:
        return [_tag(name, value) for value in values]
    if isfinite(number):
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
