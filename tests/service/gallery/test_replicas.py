"""Two services in processes of their own share one Milvus."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.support.fakes import png
from tests.support.images import striped_image
from tests.support.processes import milvus_server, running_server, serve_command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def replicas(
    bundle_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Two services started at the same time on an empty Milvus."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as milvus, ExitStack() as running:
        starting = [
            running_server(serve_command(bundle_path), KINDRED_GALLERY=f"{milvus}/replicas")
            for _ in range(2)
        ]
        with ThreadPoolExecutor(2) as threads:
            one, other = threads.map(running.enter_context, starting)
        yield one, other


def test_both_services_list_the_bundles_images_once(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    listed = [_ids(replica, "bundle") for replica in replicas]
    assert len(listed[0]) == len(set(listed[0])) == 150
    assert listed[0] == listed[1]


def test_one_service_finds_edits_and_removes_what_the_other_added(
    replicas: tuple[httpx.Client, httpx.Client],
) -> None:
    one, other = replicas
    image = png(striped_image(3, 77_000))
    headers = {"Content-Type": "image/png"}
    params = {"id": "mine", "label": "cyan", "attribute.shelf": "3"}
    added = one.post("/gallery", params=params, content=image, headers=headers)
    assert added.status_code == 201, added.text
    found = other.post("/similar", params={"limit": 1}, content=image, headers=headers)
    assert [match["id"] for match in found.json()["similar"]] == ["mine"]
    assert _ids(other, "added") == ["mine"]
    shown = Image.open(io.BytesIO(other.get("/gallery/mine/image").content))
    assert shown.tobytes() == Image.open(io.BytesIO(image)).tobytes()
    assert other.patch("/gallery/mine", json={"label": "jade"}).status_code == 200
    assert one.get("/gallery/mine").json()["label"] == "jade"
    again = other.post("/gallery", params=params, content=image, headers=headers)
    assert again.status_code == 200
    assert other.delete("/gallery/mine").status_code == 204
    assert one.get("/gallery/mine").status_code == 404
    assert _ids(one, "added") == []


def _ids(replica: httpx.Client, source: str) -> list[str]:
    page = replica.get("/gallery", params={"source": source, "limit": 100}).json()
    ids = [item["id"] for item in page["items"]]
    while page["next"]:
        more = {"source": source, "limit": 100, "cursor": page["next"]}
        page = replica.get("/gallery", params=more).json()
        ids += [item["id"] for item in page["items"]]
    return ids
