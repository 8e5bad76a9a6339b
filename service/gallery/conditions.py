"""Conditions on one attribute of an image: a value, one of several, a range, or none of these.

Knows attributes; nothing of requests or storage.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Final, Self

Value = str | int | float | bool

Attributes = Mapping[str, Value]

_COMMA: Final = re.compile(r"(?<!\\),")


@dataclass(frozen=True)
class Range:
    """Numbers from `lower` to `upper`, both included; either may be infinite."""

    lower: float
    upper: float

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `5..20`, `5..` or `..20`; return None if the text is no range.

        Raises:
            ValueError: one end is a number, and the other is none, or is smaller.

        """
        lower, dots, upper = text.partition("..")
        ends = number_of(lower), number_of(upper)
        if not dots or ends == (None, None):
            return None
        first, last = (-inf if lower == "" else ends[0]), (inf if upper == "" else ends[1])
        if first is None or last is None or first > last:
            raise ValueError(f"{text!r} is no range: write 5..20, 5.. or ..20.")
        return cls(first, last)


@dataclass(frozen=True)
class Condition:
    """What one attribute must be: one of the values, or in one of the ranges.

    Values are text: "3" matches 3 and "3", "true" matches true and "true". Ranges match numbers,
    also those that are stored as text. If `negated`, the attribute must be none of these, or be
    missing.
    """

    name: str
    values: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    negated: bool = False

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        r"""Read `NAME=value`, `NAME=one,other`, `NAME=5..20` or `NAME!=…`; `\,` is a comma.

        Raises:
            ValueError: a range is malformed.

        """
        values, ranges = [], []
        for part in _COMMA.split(text):
            if found := Range.parse(part):
                ranges.append(found)
            else:
                values.append(part.replace(r"\,", ","))
        return cls(name.removesuffix("!"), tuple(values), tuple(ranges), name.endswith("!"))

    def matches(self, attributes: Attributes) -> bool:
        """Return whether the attributes of an image meet this condition."""
        return self._finds(attributes.get(self.name)) != self.negated

    def _finds(self, value: Value | None) -> bool:
        if value is None:
            return False
        if any(_matches_text(value, text) for text in self.values):
            return True
        number = number_of(value) if self.ranges else None
        return number is not None and any(one.lower <= number <= one.upper for one in self.ranges)


def number_of(value: Value) -> float | None:
    """Return a number, or the number that a text is; None if it is none."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def _matches_text(value: Value, text: str) -> bool:
    if isinstance(value, bool):
        return text == str(value).lower()
    if isinstance(value, str):
        return text == value
    try:
        return float(text) == value
    except ValueError:
        return False
