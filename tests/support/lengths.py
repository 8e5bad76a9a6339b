"""Lengths of the long tests: short in `make test`, full in `make soak`."""

import os
from typing import Final

SOAK: Final = os.environ.get("SOAK") == "1"


def length(full: int, short: int) -> int:
    """Return the full length in `make soak`, else the short one."""
    return full if SOAK else short
