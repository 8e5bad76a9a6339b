"""Describes the bodies that routes with images accept, for the OpenAPI document.

Each body has one schema with a name, because generators name their classes after it.
"""

from typing import Any, Final

from service import images
from service.http.codecs import form_fields
from service.http.codecs.uploads import ImageMetadata
from service.schemas.gallery import GalleryEdit
from training.bundle import MEDIA_TYPES

Json = dict[str, Any]  # Any: FastAPI's own type of `openapi_extra`

OCTETS: Final = "application/octet-stream"
_BASE64: Final[Json] = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "An image file as base64, or as a data: URI.",
}
_METADATA: Final[Json] = ImageMetadata.model_json_schema()["properties"]
_FILES: Final[Json] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "contentMediaType": OCTETS, "format": "binary"},
}
_ATTRIBUTE_FIELDS: Final = r"^attribute\.[A-Za-z0-9_.-]{1,64}$"


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(items: Json) -> Json:
    return {"type": "array", "minItems": 1, "items": items}


def _object(properties: Json, **rest: object) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties, **rest}


_LABELLED_OR_NOT: Final[Json] = {"anyOf": [_reference("LabelledImage"), _BASE64]}


def _labelled_form(**fields: Json) -> Json:
    """Return the schema of a form with files, attributes and other fields, which are all text."""
    texts = {name: _text(schema) for name, schema in fields.items()}
    attribute = {"type": "string", "maxLength": 256}
    return _object(
        {form_fields.FILE: _FILES, **texts},
        required=[form_fields.FILE],
        patternProperties={_ATTRIBUTE_FIELDS: attribute},
    )


def _text(schema: Json) -> Json:
    """Return the schema of a value that may be null as the one of its text."""
    (text,) = (one for one in schema["anyOf"] if one["type"] == "string")
    return dict(text)


SCHEMAS: Final[dict[str, Json]] = {
    "ImageBody": _object(
        {"image": _BASE64, "images": _list_of(_BASE64)},
        minProperties=1,
        maxProperties=1,
        description="Either one image, or a list of them, answered by a list of results.",
    ),
    "SingleImageBody": _object({"image": _BASE64}, required=["image"]),
    "SingleImageForm": _object(
        {form_fields.FILE: {**_FILES, "maxItems": 1}}, required=[form_fields.FILE]
    ),
    "LabelledImage": _object({"image": _BASE64, **_METADATA}, required=["image"]),
    "LabelledImageBody": _object(
        {"image": _BASE64, **_METADATA, "images": _list_of(_LABELLED_OR_NOT)},
        minProperties=1,
        description="Either one image with its metadata, or a list of such, answered by a list of "
        "results.",
    ),
    "ImageForm": _object({form_fields.FILE: _FILES}, required=[form_fields.FILE]),
    "LabelledImageForm": _labelled_form(label=_METADATA["label"], id=_METADATA["id"]),
    "Replacement": _object(
        {"image": _BASE64, "label": _METADATA["label"], "attributes": _METADATA["attributes"]},
        required=["image"],
    ),
    "ReplacementForm": _labelled_form(label=_METADATA["label"]),
    "GalleryEdit": GalleryEdit.model_json_schema(),
}
"""The schemas of bodies, by the names that the document gives them."""


def request_body(*, required: bool = True) -> Json:
    """Return the `openapi_extra` of a route that accepts images."""
    return _body(
        "ImageBody",
        "ImageForm",
        {"image": images.EXAMPLE},
        {"images": [images.EXAMPLE, images.EXAMPLE]},
        required=required,
    )


def single_image_body() -> Json:
    """Return the `openapi_extra` of a route that accepts one image."""
    return _body("SingleImageBody", "SingleImageForm", {"image": images.EXAMPLE})


def addition_body() -> Json:
    """Return the `openapi_extra` of a route that adds images with their metadata."""
    one = {"image": images.EXAMPLE, "label": "cat", "attributes": {"shelf": 3}}
    return _body("LabelledImageBody", "LabelledImageForm", one, {"images": [one, one]})


def replacement_body() -> Json:
    """Return the `openapi_extra` of a route that adds one image under the id in its path."""
    return _body("Replacement", "ReplacementForm", {"image": images.EXAMPLE, "label": "cat"})


def binary_response(*media_types: str) -> Json:
    """Return the `content` of a response that is a file.

    It is also described as bytes, because generators know those and omit responses of other types.
    """
    schema = {"schema": {"type": "string", "format": "binary"}}
    return dict.fromkeys((*media_types, OCTETS), schema)


def json_body(name: str) -> Json:
    """Return the `openapi_extra` of a route that accepts JSON of a named schema."""
    content = {"application/json": {"schema": _reference(name)}}
    return {"requestBody": {"required": True, "content": content}}


def _body(name: str, form_name: str, *examples: Json, required: bool = True) -> Json:
    names = ("one", "several")
    return {
        "requestBody": {
            "required": required,
            "description": "One image as it is, or one or several in a form or in JSON. The type "
            f"of an image as it is may also be its own, such as {MEDIA_TYPES['PNG']}. Several "
            "images are answered by a list of results. The other fields of a form count as "
            "parameters of the query.",
            "content": {
                OCTETS: {"schema": {"type": "string", "format": "binary", "minLength": 1}},
                form_fields.MEDIA_TYPE: {"schema": _reference(form_name)},
                "application/json": {
                    "schema": _reference(name),
                    "examples": {
                        which: {"summary": f"{which.capitalize()}", "value": example}
                        for which, example in zip(names, examples, strict=False)
                    },
                },
            },
        }
    }
