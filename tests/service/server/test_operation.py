"""What operates the service: connections that proxies keep, and a real Prometheus."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import free_port, running_server, serve_command


@pytest.fixture(scope="module")
def service(bundle_path: Path) -> Iterator[httpx.Client]:
    with running_server(serve_command(bundle_path), KINDRED_KEEP_ALIVE_TIMEOUT="1") as running:
        yield running


def test_an_idle_connection_is_closed_after_the_timeout(service: httpx.Client) -> None:
    with socket.create_connection((service.base_url.host, service.base_url.port or 0)) as idle:
        idle.settimeout(60)
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while part := idle.recv(65536):  # ends when the service closes the connection
            received += part
    assert received.startswith(b"HTTP/1.1 200")
    assert b"connection: close" not in received.lower()


@pytest.mark.parametrize(
    ("accept", "media_type", "end"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", False),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8", False),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", False),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", True),
        ("text/plain, application/openmetrics-text;q=0.5", "text/plain; version=0.0.4", False),
        ("text/plain;q=0.5, application/openmetrics-text", "application/openmetrics-text", True),
        ("application/openmetrics-text;q=0, */*", "text/plain; version=0.0.4", False),
    ],
)
def test_metrics_have_the_format_that_is_asked_for(
    accept: str, media_type: str, end: bool, service: httpx.Client
) -> None:
    response = service.get("/metrics", headers={"Accept": accept})
    assert response.headers["Content-Type"].startswith(media_type)
    assert response.text.endswith("# EOF\n") is end


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus")
def test_a_real_prometheus_scrapes_the_service(service: httpx.Client, tmp_path: Path) -> None:
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "kindred",
                "static_configs": [{"targets": [service.base_url.netloc.decode()]}],
            }
        ],
    }
    file = tmp_path / "prometheus.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    command = [
        *("prometheus", f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    service.get("/model").raise_for_status()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/api/v1"
        target = wait_for(f"{url}/targets", scraped)
        assert (target["health"], target["lastError"]) == ("up", "")
        query = 'kindred_requests_total{route="/model"}'
        found = wait_for(f"{url}/query?query={query}", lambda data: data["result"])
        assert float(found[0]["value"][1]) >= 1
    finally:
        process.terminate()
        process.wait(60)


def scraped(data: Any) -> Any:
    """Return the target once it has been scraped."""
    targets = data["activeTargets"]
    return targets[0] if targets and targets[0]["health"] != "unknown" else None


def wait_for(url: str, find: Any) -> Any:
    """Ask Prometheus until `find` returns something."""
    for _ in range(240):
        try:
            if found := find(httpx.get(url).json()["data"]):
                return found
        except (httpx.HTTPError, KeyError):
            pass
        time.sleep(0.25)
    raise AssertionError(f"nothing at {url}")
