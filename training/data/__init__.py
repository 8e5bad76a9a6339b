"""Labelled images: datasets, splits, preprocessing."""
