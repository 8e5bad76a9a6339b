"""The public API of `training`: what a program needs to load and use a bundle.

The service imports this package and nothing else of `training`. It must not know how a bundle is
written.
"""

from training.bundle.loader import Bundle, Gallery, load
from training.bundle.manifest import BundleError, DatasetMetadata, Metrics
from training.data.formats import MEDIA_TYPES, FormatError, describe_error, open_image
from training.data.preprocessing import Fit, Pixels, reduce_jpeg, to_pixels
from training.experiments.aggregate import Summary, summarize
from training.experiments.comparison import Comparison, compare
from training.experiments.config import Regularizer
from training.experiments.record import Record
from training.index.cosine import (
    CosineIndex,
    Fp16Vectors,
    Positions,
    Vectors,
    concatenate,
    from_fp16,
    normalise,
)
from training.index.maps import NEAREST as MAP_NEAREST
from training.index.maps import mean_place
from training.index.multi_index import Project, search_multi
from training.index.projection import Projection
from training.models.layers import LAYERS, Explanation, Layer, NetworkSpec
from training.models.measurements import ActivationRanges
from training.models.novelty import Novelty
from training.models.precision import (
    DeviceError,
    Precision,
    PrecisionChoice,
    may_have_gpu,
    processor_flags,
)

__all__ = [
    "LAYERS",
    "MAP_NEAREST",
    "MEDIA_TYPES",
    "ActivationRanges",
    "Bundle",
    "BundleError",
    "Comparison",
    "CosineIndex",
    "DatasetMetadata",
    "DeviceError",
    "Explanation",
    "Fit",
    "FormatError",
    "Fp16Vectors",
    "Gallery",
    "Layer",
    "Metrics",
    "NetworkSpec",
    "Novelty",
    "Pixels",
    "Positions",
    "Precision",
    "PrecisionChoice",
    "Project",
    "Projection",
    "Record",
    "Regularizer",
    "Summary",
    "Vectors",
    "compare",
    "concatenate",
    "describe_error",
    "from_fp16",
    "load",
    "may_have_gpu",
    "mean_place",
    "normalise",
    "open_image",
    "processor_flags",
    "reduce_jpeg",
    "search_multi",
    "summarize",
    "to_pixels",
]
