"""Builds responses from vectors and the gallery: similarity search, duplicates, explanations."""
