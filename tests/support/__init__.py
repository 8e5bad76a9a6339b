"""Shared test helpers: images, processes, factories, fakes."""
