"""Tests of `training/bundle/`."""
