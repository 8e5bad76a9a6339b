"""The choice of device and precision."""

import pytest
import torch

from training.models.device import autocast, pick_device, pick_precision
from training.models.precision import DeviceError

CPU = torch.device("cpu")


def test_the_cpu_can_be_chosen() -> None:
    assert pick_device("cpu") == CPU


def test_auto_is_the_cpu_if_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU


def test_auto_is_the_first_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == torch.device("cuda:0")


def test_a_numbered_gpu_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert pick_device("cuda") == torch.device("cuda:0")


@pytest.mark.parametrize("choice", ["cuda:2", "gpu", "", "cuda:"])
def test_an_unavailable_device_is_rejected_with_the_available_ones(
    choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="choose one of cpu, cuda:0, cuda:1 or auto"):
        pick_device(choice)


@pytest.mark.parametrize("choice", ["fp32", "bf16"])
def test_a_chosen_precision_is_kept(choice: str) -> None:
    assert pick_precision(choice, CPU) == choice  # type: ignore[arg-type]  # both are precisions


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")],
)
def test_auto_is_bf16_only_if_the_processor_multiplies_it(
    capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert pick_precision("auto", CPU) == expected


@pytest.mark.parametrize(("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_multiplies_at_that_precision(precision: str, kind: torch.dtype) -> None:
    matrix = torch.eye(4)
    with autocast(CPU, precision):  # type: ignore[arg-type]  # both are precisions
        assert (matrix @ matrix).dtype == kind
