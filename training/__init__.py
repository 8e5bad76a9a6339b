"""Offline house: from labelled images to a bundle. Knows nothing of HTTP or of `service`."""
