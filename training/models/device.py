"""Where and how precisely a network runs: `auto`, `cpu`, `cuda[:n]`; `fp32`, `bf16`.

Knows nothing of networks or data. The service uses it too, through `training.bundle`.
"""

from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]


class DeviceError(RuntimeError):
    """The device asked for is not there."""


def pick_device(choice: str = "auto") -> torch.device:
    """The device of that name; `auto` is the first GPU where there is one, else the CPU.

    Raises:
        DeviceError: no such device on this machine; says which there are.

    """
    if choice == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    wanted = "cuda:0" if choice == "cuda" else choice
    if wanted not in names:
        raise DeviceError(f"no device {choice!r} here; there is {', '.join(names)} (or 'auto')")
    return torch.device(wanted)


def pick_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """`auto` is bf16 where the hardware multiplies it natively, else fp32."""
    if choice != "auto":
        return choice
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or False
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Run what is inside at `precision`, the weights staying fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was told, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
