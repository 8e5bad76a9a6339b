"""Tests of the benchmarks: measurements count right, and wrong responses do not count."""
