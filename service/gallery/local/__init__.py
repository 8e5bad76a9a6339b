"""A gallery in SQLite and memory, on this machine."""
