"""Evaluates a network on held-out images, which are never augmented."""

import torch
from torch import Tensor
from torch.nn import functional

from training.data.tensors import LabelledTensors
from training.experiments.record import MATRIX_CLASSES, Evaluation, wilson95
from training.models.device import autocast
from training.models.network import Network
from training.models.precision import Precision

EVALUATION_BATCH = 500
"""Images in a batch; the results do not depend on it."""


@torch.inference_mode()
def predict(network: Network, held_out: LabelledTensors, precision: Precision = "fp32") -> Tensor:
    """Compute the logits of the images, fp32 [N, classes], on their device."""
    network.eval()
    logits = []
    for images in held_out.images.split(EVALUATION_BATCH):
        inputs = network.recall(images)
        with autocast(images.device, precision):
            logits.append(network(inputs).float())
    return torch.cat(logits)


def evaluate(
    network: Network, held_out: LabelledTensors, precision: Precision = "fp32"
) -> Evaluation:
    """Measure loss and accuracy over all images, each of which counts once."""
    return score(predict(network, held_out, precision), held_out.labels)


def score(logits: Tensor, labels: Tensor) -> Evaluation:
    """Measure loss and accuracy of logits [N, classes] for labels int64 [N]."""
    count, classes = logits.shape
    loss = functional.cross_entropy(logits.double(), labels)
    pairs = labels * classes + logits.argmax(1)
    matrix = torch.bincount(pairs, minlength=classes * classes).view(classes, classes).cpu()
    correct = int(matrix.diagonal().sum())
    has_matrix, filled = classes <= MATRIX_CLASSES, matrix.nonzero().tolist()
    return Evaluation(
        count=count,
        loss=loss.item(),
        accuracy=correct / count,
        wilson95=wilson95(correct, count),
        confusion_matrix=tuple(tuple(row) for row in matrix.tolist()) if has_matrix else None,
        confusions=() if has_matrix else tuple((i, j, int(matrix[i, j])) for i, j in filled),
    )
