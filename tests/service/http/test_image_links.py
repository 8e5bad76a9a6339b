"""Image addresses that open without a key where reading needs one: signed, and for a time."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from service.retrieval.links import ImageSigner
from tests.service.conftest import MakeApp
from tests.support.fakes import image_file

KEYS = {"api_keys": "reader,other", "admin_keys": "admin"}
READER = {"X-API-Key": "reader"}


@pytest.fixture(scope="module")
def keyed(make_app: MakeApp) -> Iterator[TestClient]:
    """A client of a service whose reading needs a key; it sends none by itself."""
    with TestClient(make_app(**KEYS)) as running:
        yield running


def addresses(client: TestClient, count: int = 2) -> list[str]:
    items = client.get(f"/gallery?limit={count}", headers=READER).json()["items"]
    return [item["image"] for item in items]


def test_an_image_address_opens_without_a_key(keyed: TestClient) -> None:
    (address, _) = addresses(keyed)
    path = urlsplit(address).path
    assert keyed.get(path).status_code == 401
    opened = keyed.get(address)
    assert opened.status_code == 200
    assert opened.headers["Cache-Control"].startswith("private")
    assert opened.content == keyed.get(path, headers=READER).content
    assert keyed.head(address).status_code == 200
    network = keyed.get(f"{address}&size=network")
    assert (network.status_code, network.headers["Content-Type"]) == (200, "image/png")


def test_neighbours_have_addresses_that_open(keyed: TestClient) -> None:
    headers = READER | {"Content-Type": "image/png"}
    for _ in range(2):  # by its route, then by the plan of its query
        found = keyed.post("/similar?limit=2", content=image_file(), headers=headers)
        for neighbour in found.json()["similar"]:
            assert keyed.get(neighbour["image"]).status_code == 200


def test_a_signature_permits_reading_its_image_alone(keyed: TestClient) -> None:
    first, second = addresses(keyed)
    query = urlsplit(first).query
    item = urlsplit(first).path.removesuffix("/image")
    for path in (urlsplit(second).path, item, f"{item}/similar", "/gallery", "/model"):
        assert keyed.get(f"{path}?{query}").status_code == 401, path
    assert keyed.delete(f"{item}?{query}").status_code == 401


@pytest.mark.parametrize("changed", ["expires", "signature"])
def test_a_changed_address_is_refused(changed: str, keyed: TestClient) -> None:
    (address, _) = addresses(keyed)
    value = parse_qs(urlsplit(address).query)[changed][0]
    for other in (value[:-1], value + "0", str(int(value, 16) + 1), "ü", ""):
        refused = keyed.get(address.replace(value, other))
        assert refused.status_code == 401, other
        assert "request a new one" in refused.json()["detail"]


def test_a_key_counts_more_than_a_signature(keyed: TestClient) -> None:
    (address, _) = addresses(keyed)
    old = address.replace("expires=", "expires=1")
    assert keyed.get(old, headers=READER).status_code == 200
    assert keyed.get(address, headers={"X-API-Key": "wrong"}).status_code == 401


def test_replicas_with_the_same_keys_accept_an_address(
    keyed: TestClient, make_app: MakeApp
) -> None:
    (address, _) = addresses(keyed)
    with TestClient(make_app(api_keys="other,reader", admin_keys="admin")) as replica:
        assert replica.get(address).status_code == 200
    with TestClient(make_app(api_keys="other,reader,third", admin_keys="admin")) as rotated:
        assert rotated.get(address).status_code == 401


def test_without_keys_addresses_have_no_signature_and_one_is_ignored(client: TestClient) -> None:
    item = client.get("/gallery?limit=1").json()["items"][0]
    assert "?" not in item["image"]
    assert client.get(f"{item['image']}?expires=1&signature=x").status_code == 200


def test_a_signature_ends_and_stays_the_same_for_half_of_its_time() -> None:
    clock = [1_000_000.0]
    signer = ImageSigner(["key"], 100, clock=lambda: clock[0])
    queries = []
    for clock[0] in (1_000_000.0, 1_000_049.0, 1_000_050.0):
        queries.append(signer.query("an-id"))
    assert queries[0] == queries[1] != queries[2]
    fields = parse_qs(queries[0])
    expires, signature = int(fields["expires"][0]), fields["signature"][0]
    assert expires == 1_000_100
    for clock[0], valid in ((1_000_000.0, True), (1_000_099.0, True), (1_000_100.0, False)):
        assert signer.is_valid("an-id", expires, signature) is valid
