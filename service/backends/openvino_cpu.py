"""The bundle's ONNX network, compiled by OpenVINO for this CPU: bf16 where it multiplies that.

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

from service.backends import LAYERS, Found, batch_sizes, warm_up
from training.bundle import Layer, Novelty, Pixels, Precision, PrecisionChoice, Vectors

CPU: Final = "CPU"
SHARED_OUT: Final = 48
"""Images from which a batch is shared out to the cores, rather than every step of it."""
_HINTS: Final[dict[Precision, ov.Type]] = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16}


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
        *,
        precision: PrecisionChoice = "auto",
        threads: int | None = None,
    ) -> None:
        """Read the network now, so that the file may go; it is compiled by `prepare`.

        Args:
            onnx: the bundle's file.
            novelty: of this network.
            precision: of the multiplications; auto is bf16 where the processor has it.
            threads: of the network; OpenVINO's own choice where None.

        """
        self._core = _core()
        self._model = self._read(onnx)
        self._novelty = novelty
        self._threads = threads
        capable = "BF16" in self._core.get_property(CPU, "OPTIMIZATION_CAPABILITIES")
        self._precision: Precision = (
            precision if precision != "auto" else "bf16" if capable else "fp32"
        )
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
        if max_batch >= SHARED_OUT:
            compiled = self._compiled("THROUGHPUT")
            number = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            number = min(number, SHARED_OUT)  # no part is empty
            self._each_core = [compiled.create_infer_request() for _ in range(number)]
        return warm_up(self, batch_sizes(max_batch))

    def run(self, images: Pixels) -> Found:
        """Represent uint8 [N, 3, 32, 32]."""
        assert self._all_cores is not None  # noqa: S101 - the engine prepares before it runs
        pictures = images.transpose(0, 2, 3, 1)
        if self._each_core and len(images) >= SHARED_OUT:
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
        return Found(layers, self._novelty_of(layers["conv2"], layers["penultimate"]))

    @torch.inference_mode()
    def _novelty_of(self, conv2: Vectors, penultimate: Vectors) -> Vectors | None:
        if self._novelty is None:
            return None
        seen = (torch.from_numpy(conv2), torch.from_numpy(penultimate))
        novelty: Vectors = self._novelty(*seen).numpy()
        return novelty

    def _compiled(self, hint: str) -> ov.CompiledModel:
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "PERFORMANCE_HINT": hint,
        }
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = self._threads
        return self._core.compile_model(self._model, CPU, options)

    def _read(self, onnx: Path) -> ov.Model:
        """The network with its input as pictures lie in memory, so that nothing is copied."""
        prepared = PrePostProcessor(self._core.read_model(onnx.read_bytes()))
        prepared.input().tensor().set_layout(ov.Layout("NHWC"))
        prepared.input().model().set_layout(ov.Layout("NCHW"))
        return prepared.build()
