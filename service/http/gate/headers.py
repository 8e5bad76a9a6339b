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
