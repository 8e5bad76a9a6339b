"""Which images of the gallery a request asks for, out of its query. Knows HTTP; nothing of images.

OpenAPI cannot name `attribute.NAME`, whose name is whatever an image was given; the descriptions of
the calls do.
"""

from typing import Annotated, Final

from fastapi import Depends, Query, Request

from service.gallery import Source, Wanted

_ATTRIBUTE: Final = "attribute."


def attributes_of(request: Request) -> dict[str, str]:
    """The attributes in a query, `attribute.NAME=value`, as text."""
    return {
        name.removeprefix(_ATTRIBUTE): value
        for name, value in request.query_params.multi_items()
        if name.startswith(_ATTRIBUTE)
    }


def _filters(
    request: Request,
    label: Annotated[str | None, Query(description="Only images of this label.")] = None,
    predicted: Annotated[
        str | None, Query(description="Only images that the network takes for this class.")
    ] = None,
    source: Annotated[
        Source | None, Query(description="Only images of the bundle, or those added.")
    ] = None,
) -> Wanted:
    return Wanted(label, predicted, source, tuple(attributes_of(request).items()))


Filters = Annotated[Wanted, Depends(_filters)]
"""The images for which all holds that is asked."""
