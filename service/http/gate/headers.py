"""The headers of a request, decoded once. Knows names and values only."""

from collections.abc import Iterable


class HeaderMap:
    """Headers by name, in any case; of a repeated header, the first value.

    Starlette's `Headers` search a list at each access.
    """

    __slots__ = ("_values",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """Decode headers, whose names are in lower case."""
        self._values: dict[str, str] = {}
        for name, value in raw:
            self._values.setdefault(name.decode("latin-1"), value.decode("latin-1"))

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a header, or the default."""
        return self._values.get(name.lower(), default)

    def text(self, name: str) -> str:
        """Return the value of a header, or empty text."""
        return self._values.get(name.lower(), "")

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values


def by_preference(header: str) -> list[tuple[str, float]]:
    """Return the elements of an `Accept…` header with their q-values, best first.

    Those of equal q-value keep their order. See RFC 9110, 12.4.2.
    """
    elements = [element.strip() for element in header.split(",")]
    return sorted(
        ((element, _quality(element)) for element in elements if element),
        key=lambda pair: -pair[1],
    )


def _quality(element: str) -> float:
    """Return the q-value of an element; 0 if it is not a number from 0 to 1."""
    for parameter in element.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0
