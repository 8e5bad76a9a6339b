"""Where a run takes place: versions, processor, threads, commit, memory. For the record alone."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

from training.experiments.record import Environment


def describe(device: torch.device, concurrent_runs: int = 1) -> Environment:
    """The machine and the software as they are now."""
    on_gpu = device.type == "cuda"
    return Environment(
        git_commit=_git_commit(),
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda if on_gpu else None,
        cpu_model=_cpu_model(),
        threads=torch.get_num_threads(),
        gpu_name=torch.cuda.get_device_name(device) if on_gpu else None,
        concurrent_runs=concurrent_runs,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
    )


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held so far: on the GPU where that is the device, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _git_commit() -> str | None:
    """The commit of the code that runs, marked where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    here = Path(__file__).parent
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None  # not a checkout, or no git: the record says so by its absence
    return answer.stdout.strip()


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
