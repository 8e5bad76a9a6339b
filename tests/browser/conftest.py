"""A real browser before a real server; every page that a test opens must stay quiet and at home."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import built
from tests.support.factories import made_record
from tests.support.processes import running_server, serve_command
from training.data.dataset import Dataset
from training.data.splits import Splits
from training.workflows.release import ExportOptions, TrainedModel, evaluate_release
from training.workflows.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",  # a camera that shows a turning disc
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser_path() -> str | None:
    """Where a browser is installed, if one is."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@dataclass
class PageLog:
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
"""Opens an address in a window of its own, `before` which a page can be prepared; further keywords
are those of `browser.new_context`."""


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """Closed after these tests: Playwright's event loop runs in this thread, and no other may."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def studied_path(
    workspace: Workspace, trained: TrainedModel, generated: Dataset, splits: Splits
) -> Path:
    """A bundle as a release leaves it: its network examined, beside it a study with two seeds."""
    final = evaluate_release(
        trained.network, trained.final, generated, splits, None, workspace.device
    )
    study = [one for one in trained.records if one.stage == "study"]
    beside: dict[str, Any] = {"dataset": study[-1].dataset}
    others = [
        made_record("none-2", validation=0.6, test=0.61, seconds=90, **beside),
        made_record("none-2", validation=0.7, test=0.65, seconds=110, seed=1, **beside),
    ]
    released = TrainedModel(trained.network, final, [*study, final, *others])
    return built(workspace, "studied", released, generated, splits, ExportOptions())


@pytest.fixture(scope="package")
def home(studied_path: Path) -> Iterator[str]:
    """The URL of a server whose gallery has pixels."""
    with running_server(serve_command(studied_path)) as client:
        yield str(client.base_url)


@pytest.fixture(scope="package")
def home_without_pixels(bundle_without_pixels_path: Path) -> Iterator[str]:
    """The URL of a server whose gallery has none."""
    with running_server(serve_command(bundle_without_pixels_path)) as client:
        yield str(client.base_url)


@pytest.fixture(scope="package")
def real_home(real_bundle_path: Path) -> Iterator[str]:
    """The URL of a server whose gallery has 7,500 real images."""
    with running_server(serve_command(real_bundle_path)) as client:
        yield str(client.base_url)


@pytest.fixture
def page_log() -> PageLog:
    return PageLog()


@pytest.fixture
def visit(browser: "Browser", home: str, page_log: PageLog) -> Iterator[Open]:
    """Open an address of the page; at the end of the test nothing may have gone wrong."""
    yield from visits(browser, home, page_log)


@pytest.fixture
def visit_without_pixels(
    browser: "Browser", home_without_pixels: str, page_log: PageLog
) -> Iterator[Open]:
    yield from visits(browser, home_without_pixels, page_log)


@pytest.fixture
def visit_real(browser: "Browser", real_home: str, page_log: PageLog) -> Iterator[Open]:
    yield from visits(browser, real_home, page_log)


def visits(
    browser: "Browser", home: str, page_log: PageLog, expected: str | None = None
) -> Iterator[Open]:
    """Windows on one server, whose consoles may say nothing but what is `expected`."""
    contexts = []

    def visit(
        address: str = "/",
        before: Callable[["Page"], None] = lambda _: None,
        **options: Any,  # Playwright's own keywords
    ) -> "Page":
        options = {"viewport": {"width": 1280, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page_log.follow(page)
        before(page)
        page.goto(home + address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [said for said in page_log.said if expected is None or expected not in said] == []
    assert page_log.foreign(home) == []
