"""Measurements behind the documentation; each module is a command: `python -m benchmarks.X`."""
