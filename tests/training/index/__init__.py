"""Tests of `training/index/`."""
