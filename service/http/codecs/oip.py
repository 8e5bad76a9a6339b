"""The Open Inference Protocol's tensors, as JSON and in its binary extension, to arrays and back.

Binary: the first bytes of a body are JSON, as many as a header says; then come the tensors, raw and
little-endian, in the order in which the JSON names them, each as long as it says there. An element
of type BYTES is its length in four bytes, then itself. Knows bytes and arrays; nothing of HTTP or
of the network.
"""

import base64
import binascii
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import MalformedBodyError
from service.http.codecs import json_body
from service.schemas.oip import (
    Array,
    Datatype,
    InferInput,
    InferOutput,
    InferRequest,
    TensorMetadata,
)
from training.bundle import Pixels

LENGTH_BYTES = 4
"""Of the length before each element of type BYTES."""


@dataclass(frozen=True)
class OIPRequest:
    """A request, and the raw bytes of each input that came behind its JSON."""

    request: InferRequest
    raw: Mapping[str, bytes]


@dataclass(frozen=True)
class OIPResponse:
    """A body, and how long its JSON is where tensors come behind it."""

    body: bytes
    json_length: int | None


def parse(body: bytes, json_length: str | None, most: int) -> OIPRequest:
    """Read a body; `json_length` is its header, if there was one.

    Raises:
        MalformedBodyError: lengths or JSON are not what they should be; says which.
        TooLargeError: the JSON has more than `most` values.

    """
    length = len(body)
    if json_length is not None:
        if not _is_at_most(json_length, length):
            raise MalformedBodyError(
                f"The header says that the JSON has {json_length[:20]!r} bytes; the body has "
                f"{length}."
            )
        length = int(json_length)
    request = json_body.read(InferRequest, body[:length], most)
    raw: dict[str, bytes] = {}
    position = length
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(body) - position:
            raise MalformedBodyError(
                f"Input {tensor.name!r} says that {str(size)[:20]!r} bytes are behind the JSON; "
                f"{len(body) - position} are left."
            )
        raw[tensor.name] = body[position : position + size]
        position += size
    if position < len(body):
        raise MalformedBodyError(f"{len(body) - position} bytes at the end belong to no input.")
    return OIPRequest(request, raw)


def pixels(infer_request: OIPRequest, tensor: InferInput, side: int) -> list[Pixels]:
    """The images of a UINT8 tensor [N, side, side, 3].

    Raises:
        MalformedBodyError: another shape, or elements that are not bytes.

    """
    count = tensor.shape[0] if tensor.shape else 0
    if tensor.shape != [count, side, side, 3] or count < 1:
        raise MalformedBodyError(
            f"Input {tensor.name!r} of type UINT8 has the shape [N, {side}, {side}, 3], with N at "
            f"least 1, not {tensor.shape}."
        )
    if tensor.name in infer_request.raw:
        flat = np.frombuffer(infer_request.raw[tensor.name], np.uint8)
    else:
        flat = _integers(tensor)
    if flat.size != np.prod(tensor.shape):
        raise MalformedBodyError(
            f"Input {tensor.name!r} has {flat.size} elements, and not those of {tensor.shape}."
        )
    return list(flat.reshape(tensor.shape))


def files(infer_request: OIPRequest, tensor: InferInput) -> list[bytes]:
    """The elements of a BYTES tensor [N]; in JSON each is base64.

    Raises:
        MalformedBodyError: another shape, or elements that are cut off.

    """
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]) or tensor.shape[0] < 1:
        raise MalformedBodyError(
            f"Input {tensor.name!r} of type BYTES has the shape [N], not {tensor.shape}."
        )
    if tensor.name in infer_request.raw:
        elements = _elements(infer_request.raw[tensor.name])
        found = list(itertools.islice(elements, tensor.shape[0] + 1))
    else:
        found = _from_base64(tensor)
    if len(found) != tensor.shape[0] or not found:
        raise MalformedBodyError(
            f"Input {tensor.name!r} has {len(found)} elements, and its shape says {tensor.shape}."
        )
    return found


def write(
    outputs: Mapping[str, tuple[TensorMetadata, Array]],
    infer_request: InferRequest,
    head: Mapping[str, object],
) -> OIPResponse:
    """The answer, with the tensors that were asked for, each in JSON or behind it.

    Args:
        outputs: every tensor there is, with its note.
        asked: names some of them, or none for all.
        head: the rest of the JSON.

    """
    names = infer_request.outputs or [InferOutput(name=name) for name in outputs]
    binary_by_default = infer_request.parameters.get("binary_data_output", False)
    described, behind = [], []
    for wanted in names:
        note, values = outputs[wanted.name]
        one: dict[str, object] = {
            "name": note.name,
            "datatype": note.datatype,
            "shape": list(values.shape),
        }
        if wanted.parameters.get("binary_data", binary_by_default):
            raw = _raw(note.datatype, values)
            one["parameters"] = {"binary_data_size": len(raw)}
            behind.append(raw)
        else:
            one["data"] = values.ravel().tolist()
        described.append(one)
    text = json.dumps({**head, "outputs": described}).encode()
    return OIPResponse(b"".join((text, *behind)), len(text) if behind else None)


def _raw(datatype: Datatype, values: Array) -> bytes:
    if datatype != "BYTES":
        return np.ascontiguousarray(values, np.dtype("<f4")).tobytes()
    encoded = [str(value).encode() for value in values.ravel()]
    return b"".join(len(one).to_bytes(LENGTH_BYTES, "little") + one for one in encoded)


def _elements(raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(raw[position:start], "little")
        if start > len(raw) or position > len(raw):
            raise MalformedBodyError("An element of type BYTES is cut off.")
        yield raw[start:position]


def _integers(tensor: InferInput) -> npt.NDArray[np.uint8]:
    """The elements of nested or flat lists; `bytes` takes whole numbers from 0 to 255 alone."""
    most = math.prod(tensor.shape)
    values = list(itertools.islice(_flat(_data(tensor)), most + 1))
    try:
        if any(isinstance(value, bool) for value in values):
            raise TypeError("true is no number")
        return np.frombuffer(bytes(values), np.uint8)
    except (TypeError, ValueError) as error:
        raise MalformedBodyError(
            f"Input {tensor.name!r} holds whole numbers from 0 to 255."
        ) from error


def _from_base64(tensor: InferInput) -> list[bytes]:
    try:
        elements = itertools.islice(_flat(_data(tensor)), tensor.shape[0] + 1)
        return [base64.b64decode(one, validate=True) for one in elements]
    except (binascii.Error, TypeError, ValueError) as error:
        raise MalformedBodyError(
            f"In JSON, each element of input {tensor.name!r} is a file as base64."
        ) from error


def _data(tensor: InferInput) -> Sequence[Any]:
    if tensor.data is None:
        raise MalformedBodyError(
            f"Input {tensor.name!r} has neither 'data' nor a 'binary_data_size'."
        )
    return tensor.data


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    """The elements of lists in lists, in order, without recursion: depth is the sender's choice."""
    stack = [iter(values)]
    while stack:
        for value in stack[-1]:
            if isinstance(value, list):
                stack.append(iter(value))
                break
            yield value
        else:
            stack.pop()


def _is_at_most(number: str, most: int) -> bool:
    """Whether this is a number in digits, and no larger; however many digits there are."""
    return number.isdecimal() and len(number) <= len(str(most)) and int(number) <= most
