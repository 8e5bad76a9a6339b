"""What the benchmarks share: load generator, server processes, reports."""
