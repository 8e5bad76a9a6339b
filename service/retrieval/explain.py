"""Attributes the cosine similarity of two vectors to its terms.

Pure functions on arrays; knows nothing of networks, indexes or requests.
"""

import numpy as np

from training.bundle import Vectors

SIDE = 8
"""`conv2` is channel-major over 8 x 8 positions of the image, each of 4 x 4 pixels."""


def attribution_map(query: Vectors, others: Vectors) -> Vectors:
    """Compute where in the image a query matches each of K others, at `conv2`.

    `map[k, y, x] = sum_c query[c, y, x] others[k, c, y, x] / (|query| |others[k]|)`.

    Args:
        query: [channels x 8 x 8].
        others: [K, channels x 8 x 8].

    Returns:
        [K, 8, 8]; each map adds up to the cosine of the two vectors.

    """
    channels = len(query) // SIDE**2
    shares: Vectors = attribution(query, others).reshape(-1, channels, SIDE, SIDE).sum(1)
    return shares


def attribution(query: Vectors, others: Vectors) -> Vectors:
    """Compute the terms of the cosine of a query [D] and each of K others [K, D].

    The cosine of a zero vector with any other is taken as 0, and so are its terms.

    Returns:
        [K, D]; each row adds up to the cosine of the two vectors.

    """
    lengths: Vectors = np.linalg.norm(query) * np.linalg.norm(others, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return query * others / lengths
