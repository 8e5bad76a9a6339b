"""Small OpenVINO models that follow the network: novelty, and the projection of a search.

Products with thousands of vectors are as fast there as convolutions; in NumPy they took as long as
the network. Knows arrays; nothing of images.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import openvino as ov
from openvino import Node
from openvino import opset13 as ops

from training.bundle import Novelty, Projection, Vectors

NEAREST: Final = 5
"""References that a distance is averaged over, as in `Novelty`."""
EPSILON: Final = 1e-12
"""The least length that a vector is divided by, so that a zero vector stays zero."""

Compile = Callable[[ov.Model], ov.InferRequest]


class NoveltyHead:
    """Computes the novelty of images from their vectors at the layers of `NetworkSpec.novelty`."""

    def __init__(self, novelty: Novelty, dimensions: Sequence[int], compiled: Compile) -> None:
        """Compile the model.

        Args:
            novelty: has the references.
            dimensions: of the vectors at these layers.
            compiled: compiles a model for one thread.

        """
        self._novelty = novelty
        inputs = [ops.parameter([-1, size], np.float32) for size in dimensions]
        views = {
            "penultimate": inputs[1],
            "texture": _texture(inputs[0], novelty.widths["texture"]),
        }
        self._views = tuple(novelty.references)
        distances = [_distances(views[view], novelty.references[view]) for view in self._views]
        self._request = compiled(ov.Model(distances, inputs, "novelty"))

    def __call__(self, texture: Vectors, penultimate: Vectors) -> Vectors:
        """Compute the novelty [N]."""
        self._request.infer({0: texture, 1: penultimate}, share_inputs=True)
        distances = {
            view: self._request.get_output_tensor(number).data[:, 0]
            for number, view in enumerate(self._views)
        }
        return self._novelty.of_distances(distances)


class ProjectionHead:
    """Projects vectors as a `Projection` does, with directions of 8 bits.

    One query takes the time in which the matrix is read from memory, and at 8 bits it has a quarter
    of the bytes. The projected gallery has 8 bits too, so that recall does not change.
    """

    def __init__(self, projection: Projection, compiled: Compile) -> None:
        """Compile the model by `compiled`."""
        matrix = projection.matrix
        steps = np.abs(matrix).max(axis=1, keepdims=True).clip(EPSILON) / 127
        rounded = ops.convert(ops.constant(np.round(matrix / steps).astype(np.int8)), np.float32)
        directions = ops.multiply(rounded, ops.constant(steps))
        vectors = ops.parameter([-1, matrix.shape[1]], np.float32)
        product = ops.matmul(vectors, directions, transpose_a=False, transpose_b=True)
        self._request = compiled(ov.Model([product], [vectors], "projection"))

    def __call__(self, vectors: Vectors) -> Vectors:
        """Project vectors [N, dimension] to [N, 256]; the next call does not overwrite them."""
        self._request.infer({0: vectors}, share_inputs=True)
        return np.array(self._request.get_output_tensor(0).data)


def _texture(vectors: Node, width: int) -> Node:
    """Return mean and standard deviation [N, width] of each channel, as `views` does."""
    length = vectors.get_output_partial_shape(0)[1].get_length()
    if length == width:
        return vectors
    maps = ops.reshape(vectors, [0, width // 2, -1], special_zero=True)
    count = length // (width // 2)
    means = ops.reduce_mean(maps, [2], keep_dims=False)
    squares = ops.reduce_mean(ops.multiply(maps, maps), [2], keep_dims=False)
    variances = ops.relu(ops.subtract(squares, ops.multiply(means, means)))
    deviations = ops.sqrt(ops.multiply(variances, _scalar(count / (count - 1))))
    return ops.concat([means, deviations], 1)


def _distances(vectors: Node, references: Vectors) -> Node:
    """Return one minus the mean cosine to the nearest references, [N, 1]."""
    nearest = min(NEAREST, len(references))
    unit = ops.normalize_l2(vectors, [1], EPSILON, "max")
    cosines = ops.matmul(unit, ops.constant(references), transpose_a=False, transpose_b=True)
    best = ops.topk(cosines, _integer(nearest), 1, "max", "none").output(0)
    return ops.subtract(_scalar(1.0), ops.reduce_mean(best, [1], keep_dims=True))


def _scalar(value: float) -> Node:
    return ops.constant(np.float32(value))


def _integer(value: int) -> Node:
    return ops.constant(np.int64(value))
