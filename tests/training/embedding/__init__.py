"""Tests of `training/embedding/`."""
