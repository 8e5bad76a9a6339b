"""Attributes the cosine similarity of two vectors to its terms.

Pure functions on arrays; knows nothing of networks, indexes or requests.
"""

import numpy as np

from training.bundle import Vectors


def attribution_map(query: Vectors, others: Vectors, places: tuple[int, int]) -> Vectors:
    """Compute where in the image a query matches each of K others, at a layer over places.

    `map[k, y, x] = sum_c query[c, y, x] others[k, c, y, x] / (|query| |others[k]|)`.

    Args:
        query: [channels x rows x columns].
        others: [K, channels x rows x columns].
        places: rows and columns.

    Returns:
        [K, rows, columns]; each map adds up to the cosine of the two vectors.

    """
    shares: Vectors = attribution(query, others).reshape(len(others), -1, *places).sum(1)
    return shares


def query_map(parts: Vectors, others: Vectors, places: tuple[int, int]) -> Vectors:
    """Compute where in the query's image it matches each of K others, at a layer without places.

    The query is the sum of its parts over the places:
    `map[k, y, x] = sum_c parts[c, y, x] others[k, c] / (|query| |others[k]|)`.

    Args:
        parts: of the query, [channels x rows x columns].
        others: [K, channels].
        places: rows and columns.

    Returns:
        [K, rows, columns]; each map adds up to the cosine of the two vectors.

    """
    by_channel = parts.reshape(others.shape[1], -1)
    shares: Vectors = others @ by_channel / _lengths(by_channel.sum(1), others)
    return shares.reshape(len(others), *places)


def attribution(query: Vectors, others: Vectors) -> Vectors:
    """Compute the terms of the cosine of a query [D] and each of K others [K, D].

    The cosine of a zero vector with any other is taken as 0, and so are its terms.

    Returns:
        [K, D]; each row adds up to the cosine of the two vectors.

    """
    return query * others / _lengths(query, others)


def _lengths(query: Vectors, others: Vectors) -> Vectors:
    """Return the products of the lengths [K, 1], with 1 for 0."""
    lengths: Vectors = np.linalg.norm(query) * np.linalg.norm(others, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return lengths
