"""`/v2…`: the Open Inference Protocol, so that what speaks to Triton or KServe speaks to us.

The input `images` is pixels, UINT8 [N, 32, 32, 3], or picture files of any size, BYTES [N].
"""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from service import tensors
from service.errors import KindredError, MalformedBodyError, NotFoundError, TooLargeError
from service.intake import Pictures, decode
from service.problems import documented
from service.routes.common import POSTING, represent_each
from service.routes.health import readyz
from service.schemas import InferenceModel, InferenceServer, Ready
from service.state import Serving, State
from service.tensors import InferRequest, TensorNote
from training.bundle import SIZE

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

NAME = "kindred"
INPUT = TensorNote(name="images", datatype="UINT8", shape=(-1, SIZE, SIZE, 3))
JSON_LENGTH = "Inference-Header-Content-Length"

MODEL = f"/models/{NAME}"
VERSIONED = f"{MODEL}/versions/{{version}}"

BODY = {
    "requestBody": {
        "required": True,
        "description": "JSON, or, with the header Inference-Header-Content-Length, so many bytes "
        "of JSON and then the tensors.",
        "content": {
            "application/json": {"schema": InferRequest.model_json_schema()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
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
@router.get(VERSIONED, responses=documented(404))
async def metadata(serving: Serving, version: str = "") -> InferenceModel:
    """Describe the network: its input and its outputs."""
    _require_version(serving, version)
    return InferenceModel(
        name=NAME,
        versions=(serving.answers.model.version,),
        platform="pytorch",
        inputs=(INPUT,),
        outputs=serving.answers.outputs(serving.engine.dimensions),
    )


@router.get(f"{MODEL}/ready", responses=documented(503))
@router.get(f"{VERSIONED}/ready", responses=documented(404, 503))
async def model_ready(serving: Serving, version: str = "") -> Ready:
    """Say whether this network answers."""
    _require_version(serving, version)
    return await ready(serving)


@router.post(f"{MODEL}/infer", responses=documented(*POSTING), openapi_extra=BODY)
@router.post(f"{VERSIONED}/infer", responses=documented(*POSTING), openapi_extra=BODY)
async def infer(
    request: Request,
    serving: Serving,
    version: str = "",
    json_length: Annotated[str | None, Header(alias=JSON_LENGTH)] = None,
) -> Response:
    """Give the network's outputs for some images; where one of them fails, all do."""
    _require_version(serving, version)
    serving.engine.check_room()
    asked = tensors.parse(await request.body(), json_length)
    notes = {note.name: note for note in serving.answers.outputs(serving.engine.dimensions)}
    _require_known(asked.request, notes)
    pictures = await _pictures(serving, asked)
    found = []
    for image in await represent_each(request, serving, pictures):
        if isinstance(image, KindredError):
            raise image
        found.append(image)
    values = serving.answers.tensors(found)
    answer = tensors.write(
        {name: (notes[name], array) for name, array in values.items()},
        asked.request,
        {"model_name": NAME, "model_version": serving.answers.model.version}
        | ({} if asked.request.id is None else {"id": asked.request.id}),
    )
    if answer.json_length is None:
        return Response(answer.body, media_type="application/json")
    return Response(
        answer.body,
        media_type="application/octet-stream",
        headers={JSON_LENGTH: str(answer.json_length)},
    )


async def _pictures(serving: State, asked: tensors.Asked) -> Pictures:
    if [tensor.name for tensor in asked.request.inputs] != [INPUT.name]:
        raise MalformedBodyError(f"There is one input, {INPUT.name!r}.")
    (tensor,) = asked.request.inputs
    limits = serving.settings
    if tensor.shape and tensor.shape[0] > limits.max_images:
        raise TooLargeError(f"There are more than {limits.max_images} images in this request.")
    if tensor.datatype == "UINT8":
        return Pictures(tuple(tensors.pixels(asked, tensor, SIZE)), several=True)
    if tensor.datatype == "BYTES":
        return Pictures(
            tuple(
                [
                    await decode(file, limits.max_pixels, "crop", serving.decoders)
                    for file in tensors.files(asked, tensor)
                ]
            ),
            several=True,
        )
    raise MalformedBodyError(
        f"Input {INPUT.name!r} is of type UINT8 or BYTES, not {tensor.datatype!r}."
    )


def _require_known(asked: InferRequest, outputs: dict[str, TensorNote]) -> None:
    for wanted in asked.outputs or ():
        if wanted.name not in outputs:
            raise MalformedBodyError(
                f"There is no output {wanted.name!r}; there is {', '.join(outputs)}."
            )
        if "classification" in wanted.parameters:
            raise MalformedBodyError("Classification is not offered: ask for 'labels'.")


def _require_version(serving: State, version: str) -> None:
    if version not in ("", serving.answers.model.version):
        raise NotFoundError(
            f"No version {version!r} here; there is {serving.answers.model.version}."
        )
