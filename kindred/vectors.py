"""Reads embeddings: as NumPy arrays if NumPy is installed, else as `array.array("f")`."""

import io
import sys
from array import array
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]
else:
    Vector = Any
"""One embedding, float32 [dimension]."""


def vector_of(values: Iterable[float]) -> Vector:
    """Return numbers as an embedding."""
    return _to_numpy(array("f", values))


def read_npy(content: bytes) -> Vector:
    """Read a NumPy file of one embedding, without NumPy.

    Raises:
        ValueError: the file is not one of float32 numbers.

    """
    stream = io.BytesIO(content)
    magic, (major, _) = stream.read(6), stream.read(2)
    header = stream.read(int.from_bytes(stream.read(2 if major == 1 else 4), "little"))
    if magic != b"\x93NUMPY" or b"'<f4'" not in header:
        raise ValueError("the embedding is not a NumPy file of float32 numbers")
    values = array("f", stream.read())
    if sys.byteorder == "big":
        values.byteswap()
    return _to_numpy(values)


def _to_numpy(values: "array[float]") -> Vector:
    if find_spec("numpy") is None:
        return values  # type: ignore[return-value]  # with the same elements
    import numpy as np  # noqa: PLC0415  it may not be installed

    return np.asarray(values)
