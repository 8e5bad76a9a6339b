"""Measures what the output layer finds: precision at 10, and how often the longest term is right.

    python -m benchmarks.search.output_layer --bundle bundles/current

For each image of the gallery, the cosine with its nearest other image has one term a class. The
longest should be that of the class that the network predicts. Needs no images.
"""

import argparse
from pathlib import Path

import numpy as np

from training.bundle import load
from training.workflows.retrieval_metrics import precision_at_k


def main() -> None:
    """Print both figures for the gallery of a bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    bundle = load(parser.parse_args().bundle)
    index = bundle.indexes[bundle.spec.class_layer]
    positions = np.arange(len(index))
    vectors = index.reconstruct(positions)
    _, found = index.search(vectors, 2, exact=True)
    nearest = np.where(found[:, 0] == positions, found[:, 1], found[:, 0])
    terms = vectors * vectors[nearest]
    longest = terms.argmax(1) == vectors.argmax(1)
    precision = precision_at_k(index, bundle.gallery.labels, positions).mean()
    print(f"{len(index)} images, precision at 10: {precision:.4f}")
    print(f"the longest term is that of the predicted class: {longest.mean():.4f}")


if __name__ == "__main__":
    main()
