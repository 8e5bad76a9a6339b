"""API keys, roles and the `Host` check, alone and through the app."""

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.errors import UnauthorizedError
from service.http.auth import Keys, Role, is_public
from service.http.gate.headers import HeaderMap
from service.settings import Settings
from tests.service.conftest import MakeApp

READER, ADMIN = "reader-key", "admin-key"
BOTH = Keys([READER, "other-key"], [ADMIN], allow_anonymous=False)


def header_map(headers: Mapping[str, str]) -> HeaderMap:
    return HeaderMap((name.lower().encode(), value.encode()) for name, value in headers.items())


def bearer(key: str) -> HeaderMap:
    return header_map({"Authorization": f"Bearer {key}"})


@pytest.mark.parametrize("key", [READER, "other-key", ADMIN])
@pytest.mark.parametrize("style", ["Bearer", "bearer", "header"])
def test_a_known_key_gives_its_role(key: str, style: str) -> None:
    headers = {"X-API-Key": key} if style == "header" else {"Authorization": f"{style} {key}"}
    assert BOTH.role(header_map(headers)) == (Role.WRITE if key == ADMIN else Role.READ)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {READER}"},
        {"Authorization": f"Bearer {READER}x"},
        {"Authorization": f"Bearer {READER[:-1]}"},
        {"X-API-Key": READER.upper()},
        {"X-API-Key": "ké"},
        {"X-API-Key": ""},
    ],
)
def test_a_missing_or_unknown_key_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(UnauthorizedError):
        BOTH.role(header_map(headers))


def test_without_keys_every_request_may_write() -> None:
    assert Keys([], [], allow_anonymous=False).role(header_map({})) == Role.WRITE


def test_anonymous_requests_may_only_read() -> None:
    assert Keys([], [], allow_anonymous=True).role(header_map({})) == Role.READ


def test_an_admin_key_may_write_where_anonymous_requests_read() -> None:
    assert Keys([], [ADMIN], allow_anonymous=True).role(bearer(ADMIN)) == Role.WRITE


def test_with_admin_keys_alone_anonymous_requests_read_and_admins_write() -> None:
    keys = Keys([], [ADMIN], allow_anonymous=False)
    assert keys.role(header_map({})) == Role.READ
    assert keys.role(bearer(ADMIN)) == Role.WRITE
    with pytest.raises(UnauthorizedError):
        keys.role(bearer("wrong"))


@pytest.mark.parametrize(
    ("origin", "role"),
    [
        ("http://127.0.0.1:8000", Role.WRITE),
        ("https://elsewhere.org", Role.READ),
        ("null", Role.READ),
        ("http://[", Role.READ),
    ],
)
def test_a_page_of_another_site_may_not_write_without_a_key(origin: str, role: Role) -> None:
    headers = header_map({"Host": "127.0.0.1:8000", "Origin": origin})
    assert Keys([], [], allow_anonymous=False).role(headers) == role


@pytest.mark.parametrize(
    ("headers", "role"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, Role.READ),
        ({"Sec-Fetch-Site": "same-site"}, Role.READ),
        ({"Sec-Fetch-Site": "same-origin"}, Role.WRITE),
        ({"Sec-Fetch-Site": "none"}, Role.WRITE),
        ({"Referer": "https://elsewhere.org/page"}, Role.READ),
        ({"Referer": "http://127.0.0.1:8001/"}, Role.READ),
        ({"Referer": "http://127.0.0.1:8000.elsewhere.org/"}, Role.READ),
        ({"Referer": "http://127.0.0.1:8000@elsewhere.org/"}, Role.READ),
        ({"Referer": ""}, Role.READ),
        ({"Referer": "http://127.0.0.1:8000/gallery?a=b"}, Role.WRITE),
        ({"Referer": "http://127.0.0.1:8000"}, Role.WRITE),
        ({"Sec-Fetch-Site": "same-origin", "Referer": "https://elsewhere.org/"}, Role.READ),
        ({"Sec-Fetch-Site": "cross-site", "Referer": "http://127.0.0.1:8000/"}, Role.READ),
    ],
)
def test_without_an_origin_the_other_headers_tell_the_site_of_a_page(
    headers: dict[str, str], role: Role
) -> None:
    sent = header_map({"Host": "127.0.0.1:8000", **headers})
    assert Keys([], [], allow_anonymous=False).role(sent) == role


