"""Tests of `service/server/`."""
