"""Installs what a lock file pins, into the environment of the Python that runs this.

On a Linux machine without a GPU it takes PyTorch's CPU build, of the version that is pinned, if an
index that is configured or PyTorch's own offers it. Else it takes the default build, which brings
the libraries of GPUs. `TORCH=cpu` and `TORCH=default` choose. Needs nothing but Python.

The CPU build has no hashes in the lock file; uv or pip fetch it over TLS.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from training.models.precision import may_have_gpu

PYTORCH: Final = ("torch", "torchvision")
FOR_GPUS: Final = re.compile(r"(nvidia|cuda)-|triton$")
"""The packages that only PyTorch's default build needs."""
PATIENCE: Final = {
    "UV_HTTP_TIMEOUT": "10",
    "UV_HTTP_RETRIES": "1",
    "PIP_TIMEOUT": "10",
    "PIP_RETRIES": "1",
}
"""Limits for the question whether an index has a build."""


class Installer:
    """Runs uv if it is there, which takes a third of the time, else pip."""

    def __init__(self) -> None:
        uv = Path(sys.executable).parent / "uv"
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
        self._commands: list[list[str]] = [pip]
        self.has_uv = uv.is_file()
        if self.has_uv:
            command = [str(uv), "pip", "install", "--compile-bytecode", "--python", sys.executable]
            self._commands.insert(0, command)

    def offers(self, *arguments: str) -> bool:
        """Return whether an installation would succeed, without changing anything."""
        return _runs(
            [*self._commands[0], "--dry-run", *arguments],
            env={**os.environ, **PATIENCE},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def install(self, *arguments: str) -> bool:
        """Install, showing what comes; return whether it succeeded."""
        return _runs([*self._commands[0], *arguments])

    def install_anyhow(self, *arguments: str) -> bool:
        """Install as `install` does, and by pip if uv fails."""
        return any(_runs([*command, *arguments]) for command in self._commands)


def _runs(command: list[str], **options: Any) -> bool:  # Any: those of `subprocess.run`
    return subprocess.run(command, check=False, **options).returncode == 0  # noqa: S603


def read_lock(file: Path) -> dict[str, str]:
    """Return the requirements of a lock file with their hashes, by name.

    Versions for different versions of Python stand together.
    """
    lock: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", file.read_text(encoding="utf-8").strip()):
        name = re.split(r"[^\w-]", block)[0].lower()
        lock[name] = f"{lock[name]}\n{block}" if name in lock else block
    return lock


def cpu_build(lock: dict[str, str], installer: Installer, choice: str) -> tuple[list[str], str]:
    """Return the arguments that install PyTorch's CPU build, or none, and the reason in words."""
    if choice == "default" or "torch" not in lock:
        return [], "as TORCH says" if choice == "default" else "as the lock file says"
    if choice != "cpu":
        if sys.platform != "linux":
            return [], "this system has no other"
        if may_have_gpu():
            return [], "there may be a GPU"
        if has_default_build():
            return [], "it is installed already"
    pinned = {name: re.findall(r"==([^\s;]+)", lock[name])[0] for name in PYTORCH if name in lock}
    wanted = ["--no-deps", *(f"{name}=={version}+cpu" for name, version in pinned.items())]
    for source in ([], ["--torch-backend", "cpu"] if installer.has_uv else []):
        if installer.offers(*source, *wanted):
            return [*source, *wanted], "no GPU was found"
    return [], f"no GPU was found, but no index offers the CPU build of {pinned['torch']}"


def has_default_build() -> bool:
    """Return whether a PyTorch that is no CPU build is installed."""
    try:
        return "+cpu" not in importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False


def main(file: Path, choice: str) -> int:
    """Install a lock file, say which PyTorch comes with it, and return the exit status."""
    lock, installer = read_lock(file), Installer()
    wanted, reason = cpu_build(lock, installer, choice)
    if wanted:
        print(
            f"installing PyTorch's CPU build ({reason}; TORCH=default takes the other)", flush=True
        )
        if installer.install(*wanted):
            lock = {
                name: block
                for name, block in lock.items()
                if name not in PYTORCH and not FOR_GPUS.match(name)
            }
        else:
            wanted, reason = [], "the CPU build could not be installed"
    if not wanted and "torch" in lock:
        print(f"installing PyTorch's default build ({reason}); it is a few GB", flush=True)
        # An index may have both builds, and `==` matches the CPU build too.
        lock |= {
            name: re.sub(r"(?m)^([\w-]+)==", r"\1===", lock[name])
            for name in PYTORCH
            if name in lock
        }
    with tempfile.TemporaryDirectory() as folder:
        rest = Path(folder) / file.name
        rest.write_text("\n".join(lock.values()) + "\n", encoding="utf-8")
        done = installer.install_anyhow("--no-deps", "--require-hashes", "-r", str(rest))
    return 0 if done else 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), os.environ.get("TORCH") or "auto"))