# Through the app.


@pytest.fixture(scope="module")
def locked(make_app: MakeApp) -> TestClient:
    """A client of an app with a key; inference is not started."""
    app = make_app(api_keys=(READER,), cors_origins=("https://example.org",))
    return TestClient(app)


@pytest.mark.parametrize("path", ["/model", "/gallery", "/experiments", "/nowhere"])
def test_a_request_without_a_key_is_401_with_a_problem(locked: TestClient, path: str) -> None:
    answer = locked.get(path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:kindred:problem:unauthorized"
    assert "X-API-Key" in problem["detail"]
    assert answer.headers["X-Request-ID"]


def test_a_request_with_the_key_is_answered(locked: TestClient) -> None:
    assert locked.get("/model", headers={"X-API-Key": READER}).status_code == 200


def test_authentication_fails_before_the_body_is_read(locked: TestClient) -> None:
    def never() -> object:
        raise AssertionError("the body was read")
        yield b""

    assert locked.post("/classify", content=never()).status_code == 401


@pytest.mark.parametrize(
    "path", ["/livez", "/metrics", "/", "/web/styles/page.css", "/openapi.json"]
)
def test_health_metrics_and_the_page_need_no_key(locked: TestClient, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_refusals_are_counted(locked: TestClient) -> None:
    locked.get("/model")
    metrics = locked.get("/metrics").text
    assert 'kindred_rejections_total{reason="unauthorized"}' in metrics


def test_cors_allows_listed_origins_only(locked: TestClient) -> None:
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    listed = locked.options("/classify", headers={"Origin": "https://example.org", **preflight})
    assert listed.status_code == 200
    assert listed.headers["Access-Control-Allow-Origin"] == "https://example.org"
    other = locked.options("/classify", headers={"Origin": "https://elsewhere.org", **preflight})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_cors_allows_no_origin_by_default(client: TestClient) -> None:
    answer = client.get("/model", headers={"Origin": "https://example.org"})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(("keys", "visibility"), [((), "public"), ((READER,), "private")])
def test_images_that_need_a_key_are_cached_privately(
    make_app: MakeApp, keys: tuple[str, ...], visibility: str
) -> None:
    client = TestClient(make_app(api_keys=keys), headers={"X-API-Key": READER} if keys else {})
    (item,) = client.get("/gallery?limit=1").json()["items"]
    answer = client.get(item["image"])
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"].split(", ")[0] == visibility
    again = client.get(item["image"], headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["Cache-Control"] == answer.headers["Cache-Control"]


# The `Host` header.


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:8000", "127.8.8.8", "[::1]:8000"],
)
def test_without_keys_loopback_hosts_are_accepted(client: TestClient, host: str) -> None:
    assert client.get("/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["rebound.example:8000", "localhost.example", "127.0.0.1.example", "192.168.1.5", "[", "x@y"],
)
def test_without_keys_other_hosts_are_421(client: TestClient, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}  # the same site to a browser
    for answer in (
        client.get("/model", headers=headers),
        client.post("/admin/reload", headers=headers),
    ):
        assert answer.status_code == 421
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["type"] == "urn:kindred:problem:misdirected"
        assert host in problem["detail"]
        assert "KINDRED_API_KEYS" in problem["detail"]


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/openapi.json"])
def test_public_paths_accept_any_host(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"Host": "probed.example"}).status_code == 200


def test_the_address_of_the_server_is_accepted_as_host(app: FastAPI) -> None:
    client = TestClient(app, base_url="http://192.168.1.5")
    assert client.get("/model").status_code == 200


def test_with_keys_or_anonymous_access_any_host_is_accepted(make_app: MakeApp) -> None:
    headers = {"Host": "kindred.example", "X-API-Key": READER}
    for settings in ({"api_keys": (READER,)}, {"allow_anonymous": True}):
        client = TestClient(make_app(**settings))
        assert client.get("/model", headers=headers).status_code == 200


def test_with_admin_keys_alone_other_hosts_are_421(make_app: MakeApp) -> None:
    client = TestClient(make_app(admin_keys=(ADMIN,)))
    assert client.get("/model", headers={"Host": "rebound.example"}).status_code == 421


# The OpenAPI document.

Operations = dict[tuple[str, str], dict[str, Any]]  # Any: JSON
CHANGES = {
    ("/admin/reload", "post"),
    ("/gallery", "post"),
    *(("/gallery/{image_id}", method) for method in ("put", "patch", "delete")),
}
"""The operations that need an admin key."""
KEY: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]


def operations(app: FastAPI) -> Operations:
    """Return the operations that need a key, by path and method."""
    paths = app.openapi()["paths"].items()
    found = {(path, method): one for path, methods in paths for method, one in methods.items()}
    for (path, _), one in found.items():
        if is_public(path):
            assert "security" not in one
            assert not {"401", "403", "421"} & one["responses"].keys()
    protected = {at: one for at, one in found.items() if not is_public(at[0])}
    assert 0 < len(protected) < len(found)
    return protected


def test_openapi_describes_the_security_schemes(make_app: MakeApp) -> None:
    schemes = make_app(api_keys=(READER,)).openapi()["components"]["securitySchemes"]
    assert schemes["bearer"] == {"type": "http", "scheme": "bearer"}
    assert schemes["header"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def test_openapi_requires_a_key_for_every_protected_operation(make_app: MakeApp) -> None:
    for at, operation in operations(make_app(api_keys=(READER,))).items():
        assert operation["security"] == KEY
        (media_type,) = operation["responses"]["401"]["content"]
        assert media_type == "application/problem+json"
        assert "421" not in operation["responses"]
        assert ("403" in operation["responses"]) == (at in CHANGES)


def test_openapi_makes_keys_optional_for_reading_with_admin_keys_alone(make_app: MakeApp) -> None:
    for at, operation in operations(make_app(admin_keys=(ADMIN,))).items():
        assert operation["security"] == (KEY if at in CHANGES else [*KEY, {}])
        assert {"401", "421"} <= operation["responses"].keys()


def test_openapi_has_no_security_without_keys(make_app: MakeApp) -> None:
    for settings, statuses in (({}, {"421"}), ({"allow_anonymous": True}, set())):
        app = make_app(**settings)
        assert "securitySchemes" not in app.openapi()["components"]
        for at, operation in operations(app).items():
            assert "security" not in operation
            refusals = operation["responses"].keys() & {"401", "403", "421"}
            assert refusals == statuses | ({"403"} if at in CHANGES else set())


# Settings.


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])  # noqa: S104
def test_settings_refuse_a_public_host_without_keys(host: str) -> None:
    with pytest.raises(
        ValidationError, match="set KINDRED_API_KEYS, or KINDRED_ALLOW_ANONYMOUS=true"
    ):
        Settings(host=host)
    assert Settings(host=host, allow_anonymous=True).host == host
    assert Settings(host=host, api_keys=("key",)).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_settings_accept_a_loopback_host_without_keys(host: str) -> None:
    assert Settings(host=host).host == host


def test_keys_are_separated_by_commas_and_hidden_in_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_API_KEYS", "k-1, k-2,,")
    settings = Settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["k-1", "k-2"]
    assert "k-1" not in repr(settings)


@pytest.mark.parametrize("key", ["ké", "two words", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValidationError, match="ASCII") as refused:
        Settings(admin_keys=(key,))
    assert key not in str(refused.value)
