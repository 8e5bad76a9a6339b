"""What `make` installs: PyTorch's CPU build where it is offered and there is no GPU.

The packages are made here, in a folder that stands for an index. Nothing is downloaded.
"""

import hashlib
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from deploy.install import FOR_GPUS, read_lock
from tests.support.processes import ROOT
from training.models.precision import may_have_gpu

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or may_have_gpu(), reason="needs Linux without a GPU"
    ),
]

VERSIONS = {"torch": "2.15.0", "torchvision": "0.29.2", "nvidia-some": "13.1", "triton": "3.9"}
OTHERS = {"small": "1.0"}


def wheel(folder: Path, name: str, version: str) -> Path:
    """Write a package with nothing in it."""
    stem = f"{name.replace('-', '_')}-{version}"
    file = folder / f"{stem}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(f"{stem}.dist-info/WHEEL", tags)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return file


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with the packages of a lock file, in their default builds."""
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def lock(index: Path, tmp_path: Path) -> Path:
    """A lock file with the hashes of those packages."""
    lines = []
    for name, version in (VERSIONS | OTHERS).items():
        digest = hashlib.sha256(wheel(index, name, version).read_bytes()).hexdigest()
        lines.append(
            f"{name}=={version} ; python_full_version >= '3.9' \\\n    --hash=sha256:{digest}"
        )
    file = tmp_path / "requirements.lock"
    file.write_text("\n".join(lines) + "\n")
    return file


def offer_cpu_build(index: Path) -> None:
    for name in ("torch", "torchvision"):
        wheel(index, name, f"{VERSIONS[name]}+cpu")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A new environment, with uv."""
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    (folder / "bin" / "uv").symlink_to(Path(sys.executable).parent / "uv")
    return folder


def install(environment: Path, lock: Path, index: Path, **variables: str) -> tuple[str, list[str]]:
    """Install a lock file; return what was said, and the packages that are there afterwards."""
    settings = {"UV_FIND_LINKS": index, "UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    settings |= {"PIP_FIND_LINKS": index, "PIP_NO_INDEX": "1"}
    clean = {name: value for name, value in os.environ.items() if name != "TORCH"}
    python = environment / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "deploy.install", lock],
        cwd=ROOT,
        env=clean | {name: str(value) for name, value in (settings | variables).items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    code = (
        "from importlib.metadata import distributions as d; "
        "print(*(f'{one.name}=={one.version}' for one in d()))"
    )
    listed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    ignored = ("pip=", "setuptools=")
    return done.stdout, sorted(one for one in listed.stdout.split() if not one.startswith(ignored))


DEFAULT = sorted(f"{name}=={version}" for name, version in (VERSIONS | OTHERS).items())
CPU = ["small==1.0", "torch==2.15.0+cpu", "torchvision==0.29.2+cpu"]


def test_the_cpu_build_is_installed_where_it_is_offered(
    environment: Path, lock: Path, index: Path
) -> None:
    offer_cpu_build(index)
    said, installed = install(environment, lock, index)
    assert "installing PyTorch's CPU build (no GPU was found" in said
    assert installed == CPU
    assert "small==1.0" in said  # what is installed is shown
    _, again = install(environment, lock, index)  # as for requirements-dev.lock
    assert again == CPU


def test_else_the_default_build_is_installed(environment: Path, lock: Path, index: Path) -> None:
    said, installed = install(environment, lock, index)
    assert "no index offers the CPU build of 2.15.0" in said
    assert installed == DEFAULT
    offer_cpu_build(index)
    said, again = install(environment, lock, index)  # as after a change of the lock file
    assert "default build (it is installed already)" in said
    assert again == DEFAULT


@pytest.mark.parametrize(("choice", "expected"), [("default", DEFAULT), ("cpu", CPU)])
def test_torch_can_be_chosen(
    choice: str, expected: list[str], environment: Path, lock: Path, index: Path
) -> None:
    offer_cpu_build(index)
    _, installed = install(environment, lock, index, TORCH=choice)
    assert installed == expected


def test_pip_does_the_same(tmp_path: Path, lock: Path, index: Path) -> None:
    offer_cpu_build(index)
    folder = tmp_path / "with-pip"
    venv.create(folder, symlinks=True, with_pip=True)
    said, installed = install(folder, lock, index)
    assert "CPU build" in said
    assert installed == CPU


def test_a_package_of_the_lock_file_with_another_hash_is_refused(
    environment: Path, lock: Path, index: Path
) -> None:
    offer_cpu_build(index)
    lock.write_text(lock.read_text()[:-9] + "00000000\n")
    with pytest.raises(AssertionError, match=r"(?i)hash"):
        install(environment, lock, index)


def test_a_lock_file_keeps_the_versions_for_each_python(tmp_path: Path) -> None:
    file = tmp_path / "requirements.lock"
    blocks = [
        "numpy==2.4 ; python_full_version < '3.12' \\\n    --hash=sha256:01",
        "numpy==2.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:02",
        "orjson==3 \\\n    --hash=sha256:03",
    ]
    file.write_text("\n".join(blocks) + "\n")
    assert read_lock(file) == {"numpy": "\n".join(blocks[:2]), "orjson": blocks[2]}


def test_the_packages_for_gpus_are_those_that_only_pytorch_needs() -> None:
    names = [name for name in read_lock(ROOT / "requirements.lock") if FOR_GPUS.match(name)]
    assert len(names) > 10
    assert {"triton", "cuda-bindings", "nvidia-cublas"} <= {*names}
