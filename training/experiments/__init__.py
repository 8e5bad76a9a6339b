"""Experiments as data, the records of their runs, and reports of the records."""
