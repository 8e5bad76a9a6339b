"""Reads request bodies: images, JSON, uploads, Open Inference Protocol tensors."""
