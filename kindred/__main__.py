"""Runs the command line: `python -m kindred`."""

import sys

from kindred.cli import main

if __name__ == "__main__":
    sys.exit(main())
