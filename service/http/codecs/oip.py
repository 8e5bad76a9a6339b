"""Converts tensors of the Open Inference Protocol (JSON and binary) to arrays and back.

In the binary extension a header gives the length of the JSON. The tensors follow it, raw and
little-endian, in the order in which the JSON names them. Each element of type BYTES is preceded by
its length in four bytes. Knows bytes and arrays; nothing of HTTP or of inference.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import MalformedBodyError
from service.http.codecs import base64_text, json_body
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
"""Bytes of the length before each element of type BYTES."""


@dataclass(frozen=True)
class OIPRequest:
    """A request, and the raw bytes of each input that follows its JSON."""

    request: InferRequest
    raw: Mapping[str, bytes]


@dataclass(frozen=True)
class OIPResponse:
    """A response body, and the length of its JSON if tensors follow."""

    body: bytes
    json_length: int | None


def parse(body: bytes, json_length: str | None, max_values: int) -> OIPRequest:
    """Parse a body; `json_length` is the value of its header, if there is one.

    Raises:
        MalformedBodyError: the lengths or the JSON are wrong; the message says which.
        TooLargeError: the JSON has more than `max_values` values.

    """
    length = len(body)
    if json_length is not None:
        if not _is_at_most(json_length, length):
            raise MalformedBodyError(
                f"The header gives {json_length[:20]!r} bytes of JSON, but the body has {length}."
            )
        length = int(json_length)
    request = json_body.read(InferRequest, body[:length], max_values)
    raw: dict[str, bytes] = {}
    position = length
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(body) - position:
            raise MalformedBodyError(
                f"Input {tensor.name!r} has a binary_data_size of {str(size)[:20]!r}, but "
                f"{len(body) - position} bytes follow the JSON."
            )
        raw[tensor.name] = body[position : position + size]
        position += size
    if position < len(body):
        raise MalformedBodyError(
            f"{len(body) - position} bytes at the end belong to no input: give each input its "
            "binary_data_size."
        )
    return OIPRequest(request, raw)


def pixels(infer_request: OIPRequest, tensor: InferInput, side: int) -> list[Pixels]:
    """Return the images of a UINT8 tensor [N, side, side, 3].

    Raises:
        MalformedBodyError: the tensor has another shape, or elements that are not bytes.

    """
    count = tensor.shape[0] if tensor.shape else 0
    if tensor.shape != [count, side, side, 3] or count < 1:
        raise MalformedBodyError(
            f"Input {tensor.name!r} of type UINT8 must have the shape [N, {side}, {side}, 3], with "
            f"N at least 1, not {tensor.shape}."
        )
    if tensor.name in infer_request.raw:
        flat = np.frombuffer(infer_request.raw[tensor.name], np.uint8)
    else:
        flat = _integers(tensor)
    if flat.size != np.prod(tensor.shape):
        raise MalformedBodyError(
            f"Input {tensor.name!r} has {flat.size} elements, which do not fill the shape "
            f"{tensor.shape}."
        )
    return list(flat.reshape(tensor.shape))


def files(infer_request: OIPRequest, tensor: InferInput) -> list[bytes]:
    """Return the elements of a BYTES tensor [N]; in JSON each is base64.

    Raises:
        MalformedBodyError: the tensor has another shape, or elements that are cut off.

    """
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]) or tensor.shape[0] < 1:
        raise MalformedBodyError(
            f"Input {tensor.name!r} of type BYTES must have the shape [N], not {tensor.shape}."
        )
    if tensor.name in infer_request.raw:
        elements = _elements(infer_request.raw[tensor.name])
        found = list(itertools.islice(elements, tensor.shape[0] + 1))
    else:
        found = _from_base64(tensor)
    if len(found) != tensor.shape[0] or not found:
        raise MalformedBodyError(
            f"Input {tensor.name!r} has {len(found)} elements, which do not fill the shape "
            f"{tensor.shape}."
        )
    return found


def write(
    outputs: Mapping[str, tuple[TensorMetadata, Array]],
    infer_request: InferRequest,
    head: Mapping[str, object],
) -> OIPResponse:
    """Write a response with the requested tensors, each in the JSON or after it.

    Args:
        outputs: every tensor that the model has, with its metadata.
        infer_request: names the tensors to write; if it names none, all are written.
        head: the other fields of the JSON.

    """
    requested = infer_request.outputs or [InferOutput(name=name) for name in outputs]
    binary_by_default = infer_request.parameters.get("binary_data_output", False)
    described, binary = [], []
    for output in requested:
        metadata, values = outputs[output.name]
        one: dict[str, object] = {
            "name": metadata.name,
            "datatype": metadata.datatype,
            "shape": list(values.shape),
        }
        if output.parameters.get("binary_data", binary_by_default):
            raw = _raw(metadata.datatype, values)
            one["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            one["data"] = values.ravel().tolist()
        described.append(one)
    text = json.dumps({**head, "outputs": described}).encode()
    return OIPResponse(b"".join((text, *binary)), len(text) if binary else None)


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
            raise MalformedBodyError("An element of type BYTES is cut off: check its length.")
        yield raw[start:position]


def _integers(tensor: InferInput) -> npt.NDArray[np.uint8]:
    """Read the elements of nested or flat lists; `bytes` accepts only integers from 0 to 255."""
    limit = math.prod(tensor.shape)
    values = list(itertools.islice(_flat(_data(tensor)), limit + 1))
    try:
        if any(isinstance(value, bool) for value in values):
            raise TypeError("a boolean is not a number")
        return np.frombuffer(bytes(values), np.uint8)
    except (TypeError, ValueError) as error:
        raise MalformedBodyError(
            f"Input {tensor.name!r} of type UINT8 must hold integers from 0 to 255."
        ) from error


def _from_base64(tensor: InferInput) -> list[bytes]:
    try:
        elements = itertools.islice(_flat(_data(tensor)), tensor.shape[0] + 1)
        return [base64_text.decode(one) for one in elements]
    except (AttributeError, TypeError, ValueError) as error:
        raise MalformedBodyError(
            f"In JSON, each element of input {tensor.name!r} must be a file as base64."
        ) from error


def _data(tensor: InferInput) -> Sequence[Any]:
    if tensor.data is None:
        raise MalformedBodyError(
            f"Input {tensor.name!r} has neither 'data' nor a 'binary_data_size': send one of them."
        )
    return tensor.data


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    """Flatten nested lists, in order. Not recursive: the client chooses the depth."""
    stack = [iter(values)]
    while stack:
        for value in stack[-1]:
            if isinstance(value, list):
                stack.append(iter(value))
                break
            yield value
        else:
            stack.pop()


def _is_at_most(number: str, limit: int) -> bool:
    """Return whether `number` is decimal and at most `limit`, without parsing any longer one."""
    return number.isdecimal() and len(number) <= len(str(limit)) and int(number) <= limit
