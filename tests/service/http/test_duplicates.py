"""Long searches for duplicates: they are done in slices, beside all other requests."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.gallery.types import MATCH_ALL
from service.retrieval.duplicates import DuplicateSearch
from service.state import State
from tests.service.conftest import MakeApp
from tests.support.fakes import BATCH_TIMEOUT, image_file
from tests.support.processes import running_app
from training.bundle import Bundle

PNG = {"Content-Type": "image/png"}


def test_several_at_once_do_not_keep_the_gallery_waiting(
    make_app: MakeApp, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, examine = threading.Event(), DuplicateSearch.examine_slice

    def wait_and_examine(search: DuplicateSearch) -> bool:
        assert gate.wait(BATCH_TIMEOUT)
        return examine(search)

    monkeypatch.setattr(DuplicateSearch, "examine_slice", wait_and_examine)
    image = f"/gallery/{loaded.gallery.ids[0]}"
    with running_app(make_app()) as client, ThreadPoolExecutor(8) as pool:
        path = "/gallery/duplicates?limit=1000"
        long = [pool.submit(client.post, path, headers={"X-Request-ID": str(n)}) for n in range(8)]
        while client.get("/metrics").text.count("in_flight 9.0") == 0:  # with this one
            time.sleep(0.01)
        for other in ("/gallery", image, f"{image}/image", f"{image}/similar"):
            assert client.get(other).status_code == 200
        assert client.post("/similar", content=image_file(), headers=PNG).status_code == 200
        gate.set()
        assert [one.result().status_code for one in long] == [200] * 8


def test_a_page_that_takes_too_long_goes_on_in_the_next(
    make_app: MakeApp, loaded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine = DuplicateSearch.examine_slice

    def examine_slowly(search: DuplicateSearch) -> bool:
        time.sleep(0.1)
        return examine(search)

    app = make_app(request_timeout=2.0)
    state: State = app.state.kindred
    whole = DuplicateSearch(
        state.gallery.snapshot(), "conv2", 0.9, count=1000, after="", filter_=MATCH_ALL
    )
    while whole.examine_slice():
        pass
    monkeypatch.setattr(DuplicateSearch, "examine_slice", examine_slowly)
    path = "/gallery/duplicates?limit=1000&threshold=0.9"
    with running_app(app) as client:
        pages = [client.post(path).json()]
        while pages[-1]["next"] is not None:
            pages.append(client.post(f"{path}&cursor={pages[-1]['next']}").json())
    assert len(pages) > 1
    assert sum(page["looked_at"] for page in pages) == len(loaded.gallery)
    found = [(one["first"]["id"], one["second"]["id"]) for page in pages for one in page["pairs"]]
    expected = [(pair.first.id, pair.second.id) for pair in whole.response().pairs]
    assert sorted(found) == sorted(expected)
    assert found
