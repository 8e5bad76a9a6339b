"""Tests of `service/retrieval/`."""
