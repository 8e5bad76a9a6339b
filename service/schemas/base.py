"""The base class of the schemas, and those that several routes share."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
)

RoundedFloat = Annotated[float, PlainSerializer(lambda value: round(value, 6), return_type=float)]
"""A number that means nothing beyond its sixth decimal."""


class Schema(BaseModel):
    """The base of all answers: plain data that does not change."""

    model_config = ConfigDict(frozen=True)


class ModelName(Schema):
    """Which network says so."""

    name: str = Field(examples=["batchnorm-3"])
    version: str = Field(examples=["49c6797bd2e7"])


class ReloadResponse(Schema):
    """Which network answers from now on, and which did."""

    previous: ModelName
    current: ModelName


class Health(Schema):
    """All is well."""

    status: Literal["alive", "ready"]
