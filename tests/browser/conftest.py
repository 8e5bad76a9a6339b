"""A real browser before a real server; every page that a test opens must stay quiet and at home."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.processes import serve_bundle, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser_path() -> str | None:
    """Where a browser is installed, if one is."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@dataclass
class Watched:
    """What a page has said on its console, and whom it has asked."""

    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def follow(self, page: "Page") -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._see)

    def _hear(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def _see(self, request: "Request") -> None:
        self.asked.append(request.url)

    def foreign(self, home: str) -> list[str]:
        """Requests that went elsewhere."""
        hosts = {urlsplit(home).netloc, ""}
        return [url for url in self.asked if urlsplit(url).netloc not in hosts]


Open = Callable[..., "Page"]
"""Opens an address in a window of its own; keywords are those of `browser.new_context`."""


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """Closed after these tests: Playwright's event loop runs in this thread, and no other may."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def home(bundle_path: Path) -> Iterator[str]:
    """The URL of a server whose gallery has pictures."""
    with serving(serve_bundle(bundle_path)) as client:
        yield str(client.base_url)


@pytest.fixture(scope="package")
def home_without_pixels(bundle_without_pixels_path: Path) -> Iterator[str]:
    """The URL of a server whose gallery has none."""
    with serving(serve_bundle(bundle_without_pixels_path)) as client:
        yield str(client.base_url)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def visit(browser: "Browser", home: str, watched: Watched) -> Iterator[Open]:
    """Open an address of the page; at the end of the test nothing may have gone wrong."""
    yield from _visits(browser, home, watched)


@pytest.fixture
def visit_without_pixels(
    browser: "Browser", home_without_pixels: str, watched: Watched
) -> Iterator[Open]:
    yield from _visits(browser, home_without_pixels, watched)


def _visits(browser: "Browser", home: str, watched: Watched) -> Iterator[Open]:
    contexts = []

    def visit(address: str = "/", **options: Any) -> "Page":  # Any: Playwright's own keywords
        options = {"viewport": {"width": 1280, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        watched.follow(page)
        page.goto(home + address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert watched.said == []
    assert watched.foreign(home) == []
