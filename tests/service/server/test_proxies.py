"""The service behind real proxies, nginx and Caddy, that remove their path or leave it."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

import kindred
from tests.support.fakes import image_file
from tests.support.processes import running_server, serve_command
from tests.support.proxies import PATH, PROXIES, proxy

READER, ADMIN = {"X-API-Key": "reader"}, {"X-API-Key": "admin"}
KEYS = {"KINDRED_API_KEYS": "reader", "KINDRED_ADMIN_KEYS": "admin"}
PNG = {"Content-Type": "image/png"}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def set_upstream(bundle_path: Path) -> Iterator[str]:
    """A service that knows its path by a setting."""
    with running_server(
        serve_command(bundle_path), ends_with=0, **KEYS, KINDRED_ROOT_PATH=PATH
    ) as client:
        yield client.base_url.netloc.decode()


@pytest.fixture(scope="module")
def told_upstream(bundle_path: Path) -> Iterator[str]:
    """A service that trusts a proxy on this machine to tell the path."""
    settings = KEYS | {"KINDRED_TRUSTED_PROXIES": "127.0.0.1"}
    with running_server(serve_command(bundle_path), ends_with=0, **settings) as client:
        yield client.base_url.netloc.decode()


@pytest.fixture(params=["set, removed", "set, left", "told"])
def upstream(request: pytest.FixtureRequest) -> tuple[str, bool, bool]:
    """The address of a service, and whether its proxy removes the path, and whether it tells it."""
    told = request.param == "told"
    address: str = request.getfixturevalue("told_upstream" if told else "set_upstream")
    return address, not request.param.endswith("left"), told


@pytest.fixture(params=PROXIES)
def proxied(
    request: pytest.FixtureRequest, upstream: tuple[str, bool, bool], tmp_path: Path
) -> Iterator[httpx.Client]:
    """A client of the proxy. Paths are those of the host, as in links."""
    address, removes, told = upstream
    with (
        proxy(request.param, address, tmp_path, removes=removes, told=told) as url,
        httpx.Client(base_url=url.removesuffix(PATH), timeout=60) as client,
    ):
        yield client


def test_every_link_leads_through_the_proxy(proxied: httpx.Client) -> None:
    page = proxied.get(f"{PATH}/")
    links = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
    assert len(links) > 5
    for link in links:
        assert proxied.get(urljoin(f"{PATH}/", link)).status_code == 200, link
    document = proxied.get(f"{PATH}/openapi.json").json()
    assert document["servers"] == [{"url": PATH}]
    (item,) = proxied.get(f"{PATH}/gallery?limit=1", headers=READER).json()["items"]
    assert urlsplit(item["image"]).path == f"{PATH}/gallery/{item['id']}/image"
    assert proxied.get(item["image"]).headers["Content-Type"] == "image/png"  # without a key
    assert proxied.get(urlsplit(item["image"]).path).status_code == 401
    assert proxied.head(item["image"]).status_code == 200


def test_uploads_and_redirections_pass_the_proxy(proxied: httpx.Client) -> None:
    found = proxied.post(f"{PATH}/similar?limit=2", content=image_file(), headers=READER | PNG)
    for neighbour in found.json()["similar"]:
        assert proxied.get(neighbour["image"]).status_code == 200
    added = proxied.post(f"{PATH}/gallery", content=image_file(seed=7), headers=ADMIN | PNG)
    assert added.status_code == 201, added.text
    assert proxied.delete(added.headers["Location"], headers=ADMIN).status_code == 204
    redirected = proxied.get(f"{PATH}/docs/")
    assert redirected.is_redirect
    location = urljoin(str(redirected.url), redirected.headers["Location"])
    assert location == urljoin(str(redirected.url), f"{PATH}/docs")
    refused = proxied.post(f"{PATH}/classify", content=b"no image", headers=READER | PNG)
    assert (refused.status_code, refused.json()["instance"]) == (415, f"{PATH}/classify")


def test_the_client_of_this_repository_works_under_a_path(proxied: httpx.Client) -> None:
    url = str(proxied.base_url).rstrip("/") + PATH
    with kindred.Client(url, key="reader") as client:
        nearest = client.predict(image_file(), limit=2).similar["conv2"][0]
        assert nearest.image is not None
        assert nearest.image.startswith(f"{PATH}/gallery/")
        assert client.image(nearest.id)


def test_a_client_cannot_tell_the_path_through_a_proxy_that_does_not(
    told_upstream: str, tmp_path: Path
) -> None:
    """nginx passes headers of clients on; the proxy of this test replaces it by nothing."""
    headers = READER | {"X-Forwarded-Prefix": "/evil"}
    for name in PROXIES:
        folder = tmp_path / name
        folder.mkdir()
        with proxy(name, told_upstream, folder) as url:
            (item,) = httpx.get(f"{url}/gallery?limit=1", headers=headers).json()["items"]
            assert item["image"].startswith("/gallery/")
