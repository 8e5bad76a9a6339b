"""Describes the machine and the software of a run: versions, processor, commit, memory."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

from training.experiments.record import Environment

CONCURRENT_RUNS = "KINDRED_CONCURRENT_RUNS"
"""Environment variable: how many programs share the processor, this one included."""


def describe(device: torch.device) -> Environment:
    """Return the machine, the versions and the commit of this process."""
    on_gpu = device.type == "cuda"
    return Environment(
        git_commit=_git_commit(),
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda if on_gpu else None,
        cpu_model=_cpu_model(),
        threads=torch.get_num_threads(),
        gpu_name=torch.cuda.get_device_name(device) if on_gpu else None,
        concurrent_runs=int(os.environ.get(CONCURRENT_RUNS, "1")),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
    )


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory in bytes: of the GPU if it is the device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _git_commit() -> str | None:
    """Return the commit of the running code, with `-dirty` if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    here = Path(__file__).parent
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None  # not a git checkout, or git is not installed
    return answer.stdout.strip()


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
