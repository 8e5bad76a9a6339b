"""Cosine search with FAISS: indexes, projection, tuning."""
