"""Runs the bundle's ONNX file by OpenVINO on the CPU.

Needs the optional package openvino, so import it only if this backend is chosen. The file is read
by OpenVINO's runtime and not by its converter, which sends telemetry.
"""

from collections.abc import Callable, Collection
from functools import cache
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import openvino as ov
from openvino.preprocess import PrePostProcessor

from service.engine.backends.base import (
    Backend,
    BatchOutput,
    ServedPrecision,
    batch_sizes,
    warm_up,
)
from service.engine.backends.int8 import fake_quantize
from service.engine.backends.openvino_heads import NoveltyHead, ProjectionHead
from training.bundle import (
    ActivationRanges,
    Layer,
    NetworkSpec,
    Novelty,
    Pixels,
    Projection,
    Vectors,
    processor_flags,
)

CPU: Final = "CPU"
THROUGHPUT_BATCH: Final = 32
"""Batch size from which each core runs parts of the batch, instead of a part of each layer."""
PARTS_PER_STREAM: Final = 2
"""Parts of a large batch for each core: if one is busy with the event loop, others take more."""


@cache
def _core() -> ov.Core:
    """Return the one core of the process, which is never destroyed.

    A core gives the thread that creates it a signal stack. If another thread destroys the core, as
    after a reload, the first thread's next signal ends the process.
    """
    return ov.Core()


