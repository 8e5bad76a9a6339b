"""Tests of `training/experiments/`."""
