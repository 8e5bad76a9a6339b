"""Returns freed memory to the system. Only glibc, on Linux, keeps it otherwise."""

import ctypes
import sys
from typing import Final

LARGE_BLOCK: Final = 2**20
"""Bytes from which a block of memory is mapped on its own."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def map_large_blocks() -> None:
    """Let each large block return to the system when it is freed.

    By default glibc raises the size from which it does so, up to 32 MiB. Freed networks and decoded
    images then stay in the heap, between blocks that are in use.
    """
    _call("mallopt", _M_MMAP_THRESHOLD, LARGE_BLOCK)
    _call("mallopt", _M_TRIM_THRESHOLD, 2 * LARGE_BLOCK)


def trim_heap() -> None:
    """Return the free memory of the heap, such as loading a bundle leaves."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    """Call a function of the C library, if it has it."""
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if function is not None:
        function(*arguments)
