"""Reads stored fields defensively: one damaged row never fails a search among the others.

Knows items; nothing of where they are stored.
"""

import logging
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, FiniteFloat, Json, ValidationError

from service.gallery.types import Item, Source

logger = logging.getLogger(__name__)


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    label: str = ""
    predicted: str | None = None
    label_predicted: bool = False
    attributes: Json[dict[str, bool | int | FiniteFloat | str]] = {}
    source: Source = "added"
    created_at: datetime | None = None
    has_image: bool = True


def read_item(fields: Mapping[str, object]) -> Item | None:
    """Return the image with these fields, attributes as JSON; None if it has no id.

    Damaged fields are left out, and the log names them.
    """
    try:
        found = _Fields.model_validate(fields)
    except ValidationError as error:
        damaged = {str(one["loc"][0]) for one in error.errors()}
        logger.warning(
            "The gallery's image %r is damaged, and shown without: %s",
            *(fields["id"], ", ".join(sorted(damaged))),
        )
        if "id" in damaged:
            return None
        found = _Fields.model_validate({k: v for k, v in fields.items() if k not in damaged})
    return Item(**dict(found))
