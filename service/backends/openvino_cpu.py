"""The bundle's ONNX network, compiled by OpenVINO for this CPU: bf16 where it multiplies that.

Of an optional package, so this module is imported only where it is chosen. It reads the file by
OpenVINO's runtime: the converter, which would tell its makers that it was used, is not called.
"""

from pathlib import Path
from typing import Final

import openvino as ov
import torch
from openvino.preprocess import PrePostProcessor

from service.backends import LAYERS, Found, batch_sizes, warm_up
from training.bundle import Layer, Novelty, Pixels, Precision, PrecisionChoice, Vectors

CPU: Final = "CPU"
_HINTS: Final[dict[Precision, ov.Type]] = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16}


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
        self._core = ov.Core()
        self._model = self._read(onnx)
        self._novelty = novelty
        self._threads = threads
        capable = "BF16" in self._core.get_property(CPU, "OPTIMIZATION_CAPABILITIES")
        self._precision: Precision = (
            precision if precision != "auto" else "bf16" if capable else "fp32"
        )
        self._request: ov.InferRequest | None = None

    @property
    def name(self) -> str:
        """What runs it."""
        return f"OpenVINO, {self._precision}, cpu"

    def prepare(self, max_batch: int) -> dict[Layer, int]:
        """Compile it, and run each power of two once: first times are slow."""
        # Novelty is the one thing left to torch here. Threads of its own would go on spinning for
        # a while after it, on cores that the network is given next.
        torch.set_num_threads(1)  # of the calling thread alone
        compiled = self._core.compile_model(self._model, CPU, self._options())
        self._request = compiled.create_infer_request()
        return warm_up(self, batch_sizes(max_batch))

    def run(self, images: Pixels) -> Found:
        """Represent uint8 [N, 3, 32, 32]."""
        assert self._request is not None  # noqa: S101 - the engine prepares before it runs
        self._request.infer({0: images.transpose(0, 2, 3, 1)}, share_inputs=True)
        layers = {layer: self._request.get_tensor(layer).data.copy() for layer in LAYERS}
        return Found(layers, self._novelty_of(layers["conv2"], layers["penultimate"]))

    @torch.inference_mode()
    def _novelty_of(self, conv2: Vectors, penultimate: Vectors) -> Vectors | None:
        if self._novelty is None:
            return None
        seen = (torch.from_numpy(conv2), torch.from_numpy(penultimate))
        novelty: Vectors = self._novelty(*seen).numpy()
        return novelty

    def _options(self) -> dict[str, object]:
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        return options | ({"INFERENCE_NUM_THREADS": self._threads} if self._threads else {})

    def _read(self, onnx: Path) -> ov.Model:
        """The network with its input as pictures lie in memory, so that nothing is copied."""
        prepared = PrePostProcessor(self._core.read_model(onnx.read_bytes()))
        prepared.input().tensor().set_layout(ov.Layout("NHWC"))
        prepared.input().model().set_layout(ov.Layout("NCHW"))
        return prepared.build()
