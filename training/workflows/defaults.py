"""Defaults of long steps, for the help of the commands. Needs no PyTorch."""

from typing import Final

FOLDS: Final = 3
"""Networks that judge labels, each trained without the images that it judges."""
THRESHOLD: Final = 0.78
"""Score from which a pair counts as near-duplicates; docs/human.md has its precision and recall."""
