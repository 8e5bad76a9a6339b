"""Tests of `training/workflows/`."""
