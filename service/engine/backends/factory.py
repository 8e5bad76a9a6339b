"""Chooses the backend of a bundle: the one that a setting names, else the fastest available.

On a CPU the fastest is OpenVINO: at int8 if the processor has instructions for it and the bundle's
activation ranges are within tolerance. Without OpenVINO it is torch, at bf16 if the processor has
that. On a GPU it is torch with CUDA graphs. A network whose rounding was not measured runs at fp32.
All agree with torch at fp32: the same class on at least 99.5 % of held-out images, cosine at the
first searched layer at least 0.999 (`python -m benchmarks.serving.backends`).
"""

from importlib.util import find_spec
from typing import Literal

from service.engine.backends.base import Backend, ServedPrecision
from training.bundle import Bundle, BundleError, PrecisionChoice, may_have_gpu

BackendChoice = Literal["auto", "torch", "openvino"]


def open_backend(
    bundle: Bundle,
    *,
    backend: BackendChoice = "auto",
    device: str = "auto",
    precision: ServedPrecision = "auto",
    intra_op_threads: int | None = None,
) -> Backend:
    """Return the backend of a bundle, not yet prepared.

    With "auto", OpenVINO is used only if it is installed and the bundle has an ONNX file.

    Raises:
        BundleError: the bundle has no file for the backend or precision that is named.
        DeviceError: the device is not available.

    """
    if precision == "int8" and bundle.ranges is None:
        raise BundleError(
            f"{bundle.path} has no activation ranges, which int8 needs: build the bundle again, or "
            "set KINDRED_PRECISION=auto"
        )
    if precision == "auto" and bundle.ranges is None:
        precision = "fp32"  # what rounding does to this network has not been measured
    if backend == "openvino":
        if bundle.onnx is None:
            raise BundleError(
                f"{bundle.path} has no ONNX file, which OpenVINO needs: build the bundle again, or "
                "set KINDRED_BACKEND=torch"
            )
        device = "cpu"
    where = _device_name(device)
    fits = where == "cpu" and bundle.onnx is not None and has_openvino()
    if bundle.onnx and (backend == "openvino" or (backend == "auto" and fits)):
        from service.engine.backends.openvino_cpu import OpenVino  # noqa: PLC0415  optional package

        try:
            return OpenVino(
                bundle.read_onnx,
                bundle.spec,
                bundle.novelty,
                bundle.ranges,
                precision=precision,
                intra_op_threads=intra_op_threads,
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())  # it has several lines
            raise BundleError(f"OpenVINO cannot read {bundle.onnx}: {reason}") from error
    if precision == "int8":
        raise BundleError(
            "only OpenVINO on a CPU runs int8: pip install '.[openvino]' in the checkout, or "
            "set KINDRED_PRECISION=auto"
        )
    return _open_torch(bundle, where, precision, intra_op_threads)


def _device_name(choice: str) -> str:
    """Return the name of a device. Where there can be no GPU, PyTorch is not imported.

    Raises:
        DeviceError: the device is not available.

    """
    if choice == "cpu" or (choice == "auto" and not may_have_gpu()):
        return "cpu"
    from training.bundle.network import pick_device  # noqa: PLC0415  imports PyTorch

    return str(pick_device(choice))


def _open_torch(
    bundle: Bundle, device: str, precision: PrecisionChoice, intra_op_threads: int | None
) -> Backend:
    import torch  # noqa: PLC0415  takes seconds and 300 MB, which OpenVINO does without

    from service.engine.backends.torch_eager import TorchEager  # noqa: PLC0415
    from service.engine.backends.torch_graphs import TorchGraphs  # noqa: PLC0415
    from training.bundle.network import pick_precision  # noqa: PLC0415

    backend = TorchGraphs if device.startswith("cuda") else TorchEager
    return backend(
        bundle.network,
        bundle.novelty,
        bundle.spec,
        device=device,
        precision=pick_precision(precision, torch.device(device)),
        intra_op_threads=intra_op_threads,
    )


def has_openvino() -> bool:
    """Return whether the optional package is installed."""
    return find_spec("openvino") is not None
