"""Trains, evaluates and records one network."""
