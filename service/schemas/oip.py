"""Schemas of the Open Inference Protocol v2."""

from typing import Annotated, Any, Literal

import numpy.typing as npt
from pydantic import BaseModel, Field

from service.schemas.base import Schema

Datatype = Literal["UINT8", "FP32", "BYTES"]

Array = npt.NDArray[Any]  # Any: a tensor has one of several types


class TensorMetadata(Schema):
    """A tensor of the model; -1 is a dimension that each request chooses."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Ready(Schema):
    """The result of a liveness or readiness probe."""

    ready: bool


class InferenceServer(Schema):
    """The server's metadata."""

    name: str
    version: str
    extensions: tuple[str, ...]


class InferenceModel(Schema):
    """The model's metadata."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


MAX_ELEMENTS = 16
"""Maximum number of inputs or outputs in one request; the model has fewer."""

MAX_ID_LENGTH = 1024
"""Maximum length of the id that a client gives a request, in characters."""


Name = Annotated[str, Field(max_length=64)]


class InferInput(BaseModel):
    """One input tensor, with its elements in `data` or after the JSON."""

    name: Name
    datatype: Name
    shape: list[int] = Field(max_length=8)
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class InferOutput(BaseModel):
    """One requested output tensor."""

    name: Name
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """The JSON of an inference request."""

    id: str | None = Field(None, max_length=MAX_ID_LENGTH)
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InferInput] = Field(max_length=MAX_ELEMENTS)
    outputs: list[InferOutput] | None = Field(None, max_length=MAX_ELEMENTS)
