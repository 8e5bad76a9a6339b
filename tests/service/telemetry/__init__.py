"""Tests of `service/telemetry/`."""
