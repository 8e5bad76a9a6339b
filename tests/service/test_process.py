"""The service as a process: says when it is ready, refuses clearly, and ends well."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.processes import ROOT, serve_bundle, serving
from tests.service.samples import PATIENCE


def refusal(command: list[str | Path], **environment: str) -> str:
    """What a command says that must end at once with status 1, in a line."""
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment or None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def test_it_answers_as_soon_as_it_says_ready_and_ends_with_0(bundle_path: Path) -> None:
    with serving(serve_bundle(bundle_path)) as client:
        assert client.get("/readyz").json() == {"status": "ready"}


def test_a_stopping_service_says_not_ready_and_still_answers_for_its_notice(
    bundle_path: Path,
) -> None:
    command = [str(part) for part in serve_bundle(bundle_path)]
    process = subprocess.Popen(
        ["env", "KINDRED_NOTICE=60", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    try:
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while (ready := httpx.get(f"{url}/readyz")).status_code == 200:
            assert time.monotonic() < deadline
        assert "draining" in ready.json()["detail"]
        assert httpx.get(f"{url}/model").status_code == 200
        process.send_signal(signal.SIGTERM)  # asked again, it waits no longer
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_port_that_is_taken_is_said_so(bundle_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal([*serve_bundle(bundle_path)[:-1], port])
    assert f"port {port}" in said
    assert "--port" in said


def test_a_damaged_bundle_is_refused_by_the_name_of_the_file(
    bundle_path: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(bundle_path, tmp_path / "damaged")
    with (damaged / "model.safetensors").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    assert "model.safetensors is damaged" in refusal(serve_bundle(damaged))


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    assert f"no bundle at {tmp_path}" in refusal(serve_bundle(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [("KINDRED_MAX_BATCH", "0"), ("KINDRED_PRECISION", "fp8"), ("KINDRED_MAX_IMAGES", "9999")],
)
def test_a_setting_that_does_not_fit_is_named(name: str, value: str) -> None:
    said = refusal([sys.executable, "-m", "service"], **{name: value})
    assert name.lower().removeprefix("kindred_") in said.lower()


def test_a_device_that_is_not_there_is_refused_with_those_that_are(bundle_path: Path) -> None:
    assert "cpu" in refusal([*serve_bundle(bundle_path), "--device", "cuda:99"])
