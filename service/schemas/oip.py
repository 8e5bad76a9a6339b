"""Schemas of the Open Inference Protocol v2."""

from typing import Annotated, Any, Literal

import numpy.typing as npt
from pydantic import BaseModel, Field

from service.schemas.base import Schema

Datatype = Literal["UINT8", "FP32", "BYTES"]

Array = npt.NDArray[Any]  # Any: of whatever type the tensor is


class TensorMetadata(Schema):
    """A tensor of the model: -1 is a length that each request chooses."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class Ready(Schema):
    """Whether it is ready."""

    ready: bool


class InferenceServer(Schema):
    """This server, to the Open Inference Protocol."""

    name: str
    version: str
    extensions: tuple[str, ...]


class InferenceModel(Schema):
    """The network, to the Open Inference Protocol."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


MAX_ELEMENTS = 16
"""Inputs or outputs in one request: more than there are."""

MAX_ID_LENGTH = 1024
"""Characters of a request's own id."""


Name = Annotated[str, Field(max_length=64)]


class InferInput(BaseModel):
    """One tensor that was sent, its elements in `data` or behind the JSON."""

    name: Name
    datatype: Name
    shape: list[int] = Field(max_length=8)
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class InferOutput(BaseModel):
    """One tensor that is asked for."""

    name: Name
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(BaseModel):
    """The JSON of a request."""

    id: str | None = Field(None, max_length=MAX_ID_LENGTH)
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[InferInput] = Field(max_length=MAX_ELEMENTS)
    outputs: list[InferOutput] | None = Field(None, max_length=MAX_ELEMENTS)
