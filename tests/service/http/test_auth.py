"""Who may ask, and who may change."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.datastructures import Headers

from service.errors import UnauthorizedError
from service.http.auth import Keys, Role, is_public
from service.settings import Settings
from tests.service.conftest import MakeApp

READER, ADMIN = "reader-key", "admin-key"
BOTH = Keys([READER, "other-key"], [ADMIN], allow_anonymous=False)


def bearer(key: str) -> Headers:
    return Headers({"Authorization": f"Bearer {key}"})


@pytest.mark.parametrize("key", [READER, "other-key", ADMIN])
@pytest.mark.parametrize("style", ["Bearer", "bearer", "header"])
def test_a_known_key_lets_in(key: str, style: str) -> None:
    headers = {"X-API-Key": key} if style == "header" else {"Authorization": f"{style} {key}"}
    assert BOTH.role(Headers(headers)) == (Role.WRITE if key == ADMIN else Role.READ)


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
def test_anything_else_does_not(headers: dict[str, str]) -> None:
    with pytest.raises(UnauthorizedError):
        BOTH.role(Headers(headers))


def test_without_any_keys_whoever_reaches_it_may_change() -> None:
    assert Keys([], [], allow_anonymous=False).role(Headers({})) == Role.WRITE


def test_told_to_be_open_nobody_may_change() -> None:
    assert Keys([], [], allow_anonymous=True).role(Headers({})) == Role.READ


def test_told_to_be_open_an_admin_may_change() -> None:
    assert Keys([], [ADMIN], allow_anonymous=True).role(bearer(ADMIN)) == Role.WRITE


def test_with_admin_keys_alone_everybody_may_ask_and_admins_may_change() -> None:
    keys = Keys([], [ADMIN], allow_anonymous=False)
    assert keys.role(Headers({})) == Role.READ
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
def test_a_page_of_another_site_may_not_change_what_this_machine_trusts(
    origin: str, role: Role
) -> None:
    headers = Headers({"Host": "127.0.0.1:8000", "Origin": origin})
    assert Keys([], [], allow_anonymous=False).role(headers) == role


# Through the app.


@pytest.fixture(scope="module")
def locked(make_app: MakeApp) -> TestClient:
    """An app with a key; its network does not run."""
    app = make_app(api_keys=(READER,), cors_origins=("https://example.org",))
    return TestClient(app)


@pytest.mark.parametrize("path", ["/model", "/gallery", "/experiments", "/nowhere"])
def test_without_a_key_there_is_no_answer(locked: TestClient, path: str) -> None:
    answer = locked.get(path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:kindred:problem:unauthorized"
    assert "X-API-Key" in problem["detail"]
    assert answer.headers["X-Request-ID"]


def test_with_the_key_there_is(locked: TestClient) -> None:
    assert locked.get("/model", headers={"X-API-Key": READER}).status_code == 200


def test_a_body_is_refused_before_it_is_read(locked: TestClient) -> None:
    def never() -> object:
        raise AssertionError("the body was read")
        yield b""

    assert locked.post("/classify", content=never()).status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/", "/web/page.css", "/openapi.json"])
def test_health_metrics_and_the_page_need_no_key(locked: TestClient, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_refusals_are_counted(locked: TestClient) -> None:
    locked.get("/model")
    said = locked.get("/metrics").text
    assert 'kindred_rejections_total{reason="unauthorized"}' in said


def test_listed_sites_may_call_from_a_browser_and_others_may_not(locked: TestClient) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
    listed = locked.options("/classify", headers={"Origin": "https://example.org", **ask})
    assert listed.status_code == 200
    assert listed.headers["Access-Control-Allow-Origin"] == "https://example.org"
    other = locked.options("/classify", headers={"Origin": "https://elsewhere.org", **ask})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_without_a_list_no_site_may(client: TestClient) -> None:
    answer = client.get("/model", headers={"Origin": "https://example.org"})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(("keys", "who"), [((), "public"), ((READER,), "private")])
def test_a_picture_that_takes_a_key_is_not_left_with_proxies(
    make_app: MakeApp, keys: tuple[str, ...], who: str
) -> None:
    client = TestClient(make_app(api_keys=keys), headers={"X-API-Key": READER} if keys else {})
    (item,) = client.get("/gallery?limit=1").json()["items"]
    answer = client.get(item["image"])
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"].split(", ")[0] == who
    again = client.get(item["image"], headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["Cache-Control"] == answer.headers["Cache-Control"]


# The name that this machine is asked by.


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:8000", "127.8.8.8", "[::1]:8000"],
)
def test_without_keys_this_machine_answers_to_its_names(client: TestClient, host: str) -> None:
    assert client.get("/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["rebound.example:8000", "localhost.example", "127.0.0.1.example", "192.168.1.5", "[", "x@y"],
)
def test_and_to_no_other_as_a_page_may_have_given_it_that_one(
    client: TestClient, host: str
) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}  # for its browser it is one site
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
def test_what_tells_no_secret_may_be_asked_by_any_name(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"Host": "probed.example"}).status_code == 200


def test_the_address_that_a_request_came_in_at_is_a_name_too(app: FastAPI) -> None:
    client = TestClient(app, base_url="http://192.168.1.5")
    assert client.get("/model").status_code == 200


def test_with_keys_or_open_any_name_will_do(make_app: MakeApp) -> None:
    headers = {"Host": "kindred.example", "X-API-Key": READER}
    for settings in ({"api_keys": (READER,)}, {"allow_anonymous": True}):
        client = TestClient(make_app(**settings))
        assert client.get("/model", headers=headers).status_code == 200


def test_with_admin_keys_alone_reading_is_still_for_this_machine(make_app: MakeApp) -> None:
    client = TestClient(make_app(admin_keys=(ADMIN,)))
    assert client.get("/model", headers={"Host": "rebound.example"}).status_code == 421


# What OpenAPI says of it.

Operations = dict[tuple[str, str], dict[str, Any]]  # Any: JSON
CHANGES = {
    ("/admin/reload", "post"),
    ("/gallery", "post"),
    *(("/gallery/{image_id}", method) for method in ("put", "patch", "delete")),
}
"""What only those may who may change what is served."""
KEY: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]


def operations(app: FastAPI) -> Operations:
    """What is said of each path and method that is guarded."""
    paths = app.openapi()["paths"].items()
    found = {(path, method): one for path, methods in paths for method, one in methods.items()}
    for (path, _), one in found.items():
        if is_public(path):
            assert "security" not in one
            assert not {"401", "403", "421"} & one["responses"].keys()
    guarded = {at: one for at, one in found.items() if not is_public(at[0])}
    assert 0 < len(guarded) < len(found)
    return guarded


def test_openapi_tells_which_keys_are_taken_and_where(make_app: MakeApp) -> None:
    schemes = make_app(api_keys=(READER,)).openapi()["components"]["securitySchemes"]
    assert schemes["bearer"] == {"type": "http", "scheme": "bearer"}
    assert schemes["header"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def test_where_keys_are_needed_every_guarded_operation_says_so(make_app: MakeApp) -> None:
    for at, operation in operations(make_app(api_keys=(READER,))).items():
        assert operation["security"] == KEY
        (media_type,) = operation["responses"]["401"]["content"]
        assert media_type == "application/problem+json"
        assert "421" not in operation["responses"]
        assert ("403" in operation["responses"]) == (at in CHANGES)


def test_where_only_admins_have_keys_they_are_optional_but_for_changes(make_app: MakeApp) -> None:
    for at, operation in operations(make_app(admin_keys=(ADMIN,))).items():
        assert operation["security"] == (KEY if at in CHANGES else [*KEY, {}])
        assert {"401", "421"} <= operation["responses"].keys()


def test_where_there_are_no_keys_none_is_asked_for(make_app: MakeApp) -> None:
    for settings, statuses in (({}, {"421"}), ({"allow_anonymous": True}, set())):
        app = make_app(**settings)
        assert "securitySchemes" not in app.openapi()["components"]
        for at, operation in operations(app).items():
            assert "security" not in operation
            said = operation["responses"].keys() & {"401", "403", "421"}
            assert said == statuses | ({"403"} if at in CHANGES else set())


# Settings.


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])  # noqa: S104
def test_without_keys_only_this_machine_is_answered(host: str) -> None:
    with pytest.raises(
        ValidationError, match="set KINDRED_API_KEYS, or KINDRED_ALLOW_ANONYMOUS=true"
    ):
        Settings(host=host)
    assert Settings(host=host, allow_anonymous=True).host == host
    assert Settings(host=host, api_keys=("key",)).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_keys(host: str) -> None:
    assert Settings(host=host).host == host


def test_keys_come_with_commas_between_and_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINDRED_API_KEYS", "k-1, k-2,,")
    settings = Settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["k-1", "k-2"]
    assert "k-1" not in repr(settings)


@pytest.mark.parametrize("key", ["ké", "two words", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused_unshown(key: str) -> None:
    with pytest.raises(ValidationError, match="ASCII") as refused:
        Settings(admin_keys=(key,))
    assert key not in str(refused.value)
