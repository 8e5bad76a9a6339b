"""The base of all plain data here that is written to disk."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, and strict about its fields: what it does not know, it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")
