"""`python -m service check`: the settings and the port, without a start."""

import socket

import pytest
from typer.testing import CliRunner, Result

from service.cli import command
from tests.support.processes import free_port


def check(*options: str) -> Result:
    return CliRunner().invoke(command, ["check", *options])


def test_a_free_port_passes_and_stays_free() -> None:
    port = free_port()
    assert check("--port", str(port)).exit_code == 0
    socket.create_server(("127.0.0.1", port)).close()


def test_a_used_port_is_an_error_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        result = check("--port", str(used.getsockname()[1]))
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "cannot listen at 127.0.0.1" in line


def test_a_host_that_others_reach_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KINDRED_ALLOW_ANONYMOUS", raising=False)
    result = check("--host", "0.0.0.0", "--port", "0")  # noqa: S104 - it is refused
    assert result.exit_code == 1
    assert "KINDRED_API_KEYS" in result.stderr
