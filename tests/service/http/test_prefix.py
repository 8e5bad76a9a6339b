"""Addresses below the path of a proxy: set, told by a trusted proxy, removed by it or left."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service.http.gate.headers import HeaderMap
from service.http.gate.prefix import PathPrefix
from service.server.process import StartError
from service.settings import Settings
from tests.service.conftest import MakeApp
from tests.support.fakes import image_file

PEER = "203.0.113.7"
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def proxied(make_app: MakeApp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a service with a root path, and a gallery of its own."""
    gallery = str(tmp_path_factory.mktemp("prefix") / "gallery")
    with TestClient(make_app(root_path="/kindred/", gallery=gallery)) as running:
        yield running


@pytest.fixture(scope="module")
def told(make_app: MakeApp) -> Iterator[TestClient]:
    """A client of a service that trusts it to tell the path."""
    app = make_app(trusted_proxies="203.0.113.0/24,127.0.0.1")
    with TestClient(app, client=(PEER, 1234)) as running:
        yield running


@pytest.mark.parametrize("left", [False, True])
def test_addresses_begin_with_the_root_path(proxied: TestClient, *, left: bool) -> None:
    prefix = "/kindred" if left else ""
    item = proxied.get(f"{prefix}/gallery?limit=1").json()["items"][0]
    assert item["image"] == f"/kindred/gallery/{item['id']}/image"
    for _ in range(2):  # by its route, then by the plan of its query
        predicted = proxied.post(f"{prefix}/predict", content=image_file(), headers=PNG).json()
        found = [one for layer in predicted["similar"].values() for one in layer]
        assert all(one["image"] == f"/kindred/gallery/{one['id']}/image" for one in found)
    assert proxied.get(item["image"]).status_code == 200
    missing = proxied.get(f"{prefix}/gallery/none")
    assert missing.json()["instance"] == "/kindred/gallery/none"
    refused = proxied.get(f"{prefix}/gallery?lable=x")
    assert (refused.status_code, refused.json()["instance"]) == (422, "/kindred/gallery")
    assert "/kindred/docs" in proxied.get(f"{prefix}/nowhere").json()["detail"]
    assert proxied.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/kindred"}]


def test_the_location_of_a_new_image_begins_with_the_root_path(proxied: TestClient) -> None:
    put = proxied.put("/kindred/gallery/by-proxy", content=image_file(), headers=PNG)
    assert put.status_code == 201
    assert put.headers["Location"] == "/kindred/gallery/by-proxy"
    assert proxied.delete(put.headers["Location"]).status_code == 204


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/kindred", "/kindred/"),
        ("/kindred/docs/", "/kindred/docs"),
        ("/docs/", "/kindred/docs"),
        ("/kindred/gallery/?limit=2", "/kindred/gallery?limit=2"),
    ],
)
def test_redirections_stay_below_the_root_path(
    path: str, location: str, proxied: TestClient
) -> None:
    response = proxied.get(path, follow_redirects=False)
    assert response.is_redirect
    assert response.headers["Location"] == location


def test_without_a_proxy_addresses_have_no_prefix(client: TestClient) -> None:
    headers = {"X-Forwarded-Prefix": "/evil"}
    item = client.get("/gallery?limit=1", headers=headers).json()["items"][0]
    assert item["image"] == f"/gallery/{item['id']}/image"
    assert "servers" not in client.get("/openapi.json", headers=headers).json()
    redirected = client.get("/docs/", headers=headers, follow_redirects=False)
    assert redirected.headers["Location"] == "/docs"
    assert client.get("/nowhere/").status_code == 404


@pytest.mark.parametrize(
    ("header", "prefix"),
    [
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a/b.c~d", "/a/b.c~d"),
        ("/a, /b/", "/a/b"),
        ("", ""),
        ("/", ""),
        ("a", ""),
        ("//evil.org", ""),
        ("/a/../b", ""),
        ("/a\\b", ""),
        ("/a?b", ""),
        ("https://evil.org", ""),
    ],
)
def test_a_trusted_proxy_tells_the_path(header: str, prefix: str, told: TestClient) -> None:
    headers = {"X-Forwarded-Prefix": header}
    item = told.get("/gallery?limit=1", headers=headers).json()["items"][0]
    assert item["image"] == f"{prefix}/gallery/{item['id']}/image"
    document = told.get("/openapi.json", headers=headers).json()
    assert document.get("servers", [{"url": ""}]) == [{"url": prefix}]


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("203.0.113.7", True),
        ("::ffff:203.0.113.7", True),
        ("203.0.112.7", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_only_trusted_peers_tell_the_path(peer: str | None, *, trusted: bool) -> None:
    settings = Settings.model_validate({"trusted_proxies": "203.0.113.0/24, 2001:db8::/32"})
    found = PathPrefix("/set", settings.trusted_proxies)
    scope = {"type": "http", "client": None if peer is None else (peer, 1)}
    headers = HeaderMap([(b"x-forwarded-prefix", b"/told")])
    assert found.of(scope, headers) == ("/told" if trusted else "/set")


def test_a_root_path_that_the_service_has_itself_is_refused(make_app: MakeApp) -> None:
    with pytest.raises(StartError, match=r"KINDRED_ROOT_PATH is /gallery/x, and the service has"):
        make_app(root_path="/gallery/x")
