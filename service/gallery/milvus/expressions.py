"""What a Milvus is asked for: expressions whose values stand apart from their text.

So whatever people write, be it a label or an attribute, is a value, and never part of the question.
Knows Milvus's filter language; nothing of connections.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from service.gallery.types import Value, Wanted

Parameter = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Filter:
    """An expression with `{names}`, and the values that stand for them."""

    text: str
    values: Mapping[str, Parameter] = field(default_factory=dict)

    def __and__(self, other: "Filter") -> "Filter":
        """Both; a name stands for one value in the two of them."""
        return Filter(f"{self.text} and {other.text}", {**self.values, **other.values})

    def spelled_out(self) -> str:
        """The expression with its values as literals, for milvus-lite, which knows no others.

        Milvus itself is given the values apart.
        """
        return self.text.format_map({name: _literal(value) for name, value in self.values.items()})


def where(text: str, **values: Parameter) -> Filter:
    """The filter of that text and these values."""
    return Filter(text, values)


def of(wanted: Wanted) -> list[Filter]:
    """What makes an image a wanted one, each part a filter of its own."""
    filters = [
        where(f"{name} == {{{name}}}", **{name: value})
        for name, value in (
            ("label", wanted.label),
            ("predicted", wanted.predicted),
            ("source", wanted.source),
        )
        if value is not None
    ]
    filters += [
        where(
            f"array_contains_any(tags, {{attribute{number}}})",
            **{f"attribute{number}": tags_that_read(name, text)},
        )
        for number, (name, text) in enumerate(wanted.attributes)
    ]
    return filters


def tags(attributes: Mapping[str, Value]) -> list[str]:
    """Attributes as Milvus can look for them: one string each for a name and its value."""
    return [_tag(name, value) for name, value in attributes.items()]


def tags_that_read(name: str, text: str) -> list[str]:
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
