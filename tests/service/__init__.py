"""Tests of the online house."""
