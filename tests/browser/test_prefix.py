"""The page behind real proxies, under a path that they remove. Teardown checks the console."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import OpenPage, PageLog, page_opener
from tests.support.page_objects import expect
from tests.support.processes import free_port

NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /kindred/ {{
            proxy_pass http://{upstream}/;
        }}
    }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    handle_path /kindred/* {{
        reverse_proxy {upstream}
    }}
}}
"""
PROXIES = {
    "nginx": (NGINX, ["nginx", "-p", "{folder}", "-c"]),
    "caddy": (CADDY, ["caddy", "run", "--adapter", "caddyfile", "--config"]),
}


@contextmanager
def proxy(name: str, upstream: str, folder: Path) -> Iterator[str]:
    """Run a proxy that serves the upstream under /kindred/; yield its URL there."""
    if shutil.which(name) is None:
        pytest.skip(f"needs Debian's {name}")
    template, command = PROXIES[name]
    port = free_port()
    file = folder / "config"
    file.write_text(template.format(folder=folder, port=port, upstream=upstream))
    arguments = [part.format(folder=folder) for part in command]
    process = subprocess.Popen(
        [*arguments, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(400):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the proxy ended"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/kindred"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(params=PROXIES)
def proxied_url(request: pytest.FixtureRequest, server_url: str, tmp_path: Path) -> Iterator[str]:
    with proxy(request.param, urlsplit(server_url).netloc, tmp_path) as url:
        yield url


@pytest.fixture
def open_proxied(browser: Browser, proxied_url: str, page_log: PageLog) -> Iterator[OpenPage]:
    yield from page_opener(browser, proxied_url, page_log)


def test_the_page_works_under_a_path(open_proxied: OpenPage, page_log: PageLog) -> None:
    page = open_proxied("/#/gallery")
    image = page.locator("img.pixels").first
    expect(image).to_be_visible()
    page.wait_for_function(
        "() => [...document.querySelectorAll('img.pixels')].some((one) => one.naturalWidth > 0)"
    )
    page.goto(page.url.partition("#")[0] + "#/experiments")
    expect(page.get_by_role("table").first).to_be_visible()
    page.goto(page.url.partition("#")[0] + "docs")
    expect(page.get_by_role("heading", name="kindred")).to_be_visible()
    paths = {urlsplit(url).path for url in page_log.requests if url.startswith("http")}
    assert {path for path in paths if not path.startswith("/kindred/")} == set()


def test_an_upload_passes_the_proxy(proxied_url: str) -> None:
    with httpx.Client(base_url=proxied_url) as client:
        assert client.get("/readyz").status_code == 200
        assert client.post("/classify", content=b"no image").status_code == 415
        assert client.get("/gallery?lable=x").status_code == 422
