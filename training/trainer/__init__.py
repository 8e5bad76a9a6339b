"""Trains and evaluates one network."""
