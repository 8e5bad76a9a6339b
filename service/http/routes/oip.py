"""`/v2…`: the Open Inference Protocol, for clients of Triton and KServe.

The input `images` is pixels, UINT8 [N, side, side, 3], or image files of any size, BYTES [N].
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from service import concurrency
from service.engine.types import Priority
from service.errors import MalformedBodyError, NotFoundError, TooLargeError
from service.http.codecs import oip
from service.http.dependencies import UPLOAD_ERRORS, StateDep
from service.http.inference import embed_all
from service.http.problems import error_responses
from service.http.routes.health import readyz
from service.images import EXAMPLE
from service.schemas.oip import (
    MAX_ELEMENTS,
    MAX_ID_LENGTH,
    InferenceModel,
    InferenceServer,
    InferRequest,
    Ready,
    TensorMetadata,
)
from service.state import State
from training.bundle import Pixels

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

NAME = "kindred"
INPUT = "images"
"""The name of the input."""
OTHER_VALUES = 1024
"""Values allowed in a request's JSON, in addition to those of its images."""
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
        "name": {"type": "string", "enum": [INPUT]},
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
INFER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": ["string", "null"], "maxLength": MAX_ID_LENGTH},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
        "outputs": {"type": ["array", "null"], "items": _OUTPUT, "maxItems": MAX_ELEMENTS},
    },
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"JSON. With the header {JSON_LENGTH}: that many bytes of JSON, followed by "
        "the tensors.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InferRequest"},
                "example": {
                    "inputs": [
                        {"name": INPUT, "datatype": "BYTES", "shape": [1], "data": [EXAMPLE]}
                    ],
                    "outputs": [{"name": "labels"}, {"name": "probabilities"}],
                },
            },
            OCTETS: {"schema": {"type": "string", "format": "binary", "minLength": 1}},
        },
    }
}
INFER_RESPONSES = error_responses(*UPLOAD_ERRORS) | {
    200: {
        "description": f"The outputs; if any are binary, with the header {JSON_LENGTH}.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            OCTETS: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("/health/live")
async def live() -> Ready:
    """Report that the process is alive."""
    return Ready(ready=True)


@router.get("/health/ready", responses=error_responses(503))
async def ready(state: StateDep) -> Ready:
    """Report whether the service accepts images."""
    await readyz(state)
    return Ready(ready=True)


@router.get("")
async def server(state: StateDep) -> InferenceServer:
    """Return the server's metadata."""
    return InferenceServer(
        name=NAME, version=state.responses.model.version, extensions=("binary_tensor_data",)
    )


@router.get(MODEL)
async def metadata(state: StateDep) -> InferenceModel:
    """Return the model's metadata: its input and its outputs."""
    side = state.bundle.spec.side
    return InferenceModel(
        name=NAME,
        versions=(state.responses.model.version,),
        platform=state.engine.description.partition(",")[0].lower(),
        inputs=(TensorMetadata(name=INPUT, datatype="UINT8", shape=(-1, side, side, 3)),),
        outputs=state.responses.outputs(state.engine.dimensions),
    )


@router.get(VERSIONED, responses=error_responses(404, 422))
async def versioned_metadata(state: StateDep, version: str) -> InferenceModel:
    """Return the metadata of one version of the model."""
    _require_version(state, version)
    return await metadata(state)


@router.get(f"{MODEL}/ready", responses=error_responses(503))
async def model_ready(state: StateDep) -> Ready:
    """Report whether the model is ready."""
    return await ready(state)


@router.get(f"{VERSIONED}/ready", responses=error_responses(404, 422, 503))
async def versioned_ready(state: StateDep, version: str) -> Ready:
    """Report whether one version of the model is ready."""
    _require_version(state, version)
    return await ready(state)


@router.post(f"{MODEL}/infer", responses=INFER_RESPONSES, openapi_extra=BODY)
async def infer(request: Request, state: StateDep, json_length: JsonLength = None) -> Response:
    """Run the model on images; if one image fails, the request fails."""
    body = await request.body()
    available = {tensor.name: tensor for tensor in state.responses.outputs(state.engine.dimensions)}
    max_images, side = state.settings.max_client_batch_size, state.bundle.spec.side
    infer_request, sent = await concurrency.run_in_pool(
        lambda: _read(body, json_length, available, max_images, side), state.decoders
    )
    head: dict[str, object] = {"model_name": NAME, "model_version": state.responses.model.version}
    if infer_request.id is not None:
        head["id"] = infer_request.id

    with state.admission.permit(Priority.INTERACTIVE, len(sent)) as permit:
        embedded = await embed_all(request.scope, state, sent, "crop", permit)

        def write() -> oip.OIPResponse:
            values = state.responses.tensors(embedded)
            outputs = {name: (available[name], array) for name, array in values.items()}
            return oip.write(outputs, infer_request, head)

        answer = await concurrency.run_in_pool(write, state.searchers, permit.retain())
    if answer.json_length is None:
        return Response(answer.body, media_type="application/json")
    return Response(answer.body, media_type=OCTETS, headers={JSON_LENGTH: str(answer.json_length)})


@router.post(f"{VERSIONED}/infer", responses=INFER_RESPONSES, openapi_extra=BODY)
async def versioned_infer(
    request: Request, state: StateDep, version: str, json_length: JsonLength = None
) -> Response:
    """Run one version of the model on images."""
    _require_version(state, version)
    return await infer(request, state, json_length)


def _read(
    body: bytes,
    json_length: str | None,
    outputs: Mapping[str, TensorMetadata],
    max_images: int,
    side: int,
) -> tuple[InferRequest, list[Pixels] | list[bytes]]:
    """Parse a request; return it with its images: pixels, or files still to be decoded."""
    infer_request = oip.parse(body, json_length, max_images * side * side * 3 + OTHER_VALUES)
    requested = [one.name for one in infer_request.request.outputs or ()]
    for one in infer_request.request.outputs or ():
        if one.name not in outputs or requested.count(one.name) > 1:
            raise MalformedBodyError(
                f"Output {one.name!r} is unknown or requested twice; available: "
                f"{', '.join(outputs)}."
            )
        if "classification" in one.parameters:
            raise MalformedBodyError(
                "The classification extension is not supported: request the output 'labels'."
            )
    if [tensor.name for tensor in infer_request.request.inputs] != [INPUT]:
        raise MalformedBodyError(f"Send exactly one input, {INPUT!r}.")
    (tensor,) = infer_request.request.inputs
    if tensor.shape and tensor.shape[0] > max_images:
        raise TooLargeError(f"The request has more than {max_images} images: split it.")
    if tensor.datatype == "UINT8":
        return infer_request.request, oip.pixels(infer_request, tensor, side)
    if tensor.datatype == "BYTES":
        return infer_request.request, oip.files(infer_request, tensor)
    raise MalformedBodyError(
        f"Input {INPUT!r} must be of type UINT8 or BYTES, not {tensor.datatype!r}."
    )


def _require_version(state: State, version: str) -> None:
    if version not in ("", state.responses.model.version):
        raise NotFoundError(f"No version {version!r}; available: {state.responses.model.version}.")
