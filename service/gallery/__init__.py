"""Galleries: the bundle's images and those added, behind one protocol."""