class OpenVino(Backend):
    """A network compiled for the CPU."""

    def __init__(
        self,
        read_onnx: Callable[[], bytes],
        spec: NetworkSpec,
        novelty: Novelty | None = None,
        ranges: ActivationRanges | None = None,
        *,
        precision: ServedPrecision = "auto",
        intra_op_threads: int | None = None,
    ) -> None:
        """Parse the network; `prepare` compiles it.

        Args:
            read_onnx: reads the bundle's ONNX file, here and at the first request for more layers
                than the served ones.
            spec: the input and the layers of this network.
            novelty: the novelty model of this network.
            ranges: the activation ranges of this network; int8 needs them.
            precision: of multiplications. "auto" is int8 if the processor has instructions for it
                and the ranges are within tolerance; else bf16 if the processor has that.
            intra_op_threads: threads of the network; None leaves the choice to OpenVINO.

        """
        self._core = _core()
        self._read_onnx = read_onnx
        self._spec = spec
        self._novelty = novelty
        self._intra_op_threads = intra_op_threads
        self._float_type = ov.Type.bf16 if self._has("BF16") else ov.Type.f32
        if precision == "auto":
            int8 = ranges is not None and ranges.within_tolerance and _has_int8()
            precision = "int8" if int8 else "bf16" if self._has("BF16") else "fp32"
        if precision != "int8":
            ranges = None
            self._float_type = ov.Type.f32 if precision == "fp32" else ov.Type.bf16
        self._name = f"OpenVINO, {precision}, cpu"
        self._ranges = ranges
        self._parsed: ov.Model | None = self._parse()  # now, to refuse a damaged file
        self._networks: list[ov.CompiledModel] = []
        self._all_cores: ov.InferRequest | None = None
        self._parts: list[ov.InferRequest] = []
        self._every_layer: ov.InferRequest | None = None
        self._novelty_head: NoveltyHead | None = None
        self._projection_heads: WeakKeyDictionary[Projection, ProjectionHead] = WeakKeyDictionary()

    @property
    def spec(self) -> NetworkSpec:
        """The input and the layers of the network."""
        return self._spec

    @property
    def name(self) -> str:
        """The runtime, precision and device."""
        return self._name

    @property
    def device(self) -> str:
        """The device that the network runs on."""
        return "cpu"

    def prepare(self, max_batch_size: int) -> dict[Layer, int]:
        """Compile the network for small and for large batches, and warm both up.

        A small batch is fastest if all cores share each layer. But if one core is busy, as with the
        event loop, the others wait for it at each layer. A large batch, as in an overload, is
        therefore split into parts, and any core takes the next one.
        """
        if self._parsed is not None:
            hints = ["LATENCY", *(["THROUGHPUT"] if max_batch_size >= THROUGHPUT_BATCH else [])]
            self._networks = [self._compiled(self._parsed, hint) for hint in hints]
            self._parsed = None  # it has a copy of the weights
        # Created again for a new worker: the last one may have died while they were busy.
        self._all_cores = self._networks[0].create_infer_request()
        for compiled in self._networks[1:]:
            number = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            number = min(PARTS_PER_STREAM * number, THROUGHPUT_BATCH)  # no part is empty
            self._parts = [compiled.create_infer_request() for _ in range(number)]
        if self._novelty is not None:
            outputs = [self._networks[0].output(name) for name in self._spec.novelty]
            self._novelty_head = NoveltyHead(
                self._novelty,
                [output.partial_shape[1].get_length() for output in outputs],
                self._compiled_for_one_thread,
            )
        return warm_up(self, batch_sizes(max_batch_size))

    def run(
        self, images: Pixels, *, with_novelty: bool = True, further: Collection[Layer] = ()
    ) -> BatchOutput:
        """Embed uint8 [N, 3, side, side]."""
        assert self._all_cores is not None  # noqa: S101  `prepare` comes before `run`
        channels_last = images.transpose(0, 2, 3, 1)
        if not {*further} <= {*self._spec.explaining}:
            busy = [self._with_every_layer()]
            busy[0].infer({0: channels_last}, share_inputs=True)
        elif self._parts and len(images) >= THROUGHPUT_BATCH:
            busy = self._parts
            parts = np.array_split(channels_last, len(busy))
            for request, part in zip(busy, parts, strict=True):
                request.start_async({0: part}, share_inputs=True)
            for request in busy:
                request.wait()
        else:
            busy = [self._all_cores]
            self._all_cores.infer({0: channels_last}, share_inputs=True)
        layers = {
            layer: np.concatenate([request.get_tensor(layer).data for request in busy])
            for layer in (*self._spec.served, *further)
        }
        head = self._novelty_head if with_novelty else None
        texture, penultimate = self._spec.novelty
        novelty = None if head is None else head(layers[texture], layers[penultimate])
        return BatchOutput(layers, novelty)

    def project(self, projection: Projection, vectors: Vectors) -> Vectors:
        """Project vectors [N, dimension] for a search; the first call compiles a model."""
        if projection not in self._projection_heads:
            self._projection_heads[projection] = ProjectionHead(
                projection, self._compiled_for_one_thread
            )
        return self._projection_heads[projection](vectors)

    def _compiled_for_one_thread(self, model: ov.Model) -> ov.InferRequest:
        """Compile a small model at fp32: waiting for a second thread would take longer."""
        options = {"INFERENCE_PRECISION_HINT": ov.Type.f32, "INFERENCE_NUM_THREADS": 1}
        compiled = self._core.compile_model(model, CPU, {"PERFORMANCE_HINT": "LATENCY", **options})
        return compiled.create_infer_request()

    def close(self) -> None:
        """Release the network and its threads."""
        del self._all_cores, self._parts, self._every_layer, self._networks
        del self._parsed, self._novelty, self._read_onnx
        self._novelty_head = None
        self._projection_heads.clear()

    def _compiled(self, model: ov.Model, hint: str) -> ov.CompiledModel:
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": self._float_type,
            "PERFORMANCE_HINT": hint,
            "ENABLE_CPU_PINNING": hint == "LATENCY",  # else a part waits for its own busy core
        }
        if self._intra_op_threads:
            options["INFERENCE_NUM_THREADS"] = self._intra_op_threads
        return self._core.compile_model(model, CPU, options)

    def _has(self, capability: str) -> bool:
        return capability in self._core.get_property(CPU, "OPTIMIZATION_CAPABILITIES")

    def _with_every_layer(self) -> ov.InferRequest:
        """Return the network with all outputs, compiled at the first request that needs them.

        Every output takes time, and most requests need few.
        """
        if self._every_layer is None:
            compiled = self._compiled(self._parse(every_layer=True), "LATENCY")
            self._every_layer = compiled.create_infer_request()
        return self._every_layer

    def _parse(self, *, every_layer: bool = False) -> ov.Model:
        """Read the network with a channels-last input, so that images need not be copied."""
        model = self._core.read_model(self._read_onnx())
        needed = {*self._spec.served, *self._spec.explaining}
        for result in () if every_layer else model.get_results():
            if not needed & {*result.input_value(0).get_names()}:
                model.remove_result(result)
        if self._ranges:
            fake_quantize(model, self._ranges.inputs)
        prepared = PrePostProcessor(model)
        prepared.input().tensor().set_layout(ov.Layout("NHWC"))
        prepared.input().model().set_layout(ov.Layout("NCHW"))
        return prepared.build()


def _has_int8() -> bool:
    """Return whether the processor has int8 dot products; else bf16 or fp32 is as fast.

    OpenVINO itself lists int8 for every processor.
    """
    flags = processor_flags()
    if flags is None:
        import torch  # noqa: PLC0415  what Linux says at once

        flags = frozenset(name for name, has in torch.cpu.get_capabilities().items() if has)
    return not flags.isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8"})
