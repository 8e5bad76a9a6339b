"""Embedding of images, in memory or into shards."""
