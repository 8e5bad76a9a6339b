"""The former name of the package `kindred`, under which existing programs import the client."""

from kindred import AsyncClient as AsyncKindred
from kindred import Client as Kindred
from kindred import (
    ExperimentRecords,
    ExperimentSummary,
    Fit,
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
