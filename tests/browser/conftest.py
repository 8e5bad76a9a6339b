"""A real browser and real servers. Every page must keep its console empty and send no request to
another host."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.processes import running_server, serve_command

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",  # a camera that shows a rotating disc
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 20_000
"""Longest wait for a condition. Only a failing test waits that long, however busy the machine."""


def browser_path() -> str | None:
    """Return the path of an installed browser, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@dataclass
class PageLog:
    """Console messages and requested URLs of the pages of a test."""

    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def attach(self, page: "Page") -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.messages.append(message.text)

    def _on_request(self, request: "Request") -> None:
        self.requests.append(request.url)

    def external(self, server_url: str) -> list[str]:
        """Return the requested URLs of other hosts."""
        hosts = {urlsplit(server_url).netloc, ""}
        return [url for url in self.requests if urlsplit(url).netloc not in hosts]


OpenPage = Callable[..., "Page"]
"""Opens an address in a browser context of its own. `before` prepares the page; other keywords are
those of `browser.new_context`."""


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """Start a browser. It is closed after this package, because Playwright's event loop blocks all
    others in this thread."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=SWITCHES)
        yield browser
        browser.close()


@contextmanager
def server(bundle: Path, gallery: Path, **environment: str) -> Iterator[str]:
    """Serve a bundle with a gallery folder that no other server uses. Yield its URL."""
    environment["KINDRED_GALLERY"] = str(gallery)
    with running_server(serve_command(bundle), ends_with=0, **environment) as client:
        yield str(client.base_url)


@pytest.fixture(scope="package")
def server_url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server whose gallery has pixels."""
    with server(bundle_path, tmp_path_factory.mktemp("gallery")) as url:
        yield url


@pytest.fixture(scope="package")
def server_url_without_pixels(
    bundle_without_pixels_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a server whose gallery has no pixels."""
    with server(bundle_without_pixels_path, tmp_path_factory.mktemp("gallery")) as url:
        yield url


@pytest.fixture
def page_log() -> PageLog:
    return PageLog()


@pytest.fixture
def open_page(browser: "Browser", server_url: str, page_log: PageLog) -> Iterator[OpenPage]:
    yield from page_opener(browser, server_url, page_log)


@pytest.fixture
def open_page_without_pixels(
    browser: "Browser", server_url_without_pixels: str, page_log: PageLog
) -> Iterator[OpenPage]:
    yield from page_opener(browser, server_url_without_pixels, page_log)


def page_opener(
    browser: "Browser", server_url: str, page_log: PageLog, expected: str | None = None
) -> Iterator[OpenPage]:
    """Yield a function that opens pages of one server.

    Afterwards, check that each console message contains `expected`, and that no request went to
    another host.
    """
    contexts = []

    def open_page(
        address: str = "/",
        before: Callable[["Page"], None] = lambda _: None,
        **options: Any,  # Playwright's own keywords
    ) -> "Page":
        options = {"viewport": {"width": 1280, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page_log.attach(page)
        before(page)
        page.goto(server_url + address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    unexpected = [text for text in page_log.messages if expected is None or expected not in text]
    assert unexpected == []
    assert page_log.external(server_url) == []
