"""Convert between bodies and Python objects: images, JSON, uploads, Open Inference Protocol."""
