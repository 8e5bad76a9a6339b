"""The examples of docs/api.md run as written, against a real service.

Only the port differs. curl, node and a browser are needed for their examples. Its Python runs in
`test_wheel.py`, where nothing but the client is installed.
"""

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import SWITCHES, browser_path
from tests.support.processes import ROOT, free_port, running_server, serve_command

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SERVICE = "localhost:8000"
CURLRC = "fail-with-body\nsilent\nshow-error\n"
"""Lets curl fail where a response is an error."""
ERROR = "no image"
"""What the example of an error has in it."""


def examples(language: str) -> list[str]:
    """Return the code of the guide in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, page_port: int) -> Iterator[str]:
    """The host and port of a service on the starter bundle; the page of the guide may call it."""
    settings = {
        "KINDRED_GALLERY": str(tmp_path_factory.mktemp("gallery")),
        "KINDRED_CORS_ORIGINS": f"http://127.0.0.1:{page_port}",
    }
    with running_server(serve_command(ROOT / "starter"), ends_with=0, **settings) as client:
        yield f"localhost:{client.base_url.port}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, service: str) -> Path:
    """A folder with the images of the first example, and `.venv` as in a checkout."""
    made = tmp_path_factory.mktemp("examples")
    (made / ".venv" / "bin").mkdir(parents=True)
    (made / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (made / ".venv" / "bin" / "python").chmod(0o755)
    (made / ".curlrc").write_text(CURLRC)
    run(["bash", "-c", examples("sh")[0]], made, service)
    assert (made / "dog.png").is_file()
    return made


def run(command: list[str], folder: Path, service: str, status: int = 0) -> str:
    """Run an example; return its output."""
    done = subprocess.run(
        [part.replace(SERVICE, service) for part in command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CURL_HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == status, f"{command[-1]}\n{done.stdout}"
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("number", range(1, len(examples("sh"))))
def test_curl_lines_run(number: int, folder: Path, service: str) -> None:
    code = examples("sh")[number]
    if ERROR in code:
        assert '"status":415' in run(["bash", "-c", code], folder, service, status=22)
    else:
        run(["bash", "-eo", "pipefail", "-c", code], folder, service)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Debian's nodejs")
@pytest.mark.parametrize("number", range(len(examples("js"))))
def test_fetch_lines_run(number: int, folder: Path, service: str) -> None:
    output = run(["node", "--input-type=module", "--eval", examples("js")[number]], folder, service)
    assert f"http://{service}/gallery/" in output


@pytest.mark.skipif(browser_path() is None, reason="needs Debian's chromium")
def test_the_web_page_runs(folder: Path, service: str, page_port: int) -> None:
    pages = examples("html")
    assert len(pages) == 2
    for number, code in enumerate(pages):
        (folder / f"page-{number}.html").write_text(code.replace(SERVICE, service))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", page_port), handler) as server,
        sync_playwright() as playwright,
    ):
        Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=browser_path(), args=SWITCHES)
        page = browser.new_page()
        try:
            page.goto(f"http://127.0.0.1:{page_port}/page-0.html")
            page.set_input_files("#file", folder / "cat.png")
            expect(page.locator("#out")).to_have_text(re.compile("^[a-z]+$"), timeout=60_000)
            page.goto(f"http://127.0.0.1:{page_port}/page-1.html")
            page.set_input_files("input[type=file]", folder / "cat.png")
            page.get_by_role("button", name="Classify").click()
            expect(page.locator("body")).to_contain_text('"predictions"', timeout=60_000)
        finally:
            browser.close()
            server.shutdown()


def test_the_guide_has_examples_in_each_language() -> None:
    counts = {name: len(examples(name)) for name in ("sh", "js", "html")}
    assert min(counts.values()) >= 1
    assert counts["sh"] >= 10
