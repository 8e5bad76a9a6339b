"""The service as a process: readiness, shutdown, signals and refusals at the start."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from select import select
from typing import TextIO

import httpx
import pytest
from typer.testing import CliRunner

from service.cli import command
from service.server.process import StartError, bind
from tests.support.factories import accept, linked_copy
from tests.support.fakes import BATCH_TIMEOUT, image_file
from tests.support.processes import ROOT, running_server, serve_command
from training.bundle import known, load
from training.bundle.known import KnownImage
from training.bundle.writer import update_current_link

pytestmark = pytest.mark.slow

IN_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may be run under nohup
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command in the terminal that is its standard input."""

needs_sighup = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")


def refusal(command: list[str | Path], **environment: str) -> str:
    """Run a command that must end with status 1, and return its one line of output."""
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


def test_the_service_answers_once_it_prints_ready_and_exits_with_0(bundle_path: Path) -> None:
    with running_server(serve_command(bundle_path)) as client:
        assert client.get("/readyz").json() == {"status": "ready"}


def test_a_stopping_service_is_not_ready_and_answers_during_the_shutdown_delay(
    bundle_path: Path,
) -> None:
    command = [str(part) for part in serve_command(bundle_path)]
    process = subprocess.Popen(
        ["env", "KINDRED_SHUTDOWN_DELAY=60", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    try:
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + BATCH_TIMEOUT
        while (ready := httpx.get(f"{url}/readyz")).status_code == 200:
            assert time.monotonic() < deadline
        assert "draining" in ready.json()["detail"]
        assert httpx.get(f"{url}/model").status_code == 200
        process.send_signal(signal.SIGTERM)  # the second signal ends the delay
        assert process.wait(BATCH_TIMEOUT) == 0
    finally:
        process.kill()
        process.communicate()


@contextmanager
def started(
    command: list[str | Path], stdin: int | None = None, stderr: TextIO | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server in a session of its own, and yield its process and URL."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.mark.parametrize(("timeout", "answered"), [(60, True), (0, False)])
def test_a_request_in_flight_may_finish_within_the_graceful_shutdown_timeout(
    bundle_path: Path, timeout: int, answered: bool
) -> None:
    """After the timeout it is aborted. The exit status is 0 in both cases."""
    command = [str(part) for part in serve_command(bundle_path)]
    with started(["env", f"KINDRED_GRACEFUL_SHUTDOWN_TIMEOUT={timeout}", *command]) as (
        process,
        url,
    ):
        body = image_file()
        head = "POST /classify HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        address = (httpx.URL(url).host, httpx.URL(url).port or 80)
        with socket.create_connection(address, timeout=BATCH_TIMEOUT) as connection:
            connection.sendall(head.encode() + body[:10])
            assert httpx.get(f"{url}/livez").status_code == 200  # so the head above has been read
            process.send_signal(signal.SIGTERM)
            if answered:
                until_closed(address)
                connection.sendall(body[10:])
                assert b" 200 " in connection.recv(1000).splitlines()[0]
            else:
                with suppress(ConnectionResetError):
                    assert b" 200 " not in connection.recv(1000)
        assert process.wait(BATCH_TIMEOUT) == 0


def until_closed(address: tuple[str, int]) -> None:
    """Wait until the address refuses connections."""
    deadline = time.monotonic() + BATCH_TIMEOUT
    with suppress(OSError):
        while True:
            assert time.monotonic() < deadline
            socket.create_connection(address, timeout=BATCH_TIMEOUT).close()
            time.sleep(0.02)


@needs_sighup
def test_sighup_reloads_without_a_terminal(
    bundle_path: Path, bundle_without_pixels_path: Path, tmp_path: Path
) -> None:
    linked_copy(bundle_path, tmp_path / "one")
    linked_copy(bundle_without_pixels_path, tmp_path / "other")
    update_current_link(tmp_path / "current", tmp_path / "one")
    with started(serve_command(tmp_path / "current")) as (process, url):
        before = httpx.get(f"{url}/model").json()["version"]
        update_current_link(tmp_path / "current", tmp_path / "other")
        process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + BATCH_TIMEOUT
        while httpx.get(f"{url}/model").json()["version"] == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@needs_sighup
def test_the_service_ends_with_its_terminal(bundle_path: Path) -> None:
    terminal, its_end = os.openpty()
    command = [sys.executable, "-c", IN_TERMINAL, *serve_command(bundle_path)]
    with started(command, stdin=its_end) as (process, url):
        os.close(its_end)
        assert httpx.get(f"{url}/livez").status_code == 200
        os.close(terminal)
        assert process.wait(BATCH_TIMEOUT) == -signal.SIGHUP


def test_a_used_port_is_refused_with_the_option_to_change(
    bundle_path: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        error = refusal([*serve_command(bundle_path)[:-1], port])
        before_loading = refusal([*serve_command(tmp_path / "no bundle")[:-1], port])
    for line in (error, before_loading):
        assert f"port {port}" in line
        assert "--port" in line


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


LOCALHOST = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]


def test_localhost_is_served_at_all_its_addresses(bundle_path: Path) -> None:
    with started([*serve_command(bundle_path), "--host", "localhost"]) as (_, url):
        port = httpx.URL(url).port
        for address in LOCALHOST:
            host = f"[{address}]" if ":" in address else address
            assert httpx.get(f"http://{host}:{port}/model").status_code == 200


@pytest.mark.parametrize("address", LOCALHOST)
def test_a_port_in_use_at_one_address_of_localhost_is_refused(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port}"):
            bind("localhost", port)


def test_a_port_that_another_starting_service_has_bound_is_refused() -> None:
    (first,) = bind("127.0.0.1", 0)
    with first, pytest.raises(StartError, match="in use"):
        bind("127.0.0.1", first.getsockname()[1])


def test_a_port_is_free_again_after_the_service_closed_connections(bundle_path: Path) -> None:
    """They linger (TIME_WAIT) at the side that closes first."""
    with running_server(serve_command(bundle_path)) as client:
        port = client.base_url.port or 80
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            while connection.recv(1000):
                pass
    for listener in bind("127.0.0.1", port):
        listener.close()


IDLE = 300


@pytest.mark.skipif(sys.platform == "win32", reason="needs ulimit")
def test_work_goes_on_when_idle_connections_would_use_all_files(bundle_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh"]
    with (
        running_server([*limited, *serve_command(bundle_path)]) as client,
        ExitStack() as idle,
    ):
        address = (client.base_url.host, client.base_url.port or 80)
        sockets = [idle.enter_context(socket.create_connection(address)) for _ in range(IDLE)]
        one = client.get("/gallery?limit=1").json()["items"][0]["id"]
        paths = ["/", "/web/main.js", "/docs", "/experiments", f"/gallery/{one}/image", "/metrics"]
        for path in paths:
            assert client.get(path).status_code == 200, path
        assert client.post("/gallery", content=image_file()).status_code == 201
        assert client.post("/admin/reload").status_code == 200
        limit = client.get("/model").json()["limits"]["connections"]
        assert 16 <= limit < 128
        gone = select(sockets, [], [], 0)[0]
        assert gone == sockets[: IDLE - limit + 1]  # those that were idle longest
        assert all(one.recv(1) == b"" for one in gone)


def test_too_few_files_are_refused(bundle_path: Path) -> None:
    error = refusal(["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *serve_command(bundle_path)])
    assert "ulimit -n" in error


def test_a_damaged_bundle_is_refused_with_the_name_of_the_file(
    bundle_path: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(bundle_path, tmp_path / "damaged")
    with (damaged / "model.safetensors").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    assert "model.safetensors is damaged" in refusal(serve_command(damaged))


def test_a_bundle_whose_network_is_another_is_refused_in_one_line(
    bundle_path: Path, tmp_path: Path
) -> None:
    copy = linked_copy(bundle_path, tmp_path / "bundle")
    found = known.load(copy / "known.safetensors", load(copy).network.spec)
    vectors = {layer: vector[::-1].copy() for layer, vector in found.vectors.items()}
    (copy / "known.safetensors").unlink()
    known.save(KnownImage(found.pixels, vectors), copy / "known.safetensors")
    accept(copy, "known.safetensors")
    assert "does not recognise the bundle's known image" in refusal(serve_command(copy))


def test_a_bundle_that_is_overwritten_is_served_as_it_was_loaded(
    bundle_path: Path, bundle_without_pixels_path: Path, tmp_path: Path
) -> None:
    """Truncate all its files, then copy another bundle over them, under load."""
    served = shutil.copytree(bundle_path, tmp_path / "served")
    image = image_file()
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        started(serve_command(served), stderr=errors) as (_, url),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        ids = [item["id"] for item in client.get("/gallery?limit=5").json()["items"]]

        def ask() -> list[object]:
            answer = client.post("/predict", content=image, headers={"Content-Type": "image/png"})
            shown = [client.get(f"/gallery/{one}/image") for one in ids]
            assert {one.status_code for one in (answer, *shown)} == {200}
            return [answer.json()["similar"], [one.content for one in shown]]

        before = ask()
        for file in served.rglob("*.*"):
            os.truncate(file, min(1024, file.stat().st_size))
        assert ask() == before
        for file in bundle_without_pixels_path.rglob("*.*"):
            shutil.copyfile(file, served / file.relative_to(bundle_without_pixels_path))
            assert ask() == before
        deadline = time.monotonic() + BATCH_TIMEOUT
        while "was overwritten" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert "novelty.safetensors" in log.read_text()


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    assert f"no bundle at {tmp_path}" in refusal(serve_command(tmp_path))


def test_refusal_shows_square_brackets_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "[red]"
    assert f"no bundle at {folder}" in refusal(serve_command(folder))


def test_refusal_comes_after_the_warning_of_a_former_variable() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={"KINDRED_MAX_QUEUE": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    warning, error = ended.stderr.splitlines()
    assert warning == "KINDRED_MAX_QUEUE is now called KINDRED_MAX_QUEUE_SIZE"
    assert "KINDRED_MAX_QUEUE is 0, and takes an integer, at least 1" in error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KINDRED_MAX_BATCH_SIZE", "0"),
        ("KINDRED_PRECISION", "fp8"),
        ("KINDRED_MAX_CLIENT_BATCH_SIZE", "9999"),
        ("KINDRED_MAX_IN_FLIGHT_BYTES", "1000"),
        ("KINDRED_LOG_LEVEL", "loud"),
        ("KINDRED_LOG_FORMAT", "xml"),
    ],
)
def test_an_invalid_setting_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: a new one for each setting would take seconds."""
    monkeypatch.setenv(name, value)
    outcome = CliRunner().invoke(command, [])
    assert outcome.exit_code == 1
    assert name.lower().removeprefix("kindred_") in outcome.output.lower()


def test_a_missing_device_is_refused_with_the_available_ones(bundle_path: Path) -> None:
    assert "cpu" in refusal([*serve_command(bundle_path), "--device", "cuda:99"])
