"""`/v2…`: the Open Inference Protocol, so that what speaks to Triton or KServe speaks to us.

The input `images` is pixels, UINT8 [N, 32, 32, 3], or picture files of any size, BYTES [N].
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from service import concurrency
from service.errors import KindredError, MalformedBodyError, NotFoundError, TooLargeError
from service.http.codecs import oip
from service.http.codecs.images import Pictures, decode
from service.http.dependencies import POSTING, Serving
from service.http.inference import off_the_loop, represent_each
from service.http.problems import documented
from service.http.routes.health import readyz
from service.images import EXAMPLE
from service.schemas.oip import (
    MOST,
    MOST_ID,
    InferenceModel,
    InferenceServer,
    InferRequest,
    Ready,
    TensorNote,
)
from service.state import State
from service.telemetry.timings import timings_of
from training.bundle import SIZE, Pixels

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

NAME = "kindred"
INPUT = TensorNote(name="images", datatype="UINT8", shape=(-1, SIZE, SIZE, 3))
INPUT_BYTES = SIZE * SIZE * 3
OTHER_VALUES = 1024
"""Values in a request's JSON, besides those of its images."""
JSON_LENGTH = "Inference-Header-Content-Length"

MODEL = f"/models/{NAME}"
VERSIONED = f"{MODEL}/versions/{{version}}"

OCTETS = "application/octet-stream"

JsonLength = Annotated[str | None, Header(alias=JSON_LENGTH, include_in_schema=False)]

