"""Tests of `training/trainer/`."""
