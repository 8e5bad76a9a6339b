"""The shared parts of the benchmarks: load generator, server processes, reports."""
