"""Conditions on attributes: values, several values, ranges, and none of these."""

import pytest

from service.gallery.conditions import Attributes, Condition

SHOE: Attributes = {"price": 15, "color": "red", "size": "42", "sold": False, "title": "Low, wide"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("price", "15"),
        ("price", "15.0"),
        ("price", "..20"),
        ("price", "15..15"),
        ("price", "10.."),
        ("price", "1..2,14.5..1e2"),
        ("price", "3,15"),
        ("size", "40..44"),
        ("color", "red,blue"),
        ("sold", "false"),
        ("title", r"Low\, wide"),
    ],
)
def test_a_condition_that_is_met(name: str, text: str) -> None:
    assert Condition.parse(name, text).matches(SHOE)
    assert not Condition.parse(f"{name}!", text).matches(SHOE)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("price", "..14"),
        ("price", "16.."),
        ("price", "red"),
        ("color", "1..2"),
        ("sold", "0..1"),
        ("title", "Low, wide"),
        ("colour", "red"),
        ("colour", "..5"),
    ],
)
def test_a_condition_that_is_not_met(name: str, text: str) -> None:
    assert not Condition.parse(name, text).matches(SHOE)
    assert Condition.parse(f"{name}!", text).matches(SHOE)


@pytest.mark.parametrize("text", ["1..x", "x..1", "5..2", "1..nan"])
def test_a_malformed_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 5\.\.20"):
        Condition.parse("n", text)


def test_a_text_with_dots_is_a_value() -> None:
    assert Condition.parse("n", "a..b").values == ("a..b",)
