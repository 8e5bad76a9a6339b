"""The names of precisions and devices, and what Linux says of the hardware. Needs no PyTorch."""

import sys
from pathlib import Path
from typing import Final, Literal

Precision = Literal["fp32", "bf16"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]

_GPU_DRIVERS: Final = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Files of the GPU drivers on Linux: NVIDIA's, that of Windows' subsystem, AMD's."""


class DeviceError(RuntimeError):
    """The requested device is not available; the message lists those that are."""


def may_have_gpu() -> bool:
    """Return whether a GPU may be there. Only Linux tells that there is none."""
    return sys.platform != "linux" or any(Path(file).exists() for file in _GPU_DRIVERS)


def processor_flags() -> frozenset[str] | None:
    """Return the names of the processor's instruction sets; None if only PyTorch can tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next(
        (frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")),
        None,
    )
