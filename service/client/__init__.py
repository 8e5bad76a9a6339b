"""A client of the service, for programs. Needs httpx, Pillow and NumPy; neither torch nor FAISS."""

from service.client.client import (
    AsyncKindred,
    ExperimentRecords,
    ExperimentSummary,
    Fit,
    Kindred,
    Model,
    New,
    Picture,
    Problem,
    ProblemError,
    UnreachableError,
)

__all__ = [
    "AsyncKindred",
    "ExperimentRecords",
    "ExperimentSummary",
    "Fit",
    "Kindred",
    "Model",
    "New",
    "Picture",
    "Problem",
    "ProblemError",
    "UnreachableError",
]
