"""Batching inference. Knows arrays and backends; nothing of HTTP."""
