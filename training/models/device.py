"""The device (`auto`, `cpu`, `cuda[:n]`) and precision (`fp32`, `bf16`) that a network runs with.

Independent of networks and data. The service uses it too, through `training.bundle`.
"""

import torch

from training.models.precision import DeviceError, Precision, PrecisionChoice


def pick_device(choice: str = "auto") -> torch.device:
    """Return the device of that name. `auto` is the first GPU, or the CPU if there is none.

    Raises:
        DeviceError: this machine has no such device; the message lists those available.

    """
    if choice == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    name = "cuda:0" if choice == "cuda" else choice
    if name not in names:
        raise DeviceError(
            f"device not available: {choice!r}; choose one of {', '.join(names)} or auto"
        )
    return torch.device(name)


def pick_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """Resolve `auto` to bf16 if the hardware multiplies it natively, and to fp32 otherwise."""
    if choice != "auto":
        return choice
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or False
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return a context in which operations run at `precision`; weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work, so that times can be measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
