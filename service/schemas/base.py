"""The base class of the schemas, and those that several routes share."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
)

Figure = Annotated[float, PlainSerializer(lambda value: round(value, 6), return_type=float)]
"""A number that means nothing beyond its sixth decimal."""


class Wire(BaseModel):
    """The base of all answers: plain data that does not change."""

    model_config = ConfigDict(frozen=True)


class ModelName(Wire):
    """Which network says so."""

    name: str = Field(examples=["batchnorm-3"])
    version: str = Field(examples=["49c6797bd2e7"])


class Reloaded(Wire):
    """Which network answers from now on, and which did."""

    previous: ModelName
    current: ModelName


class Health(Wire):
    """All is well."""

    status: Literal["alive", "ready"]
