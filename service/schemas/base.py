"""The base class of the schemas, and the schemas that several routes share."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

DECIMALS: Final = 6
RoundedFloat = Annotated[
    float, PlainSerializer(lambda value: round(value, DECIMALS), return_type=float)
]
"""A float that is rounded to six decimals in JSON."""


Fields = dict[str, Any]
"""The fields of a response as JSON, floats rounded and absent ones left out.

The busiest routes build these instead of schemas, in a seventh of the time. A test holds that they
match their schemas.
"""


class Schema(BaseModel):
    """The base class of all responses: immutable data, whose fields' docstrings describe them."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ModelName(Schema):
    """The name and version of the bundle that a response comes from."""

    name: str = Field(examples=["batchnorm-3"])
    version: str = Field(examples=["49c6797bd2e7"])


class Move(Schema):
    """The folder of the starter, and that of the first bundle that was built."""

    previous: str = Field(examples=["starter"])
    current: str = Field(examples=["bundles/current"])


class ReloadResponse(Schema):
    """The bundle that is served now, and the one before it."""

    previous: ModelName
    current: ModelName
    moved: Move | None = None
    """The change of the folder that bundles are loaded from; null in all cases but one."""


class Health(Schema):
    """The result of a liveness or readiness probe."""

    status: Literal["alive", "ready"]
