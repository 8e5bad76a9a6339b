"""Tests of `service/client/`."""
