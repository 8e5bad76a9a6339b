"""Tests. The folders mirror `service`, `training` and `benchmarks`."""
