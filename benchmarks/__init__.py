"""Benchmarks whose results are in the documentation; run them as `python -m benchmarks.X`."""
