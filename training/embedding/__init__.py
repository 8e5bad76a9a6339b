"""Embeds images, in memory or in shards."""
