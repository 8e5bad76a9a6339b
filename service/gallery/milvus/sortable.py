"""Numbers as strings of hexadecimal digits that sort as the numbers do, for searches by range.

A number is found by each prefix of its digits, and a range is a few prefixes: those of all numbers
in it. So a store that can only compare strings for equality can search ranges.
"""

import struct
from typing import Final

DIGITS: Final = 16
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1


def prefixes(number: float) -> list[str]:
    """Return the prefixes of a number's digits, from one digit to all of them."""
    digits = f"{_sortable(number):0{DIGITS}x}"
    return [digits[:length] for length in range(1, DIGITS + 1)]


def prefixes_between(lower: float, upper: float) -> list[str]:
    """Return the fewest prefixes that the numbers from `lower` to `upper` have, and no others."""
    first, last = _sortable(lower), _sortable(upper)
    found = []
    for length in range(DIGITS, 0, -1):  # what is left in the middle has one digit fewer each time
        while first <= last and (first % 16 or length == 1):
            found.append(f"{first:0{length}x}")
            first += 1
        while first <= last and last % 16 != 15:
            found.append(f"{last:0{length}x}")
            last -= 1
        if first > last:
            break
        first, last = first // 16, last // 16
    return found


def _sortable(number: float) -> int:
    bits: int
    (bits,) = struct.unpack(">Q", struct.pack(">d", number + 0.0))  # -0.0 becomes 0.0
    return bits ^ _ALL if bits & _SIGN else bits | _SIGN
