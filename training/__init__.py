"""Builds a bundle from labelled images. Knows nothing of HTTP or of `service`."""
