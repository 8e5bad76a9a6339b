"""Why two images match: the terms that their cosine is the sum of.

Pure functions on arrays; knows nothing of networks, indexes or requests.
"""

import numpy as np

from training.bundle import Vectors

SIDE = 8
"""`conv2` is channel-major over 8 x 8 positions of the image, each 4 x 4 of its pixels."""


def attribution_map(query: Vectors, others: Vectors) -> Vectors:
    """Where in the image a query matches each of K others, at `conv2`.

    `heat[k, y, x] = sum_c query[c, y, x] others[k, c, y, x] / (|query| |others[k]|)`.

    Args:
        query: [channels x 8 x 8].
        others: [K, channels x 8 x 8].

    Returns:
        [K, 8, 8]; each adds up to the cosine of the two.

    """
    channels = len(query) // SIDE**2
    shares: Vectors = attribution(query, others).reshape(-1, channels, SIDE, SIDE).sum(1)
    return shares


def attribution(query: Vectors, others: Vectors) -> Vectors:
    """What each dimension adds to the cosine of a query [D] and each of K others [K, D]: [K, D].

    A vector of length 0 is like nothing: its terms are 0.
    """
    lengths: Vectors = np.linalg.norm(query) * np.linalg.norm(others, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return query * others / lengths
