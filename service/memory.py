"""Memory that is free in this process, and still counted as its own."""

import ctypes
import sys


def give_back() -> None:
    """Give the system what is free in the heap.

    To load a bundle and compile its network leaves tens of MB there, which nothing takes up again.
    Only glibc has to be told.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
