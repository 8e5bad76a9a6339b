"""Tests of `service/engine/`."""
