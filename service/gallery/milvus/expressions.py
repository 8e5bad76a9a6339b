"""Filter expressions for Milvus, whose values are kept apart from their text.

So labels and attributes from clients are parameters, and cannot inject expressions. Knows Milvus's
filter language; nothing of connections.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.gallery.conditions import Attributes, Condition, Value, number_of
from service.gallery.milvus import sortable
from service.gallery.types import Filter

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
            f"{'not ' if condition.negated else ''}array_contains_any(tags, {{attribute{number}}})",
            **{f"attribute{number}": tags_matching(condition)},
        )
        for number, condition in enumerate(filter_.attributes)
    ]
    return filters


def tags(attributes: Attributes) -> list[str]:
    """Return attributes as strings, as Milvus can search them.

    Each name and value has one. A number has one more for each `sortable.prefixes` of it, so that
    a range of numbers is a list of tags too.
    """
    found = [_tag(name, value) for name, value in attributes.items()]
    for name, value in attributes.items():
        if (number := number_of(value)) is not None:
            found += [_range_tag(name, prefix) for prefix in sortable.prefixes(number)]
    return found


def tags_matching(condition: Condition) -> list[str]:
    """Return the tags of all values that a condition names: "3" matches 3, 3.0 and "3"."""
    found = [_tag(condition.name, value) for text in condition.values for value in _values_of(text)]
    for one in condition.ranges:
        prefixes = sortable.prefixes_between(one.lower, one.upper)
        found += [_range_tag(condition.name, prefix) for prefix in prefixes]
    return found


def _values_of(text: str) -> list[Value]:
    values: list[Value] = [text]
    if text in ("true", "false"):
        values.append(text == "true")
    number = number_of(text)
    return values if number is None else [*values, number]


def _range_tag(name: str, prefix: str) -> str:
    return json.dumps([name, prefix, "range"])


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
