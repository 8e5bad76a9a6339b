"""The web page as it is served: complete, small, and without other hosts."""

import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.http import problems
from service.http.routes import docs, web

FILES = sorted(
    file.relative_to(web.WEB).as_posix() for file in web.WEB.rglob("*") if file.is_file()
)
BUDGET = 200_000
"""Bytes of the page without the map, which is fetched only when it is opened."""
MAP_BUDGET = 60_000


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = FastAPI(docs_url=None)  # routes/docs.py serves them
    problems.install(app)
    app.include_router(web.router)
    app.include_router(docs.router)
    with TestClient(app) as client:
        yield client


def test_the_page_is_at_the_root(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>kindred</title>" in response.text


@pytest.mark.parametrize(
    "path",
    ["/", *(f"/web/{name}" for name in FILES), "/docs", *(f"/docs/{name}" for name in docs.ASSETS)],
)
def test_every_file_comes_with_a_strict_policy(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_its_media_type(client: TestClient, name: str) -> None:
    expected = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg"}
    response = client.get(f"/web/{name}")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(expected[name.rsplit(".", 1)[1]])


def test_a_cached_file_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/web/main.js")
    again = client.get(
        "/web/main.js", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/web/main.js", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["none.js", "lib", "lib/none.js", "api.js", "..%2Froutes%2Fpage.py", "%2E%2E%2Fapp.py"],
)
def test_unknown_files_are_404(client: TestClient, name: str) -> None:
    assert client.get(f"/web/{name}").status_code == 404
    assert client.get(f"/docs/{name}").status_code == 404


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host(name: str) -> None:
    text = (web.WEB / name).read_text(encoding="utf-8")
    namespace = "http://www.w3.org/2000/svg"
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text.replace(namespace, "")) == []


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_no_response_can_become_markup_or_code(name: str) -> None:
    text = (web.WEB / name).read_text(encoding="utf-8")
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text) == []
    )


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".js", ".html"))])
def test_every_imported_module_exists(name: str) -> None:
    text = (web.WEB / name).read_text(encoding="utf-8")
    links = [web.WEB / path for path in re.findall(r'"web/([^"]+)"', text)]
    imports = re.findall(r'(?:from |import\()"(\.[^"]+)"', text)
    linked = [*links, *((web.WEB / name).parent / path for path in imports)]
    assert [path for path in linked if not path.is_file()] == []


def test_the_whole_page_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {name: (web.WEB / name).stat().st_size for name in FILES}
    lazy = ("map/", "views/map.js", "styles/map.css")
    of_map = sum(size for name, size in sizes.items() if name.startswith(lazy))
    size = sum(sizes.values()) - of_map
    with capsys.disabled():
        print(f"\nthe page: {size / 1000:.0f} KB; the map: {of_map / 1000:.0f} KB more")
    assert size < BUDGET
    assert of_map < MAP_BUDGET
