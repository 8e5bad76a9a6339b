"""The benchmarks: that they count right, and let nobody win by failing."""
