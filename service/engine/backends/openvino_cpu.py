"""The bundle's ONNX network, compiled by OpenVINO for this CPU, in the fastest of its numbers.

Of an optional package, so this module is imported only where it is chosen. It reads the file by
OpenVINO's runtime: the converter, which would tell its makers that it was used, is not called.
"""

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import openvino as ov
import torch
from openvino.preprocess import PrePostProcessor

from service.engine.backends.base import LAYERS, BatchOutput, ServedPrecision, batch_sizes, warm_up
from service.engine.backends.int8 import fake_quantize
from training.bundle import ActivationRanges, Layer, Novelty, Pixels, Vectors

CPU: Final = "CPU"
THROUGHPUT_BATCH: Final = 48
"""Images from which a batch is shared out to the cores, rather than every step of it."""


@cache
def _core() -> ov.Core:
    """One for the whole process, never to go.

    It gives the thread that first asks it a stack for signals. When it goes in another thread, as
    with a bundle that is not served any more, that stack goes too, and the thread's next signal
    ends the process.
    """
    return ov.Core()


class OpenVino:
    """One compiled network, asked for one batch at a time."""

    def __init__(
        self,
        onnx: Path,
        novelty: Novelty | None = None,
        ranges: ActivationRanges | None = None,
        *,
        precision: ServedPrecision = "auto",
        threads: int | None = None,
    ) -> None:
        """Read the network now, so that the file may go; it is compiled by `prepare`.

        Args:
            onnx: the bundle's file.
            novelty: of this network.
            ranges: of this network; int8 needs them.
            precision: of the multiplications; auto is int8 where the processor has instructions for
                it and it moves little, else bf16 where it has those.
            threads: of the network; OpenVINO's own choice where None.

        """
        self.device = torch.device("cpu")
        self._core = _core()
        self._novelty = novelty
        self._threads = threads
        self._rest = ov.Type.bf16 if self._has("BF16") else ov.Type.f32
        if precision == "auto":
            whole = ranges is not None and ranges.within_tolerance and _has_int8()
            precision = "int8" if whole else "bf16" if self._has("BF16") else "fp32"
        if precision != "int8":
            ranges = None
            self._rest = ov.Type.f32 if precision == "fp32" else ov.Type.bf16
        self._precision = precision
        self._model = self._read(onnx, ranges)
        self._all_cores: ov.InferRequest | None = None
        self._each_core: list[ov.InferRequest] = []

    @property
    def name(self) -> str:
        """What runs it."""
        return f"OpenVINO, {self._precision}, cpu"

    def prepare(self, max_batch: int) -> dict[Layer, int]:
        """Compile it twice, and run each power of two once: first times are slow.

        A batch is fastest where every step of it has all cores. But where one of them does
        something else, as an event loop does, the others wait for it at each step. That is worth
        it while there are cores to spare; a batch as large as an overload makes goes in parts, each
        of which a core runs by itself.
        """
        # Novelty is the one thing left to torch here. Threads of its own would go on spinning for
        # a while after it, on cores that the network is given next.
        torch.set_num_threads(1)
        self._all_cores = self._compiled("LATENCY").create_infer_request()
        if max_batch >= THROUGHPUT_BATCH:
            compiled = self._compiled("THROUGHPUT")
            number = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            number = min(number, THROUGHPUT_BATCH)  # no part is empty
            self._each_core = [compiled.create_infer_request() for _ in range(number)]
        return warm_up(self, batch_sizes(max_batch))

    def run(self, images: Pixels) -> BatchOutput:
        """Represent uint8 [N, 3, 32, 32]."""
        assert self._all_cores is not None  # noqa: S101 - the engine prepares before it runs
        pictures = images.transpose(0, 2, 3, 1)
        if self._each_core and len(images) >= THROUGHPUT_BATCH:
            busy = self._each_core
            parts = np.array_split(pictures, len(busy))
            for request, part in zip(busy, parts, strict=True):
                request.start_async({0: part}, share_inputs=True)
            for request in busy:
                request.wait()
        else:
            busy = [self._all_cores]
            self._all_cores.infer({0: pictures}, share_inputs=True)
        layers = {
            layer: np.concatenate([request.get_tensor(layer).data for request in busy])
            for layer in LAYERS
        }
        return BatchOutput(layers, self._novelty_of(layers["conv2"], layers["penultimate"]))

    @torch.inference_mode()
    def _novelty_of(self, conv2: Vectors, penultimate: Vectors) -> Vectors | None:
        if self._novelty is None:
            return None
        seen = (torch.from_numpy(conv2), torch.from_numpy(penultimate))
        novelty: Vectors = self._novelty(*seen).numpy()
        return novelty

    def _compiled(self, hint: str) -> ov.CompiledModel:
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": self._rest,
            "PERFORMANCE_HINT": hint,
        }
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = self._threads
        return self._core.compile_model(self._model, CPU, options)

    def _has(self, capability: str) -> bool:
        return capability in self._core.get_property(CPU, "OPTIMIZATION_CAPABILITIES")

    def _read(self, onnx: Path, ranges: ActivationRanges | None) -> ov.Model:
        """The network with its input as pictures lie in memory, so that nothing is copied."""
        model = self._core.read_model(onnx.read_bytes())
        if ranges:
            fake_quantize(model, ranges.inputs)
        prepared = PrePostProcessor(model)
        prepared.input().tensor().set_layout(ov.Layout("NHWC"))
        prepared.input().model().set_layout(ov.Layout("NCHW"))
        return prepared.build()


def _has_int8() -> bool:
    """Whether the processor multiplies and adds bytes at once: without, bf16 or fp32 is as fast.

    OpenVINO counts int8 among what every processor is capable of.
    """
    has = torch.cpu.get_capabilities()
    return any(has.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))
