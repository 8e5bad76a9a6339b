"""Tests of the gallery: what every backend does, and what each adds."""
