"""Reads and writes indexes as files of FAISS, which `faiss.read_index` reads too.

A two-stage index is written as FAISS's own composition of a linear transform, a coarse index and
the vectors that refine its results.
"""

from pathlib import Path
from typing import Any, Final, Literal, get_args

import faiss
import numpy as np

from training.index.cosine import CosineIndex, Factory, concatenate, normalise
from training.index.projection import CoarseIndex, Projection

OldFactory = Literal["SVD256,Flat,Refine(SQfp16)"]
"""The two-stage index of older bundles, whose projected vectors are not at 8 bits."""
FlatIndex = faiss.IndexFlat | faiss.IndexScalarQuantizer

_FLAT: Final = {"Flat": faiss.IndexFlat, "SQfp16": faiss.IndexScalarQuantizer}


class IndexFileError(RuntimeError):
    """The file does not hold an index of the expected kind; the message names the file."""


def write(index: CosineIndex, file: Path) -> None:
    """Write an index."""
    if index.coarse is None:
        faiss.write_index(index.vectors, str(file))
        return
    coarse = faiss.IndexPreTransform(index.coarse.projection.transform, index.coarse.codes)
    coarse.ntotal = len(index)
    refined = faiss.IndexRefine(coarse, index.vectors)
    refined.ntotal = len(index)
    refined.k_factor = index.k_factor
    faiss.write_index(refined, str(file))


def read(file: Path, factory: Factory | OldFactory) -> CosineIndex:
    """Read an index that `write` wrote, or one of an older bundle.

    Raises:
        IndexFileError: the file is not an index, or not of that factory.

    """
    try:
        index = faiss.read_index(str(file))
    except RuntimeError as error:
        raise IndexFileError(f"{file} is not a FAISS index: {error}") from error
    if not isinstance(index, _FLAT.get(factory, faiss.IndexRefine)):
        raise IndexFileError(f"{file} holds a {type(index).__name__}, not a {factory!r} index")
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise IndexFileError(f"{file} does not search by inner product, so not by cosine")
    if not isinstance(index, faiss.IndexRefine):
        return CosineIndex(index)
    k_factor = float(index.k_factor)
    found = _decompose(index) if factory in get_args(Factory) else _convert_to_8_bits(index)
    found.k_factor = k_factor
    return found


def _decompose(index: faiss.IndexRefine) -> CosineIndex:
    """Return the parts of a composition, each of which keeps the whole in memory."""
    # Any: FAISS's types cover its base classes only
    coarse: Any = faiss.downcast_index(index.base_index)
    codes: Any = faiss.downcast_index(coarse.index)
    vectors: Any = faiss.downcast_index(index.refine_index)
    transform: Any = faiss.downcast_VectorTransform(coarse.chain.at(0))
    for part in (vectors, codes, transform):
        part.referenced_objects = [index]  # as FAISS's own constructors do
    return CosineIndex(vectors, CoarseIndex(Projection(transform), codes))


def _convert_to_8_bits(index: faiss.IndexRefine) -> CosineIndex:
    """Project the vectors of an older index again, by directions of length 1."""
    parts = _decompose(index)
    assert parts.projection is not None  # noqa: S101  a composition has one
    directions = normalise(parts.projection.directions)
    flat = CosineIndex(parts.vectors)
    return concatenate([(flat, np.arange(len(flat)))], Projection.from_directions(directions))
