"""The page behind real proxies, under a path. Teardown checks the console."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import OpenPage, PageLog, page_opener, server
from tests.support.page_objects import expect
from tests.support.proxies import PATH, PROXIES, proxy

KEY = "a-key"
STORE_KEY = f"sessionStorage.setItem('kindred-key', '{KEY}')"
LOAD_IMAGE = """async (key) => {
    const headers = { Authorization: `Bearer ${key}` };
    const { items } = await (await fetch("gallery?limit=1", { headers })).json();
    const image = new Image();
    image.src = items[0].image;
    await image.decode();
    return image.naturalWidth;
}"""


@pytest.fixture(scope="module")
def keyed_url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that knows its path, and whose reading needs a key."""
    settings = {"KINDRED_ROOT_PATH": PATH, "KINDRED_API_KEYS": KEY}
    with server(bundle_path, tmp_path_factory.mktemp("gallery"), **settings) as url:
        yield url


@pytest.fixture(params=PROXIES)
def open_proxied(
    request: pytest.FixtureRequest,
    browser: Browser,
    server_url: str,
    page_log: PageLog,
    tmp_path: Path,
) -> Iterator[OpenPage]:
    """Open pages behind a proxy that removes its path, which the server does not know."""
    with proxy(request.param, urlsplit(server_url).netloc, tmp_path) as url:
        yield from page_opener(browser, url, page_log)


@pytest.fixture(params=PROXIES)
def open_keyed(
    request: pytest.FixtureRequest,
    browser: Browser,
    keyed_url: str,
    page_log: PageLog,
    tmp_path: Path,
) -> Iterator[OpenPage]:
    """Open pages behind a proxy that leaves its path, of the server whose reading needs a key."""
    with proxy(request.param, urlsplit(keyed_url).netloc, tmp_path, removes=False) as url:
        yield from page_opener(browser, url, page_log)


def test_the_page_works_under_a_path_that_only_the_proxy_knows(
    open_proxied: OpenPage, page_log: PageLog
) -> None:
    check_all_views(open_proxied("/#/gallery"), page_log)


def test_the_page_works_under_a_path_of_the_service_with_a_key(
    open_keyed: OpenPage, page_log: PageLog
) -> None:
    page = open_keyed("/#/gallery", lambda page: page.add_init_script(STORE_KEY))
    check_all_views(page, page_log)


def check_all_views(page: Page, page_log: PageLog) -> None:
    """Show the gallery, a search, the experiments and the API reference; no request may leave the
    path."""
    expect(page.locator("img.pixels").first).to_be_visible()
    page.wait_for_function(
        "() => [...document.querySelectorAll('img.pixels')].some((one) => one.naturalWidth > 0)"
    )
    page.locator("a.card-action").first.click()
    expect(page.locator("main .query img").first).to_be_visible()
    page.goto(page.url.partition("#")[0] + "#/experiments")
    expect(page.get_by_role("table").first).to_be_visible()
    page.goto(page.url.partition("#")[0] + "docs")
    expect(page.get_by_role("heading", name="kindred")).to_be_visible()
    paths = {urlsplit(url).path for url in page_log.requests if url.startswith("http")}
    assert {path for path in paths if not path.startswith(f"{PATH}/")} == set()


def test_an_img_element_shows_an_image_without_a_key(open_keyed: OpenPage) -> None:
    page = open_keyed("/docs")
    assert page.evaluate(LOAD_IMAGE, KEY) > 0
