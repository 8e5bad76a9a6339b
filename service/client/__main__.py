"""Runs the former command `python -m service.client`: `kindred predict`, or `kindred add`."""

import sys

from kindred.cli import main

if __name__ == "__main__":
    first, *rest = sys.argv[1:] or [""]
    adds = first in {"upload", "add"}
    sys.exit(main(["add", *rest] if adds else ["predict", *sys.argv[1:]]))
