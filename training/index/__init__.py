"""Cosine search by FAISS: indexes, projection, tuning."""
