"""Runs the command line: `python -m service`."""

from service.cli import command

if __name__ == "__main__":
    command()
