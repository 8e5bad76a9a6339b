"""The command line of the service: names and closed folders in what it prints."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import command
from service.errors import StorageError
from service.gallery.factory import open_gallery
from tests.support.processes import ROOT
from training.bundle import Bundle

ODD_NAMES = ("[/b]", "cat [old]", "[red]x[/red]", ":cat:", "\\[b]", "a\\")


def _obey_permissions() -> None:
    """Give up what lets root read every file: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_obey_permissions,
    )


@pytest.mark.parametrize("name", ODD_NAMES)
def test_errors_show_names_as_they_are(tmp_path: Path, name: str) -> None:
    missing = tmp_path / name
    ended = CliRunner().invoke(command, ["gallery", "export", "x", "--bundle", str(missing)])
    assert ended.exit_code == 1
    assert str(missing) in ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs capabilities")
def test_a_gallery_that_may_not_be_entered_is_one_line(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0)
    ended = run("gallery", "export", "x", "--bundle", "starter", KINDRED_GALLERY=str(closed))
    closed.chmod(0o700)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: The gallery's folder {closed} cannot be read: Permission")


@pytest.mark.parametrize("kind", ["a file", "below a file", "a circle of links", "a long name"])
def test_a_gallery_that_cannot_be_opened_says_why(
    loaded: Bundle, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "circle").symlink_to("circle")
    folders = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "gallery",
        "a circle of links": tmp_path / "circle",
        "a long name": tmp_path / ("long" * 100),
    }
    with pytest.raises(StorageError, match="cannot be read"):
        open_gallery(str(folders[kind]), loaded)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["iso8859-5", "utf-8"])
def test_names_beyond_the_encoding_of_the_output_are_escaped(tmp_path: Path, encoding: str) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xc3\xa9 [old].parquet")
    ended = run("gallery", "export", file, "--bundle", "starter", PYTHONIOENCODING=encoding)
    assert ended.returncode == 0, ended.stderr
    second = "é" if encoding == "utf-8" else "\\xe9"
    assert ended.stdout == f"1000 images in {tmp_path}/caf\\udce9 {second} [old].parquet\n"
    assert Path(file).is_file()
