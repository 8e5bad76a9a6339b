"""Which backend runs the network of a bundle: what is asked for, else the fastest that is there.

Measured (`python -m benchmarks.serving.backends`): on at least 99.5 % of held-out images all others
have the class of torch at fp32, and at `conv2` a cosine of at least 0.999 to it. The fastest is
chosen. On a CPU this is OpenVINO, at int8 where the processor has instructions for it and the
bundle says that this moves little; else torch, at bf16 where the processor multiplies it. On a GPU
it is torch, as CUDA graphs.
"""

from importlib.util import find_spec
from typing import Literal

from service.engine.backends.base import Backend, ServedPrecision
from service.engine.backends.torch_eager import TorchEager
from service.engine.backends.torch_graphs import TorchGraphs
from training.bundle import Bundle, BundleError, pick_device, pick_precision

BackendChoice = Literal["auto", "torch", "openvino"]


def open_backend(
    bundle: Bundle,
    *,
    engine: BackendChoice = "auto",
    device: str = "auto",
    precision: ServedPrecision = "auto",
    threads: int | None = None,
) -> Backend:
    """What runs this bundle's network; it is not ready before `prepare`.

    `auto` leaves OpenVINO out where it is not installed, or the bundle is an older one that has no
    ONNX file.

    Raises:
        BundleError: OpenVINO or int8 is asked for by name, and the bundle has no file for it.
        DeviceError: the device is not there.

    """
    if precision == "int8" and bundle.ranges is None:
        raise BundleError(
            f"{bundle.path} does not say how to run its network at int8: build the bundle anew, or "
            "leave KINDRED_PRECISION at auto"
        )
    if engine == "openvino":
        if bundle.onnx is None:
            raise BundleError(
                f"{bundle.path} has no network in ONNX, which OpenVINO needs: build the bundle "
                "anew, or set KINDRED_BACKEND=torch"
            )
        device = "cpu"
    where = pick_device(device)
    fits = where.type == "cpu" and bundle.onnx is not None and has_openvino()
    if bundle.onnx and (engine == "openvino" or (engine == "auto" and fits)):
        from service.engine.backends.openvino_cpu import OpenVino  # noqa: PLC0415 - of an optional package

        try:
            return OpenVino(
                bundle.onnx, bundle.novelty, bundle.ranges, precision=precision, threads=threads
            )
        except RuntimeError as error:
            raise BundleError(f"OpenVINO cannot read {bundle.onnx}: {error}") from error
    if precision == "int8":
        raise BundleError(
            "only OpenVINO runs networks at int8: install it, on a CPU, or leave KINDRED_PRECISION "
            "at auto"
        )
    torch_backend = TorchGraphs if where.type == "cuda" else TorchEager
    return torch_backend(
        bundle.network,
        bundle.novelty,
        device=where,
        precision=pick_precision(precision, where),
        threads=threads,
    )


def has_openvino() -> bool:
    """Whether the optional package is installed."""
    return find_spec("openvino") is not None
