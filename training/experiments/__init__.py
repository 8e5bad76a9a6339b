"""Experiments as data, their records and reports."""