_PARAMETERS: dict[str, Any] = {"type": "object"}  # Any: FastAPI's own type of `openapi_extra`
_TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string", "enum": [INPUT.name]},
        "datatype": {"type": "string", "enum": ["UINT8", "BYTES"]},
        "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 4},
        "parameters": _PARAMETERS,
        "data": {"type": ["array", "null"], "items": {}},
    },
}
_OUTPUT: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"JSON; or, with the header {JSON_LENGTH}, so many bytes of JSON and then "
        "the tensors.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": ["string", "null"], "maxLength": MOST_ID},
                        "parameters": _PARAMETERS,
                        "inputs": {
                            "type": "array",
                            "items": _TENSOR,
                            "minItems": 1,
                            "maxItems": 1,
                        },
                        "outputs": {
                            "type": ["array", "null"],
                            "items": _OUTPUT,
                            "maxItems": MOST,
                        },
                    },
                },
                "example": {
                    "inputs": [
                        {
                            "name": INPUT.name,
                            "datatype": "BYTES",
                            "shape": [1],
                            "data": [EXAMPLE],
                        }
                    ],
                    "outputs": [{"name": "labels"}, {"name": "probabilities"}],
                },
            },
            OCTETS: {"schema": {"type": "string", "format": "binary", "minLength": 1}},
        },
    }
}
INFERRED = documented(*POSTING) | {
    200: {
        "description": f"The outputs; where one is asked for in binary, with {JSON_LENGTH}.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            OCTETS: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("/health/live")
async def live() -> Ready:
    """Say that the process answers."""
    return Ready(ready=True)


@router.get("/health/ready", responses=documented(503))
async def ready(serving: Serving) -> Ready:
    """Say whether pictures are taken."""
    await readyz(serving)
    return Ready(ready=True)


@router.get("")
async def server(serving: Serving) -> InferenceServer:
    """Describe the server."""
    return InferenceServer(
        name=NAME, version=serving.answers.model.version, extensions=("binary_tensor_data",)
    )


@router.get(MODEL)
async def metadata(serving: Serving) -> InferenceModel:
    """Describe the network: its input and its outputs."""
    return InferenceModel(
        name=NAME,
        versions=(serving.answers.model.version,),
        platform=serving.engine.runs_on.partition(",")[0].lower(),
        inputs=(INPUT,),
        outputs=serving.answers.outputs(serving.engine.dimensions),
    )


@router.get(VERSIONED, responses=documented(404, 422))
async def versioned_metadata(serving: Serving, version: str) -> InferenceModel:
    """Describe the network of that version."""
    _require_version(serving, version)
    return await metadata(serving)


@router.get(f"{MODEL}/ready", responses=documented(503))
async def model_ready(serving: Serving) -> Ready:
    """Say whether the network answers."""
    return await ready(serving)


@router.get(f"{VERSIONED}/ready", responses=documented(404, 422, 503))
async def versioned_ready(serving: Serving, version: str) -> Ready:
    """Say whether the network of that version answers."""
    _require_version(serving, version)
    return await ready(serving)


@router.post(f"{MODEL}/infer", responses=INFERRED, openapi_extra=BODY)
async def infer(request: Request, serving: Serving, json_length: JsonLength = None) -> Response:
    """Give the network's outputs for some images; where one of them fails, all do."""
    body = await request.body()
    notes = {note.name: note for note in serving.answers.outputs(serving.engine.dimensions)}
    most = serving.settings.max_images
    asked, sent = await concurrency.run(
        lambda: _read(body, json_length, notes, most), serving.decoders
    )
    with serving.room_to_decode(len(sent)), timings_of(request.scope).measure("decode"):
        images = [
            await decode(one, serving.settings.max_pixels, "crop", serving.decoders)
            if isinstance(one, bytes)
            else one
            for one in sent
        ]
    found = []
    for image in await represent_each(request, serving, Pictures(tuple(images), several=True)):
        if isinstance(image, KindredError):
            raise image
        found.append(image)
    head: dict[str, object] = {
        "model_name": NAME,
        "model_version": serving.answers.model.version,
    }
    if asked.id is not None:
        head["id"] = asked.id

    def write() -> oip.Answered:
        values = serving.answers.tensors(found)
        outputs = {name: (notes[name], array) for name, array in values.items()}
        return oip.write(outputs, asked, head)

    answer = await off_the_loop(serving, len(found), write)
    if answer.json_length is None:
        return Response(answer.body, media_type="application/json")
    return Response(
        answer.body,
        media_type=OCTETS,
        headers={JSON_LENGTH: str(answer.json_length)},
    )


@router.post(f"{VERSIONED}/infer", responses=INFERRED, openapi_extra=BODY)
async def versioned_infer(
    request: Request, serving: Serving, version: str, json_length: JsonLength = None
) -> Response:
    """Give the outputs of the network of that version."""
    _require_version(serving, version)
    return await infer(request, serving, json_length)


def _read(
    body: bytes, json_length: str | None, outputs: Mapping[str, TensorNote], most: int
) -> tuple[InferRequest, list[Pixels] | list[bytes]]:
    """What is asked, and the images: pixels, or files still to be decoded."""
    asked = oip.parse(body, json_length, most * INPUT_BYTES + OTHER_VALUES)
    wanted = [one.name for one in asked.request.outputs or ()]
    for one in asked.request.outputs or ():
        if one.name not in outputs or wanted.count(one.name) > 1:
            raise MalformedBodyError(
                f"Outputs are asked for by name, each once; there is no second or other "
                f"{one.name!r}, there is {', '.join(outputs)}."
            )
        if "classification" in one.parameters:
            raise MalformedBodyError("Classification is not offered: ask for 'labels'.")
    if [tensor.name for tensor in asked.request.inputs] != [INPUT.name]:
        raise MalformedBodyError(f"There is one input, {INPUT.name!r}.")
    (tensor,) = asked.request.inputs
    if tensor.shape and tensor.shape[0] > most:
        raise TooLargeError(f"There are more than {most} images in this request.")
    if tensor.datatype == "UINT8":
        return asked.request, oip.pixels(asked, tensor, SIZE)
    if tensor.datatype == "BYTES":
        return asked.request, oip.files(asked, tensor)
    raise MalformedBodyError(
        f"Input {INPUT.name!r} is of type UINT8 or BYTES, not {tensor.datatype!r}."
    )


def _require_version(serving: State, version: str) -> None:
    if version not in ("", serving.answers.model.version):
        raise NotFoundError(
            f"No version {version!r} here; there is {serving.answers.model.version}."
        )
