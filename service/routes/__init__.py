"""The calls, one noun a file: they know HTTP, and nothing of torch."""
