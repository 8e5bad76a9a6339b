"""A reload replaces the bundle while the service runs."""

import asyncio
import gc
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from weakref import ReferenceType, ref

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.engine.types import Priority
from service.errors import BundleRefusedError
from service.server import startup
from service.server.reload import Reloader, StateSlot
from service.settings import Settings
from service.state import State
from tests.support.factories import accept, linked_copy, replace_file
from tests.support.fakes import image_file
from tests.support.lengths import length
from tests.support.processes import resident, running_server, serve_command
from training.bundle import BundleError, known, load
from training.bundle.known import KnownImage
from training.bundle.writer import update_current_link

PNG = {"Content-Type": "image/png"}
RELOADS = length(50, 12)
CLIENTS = 3
"""Clients that send requests during the reloads."""


@pytest.fixture
def current(tmp_path: Path, bundle_path: Path, bundle_without_pixels_path: Path) -> Path:
    """Create a link to one bundle, next to another one."""
    linked_copy(bundle_path, tmp_path / "one")
    linked_copy(bundle_without_pixels_path, tmp_path / "other")
    update_current_link(tmp_path / "current", tmp_path / "one")
    return tmp_path / "current"


@pytest.fixture
def app(current: Path) -> FastAPI:
    return create_app(Settings(bundle=current, max_batch_size=4))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as running:
        yield running


def link_to(current: Path, name: str) -> None:
    update_current_link(current, current.with_name(name))


def test_a_reload_serves_the_bundle_that_is_there_now(client: TestClient, current: Path) -> None:
    before = client.get("/model").json()
    link_to(current, "other")
    response = client.post("/admin/reload")
    assert response.status_code == 200
    after = client.get("/model").json()
    assert response.json() == {
        which: {"name": model["name"], "version": model["version"]}
        for which, model in (("previous", before), ("current", after))
    } | {"moved": None}
    assert before["version"] != after["version"]
    assert (before["gallery"]["size"], after["gallery"]["size"]) == (150, 100)
    answer = client.post("/predict", content=image_file(), headers=PNG).json()
    assert answer["model"]["version"] == after["version"]
    metrics = client.get("/metrics").text
    assert f'version="{after["version"]}"' in metrics
    assert before["version"] not in metrics
    assert "kindred_reloads_total 1.0" in metrics


def test_a_damaged_bundle_is_refused_and_the_old_one_is_still_served(
    client: TestClient, current: Path
) -> None:
    before = client.get("/model").json()
    weights = current.with_name("other") / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()  # a hard link to the file of other tests
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    link_to(current, "other")
    refused = client.post("/admin/reload")
    assert refused.status_code == 409
    assert "model.safetensors is damaged" in refused.json()["detail"]
    assert client.get("/model").json() == before
    assert client.get("/readyz").status_code == 200
    assert client.post("/classify", content=image_file(), headers=PNG).status_code == 200


def damage(bundle: Path, kind: str) -> None:
    """Change a bundle so that its manifest fits, but its files do not fit together."""
    if kind == "half an ONNX file":
        name = "model.onnx"
        content = (bundle / name).read_bytes()
        changed = content[: len(content) // 2]
    elif kind == "layers swapped":
        name = "index.json"
        text = (bundle / name).read_text().replace('"conv2"', '"x"').replace('"logits"', '"conv2"')
        changed = text.replace('"x"', '"logits"').encode()
    elif kind == "one layer":
        name = "index.json"
        indexes = json.loads((bundle / name).read_text())["indexes"]
        changed = json.dumps({"indexes": indexes[:1]}).encode()
    elif kind == "ranges inverted":
        name = "ranges.json"
        ranges = json.loads((bundle / name).read_text())
        inputs = {layer: bounds[::-1] for layer, bounds in ranges["inputs"].items()}
        changed = json.dumps({**ranges, "inputs": inputs}).encode()
    elif kind == "labels too large":
        name = "gallery.json"
        gallery = json.loads((bundle / name).read_text())
        changed = json.dumps({**gallery, "labels": [2**70] * len(gallery["labels"])}).encode()
    else:
        name = "known.safetensors"
        changed = (bundle.with_name("foreign") / name).read_bytes()
    replace_file(bundle / name, changed)
    accept(bundle, name)


KINDS_OF_DAMAGE = (
    "half an ONNX file",
    "layers swapped",
    "one layer",
    "ranges inverted",
    "labels too large",
    "another network",
)


@pytest.fixture
def foreign(current: Path) -> None:
    """Write the known image of another network beside the bundles."""
    found = known.load(current / "known.safetensors", load(current).network.spec)
    vectors = {layer: vector[::-1].copy() for layer, vector in found.vectors.items()}
    (current.with_name("foreign")).mkdir()
    known.save(
        KnownImage(found.pixels, vectors), current.with_name("foreign") / "known.safetensors"
    )


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize("kind", KINDS_OF_DAMAGE)
def test_a_bundle_that_does_not_fit_together_is_refused(
    kind: str, client: TestClient, current: Path
) -> None:
    before = client.get("/model").json()
    damage(current.with_name("other"), kind)
    link_to(current, "other")
    refused = client.post("/admin/reload")
    assert refused.status_code == 409
    assert refused.json()["detail"].count("\n") == 0
    assert client.get("/model").json() == before
    assert client.post("/predict", content=image_file(), headers=PNG).status_code == 200


def test_ranges_that_are_wrong_are_refused(current: Path) -> None:
    """They are in order, but clip nearly all of the inputs."""
    with TestClient(
        create_app(Settings(bundle=current, precision="int8", max_batch_size=1))
    ) as http:
        other = current.with_name("other")
        ranges = json.loads((other / "ranges.json").read_text())
        inputs = {layer: (low / 1e3, high / 1e3) for layer, (low, high) in ranges["inputs"].items()}
        content = json.dumps({**ranges, "inputs": inputs}).encode()
        replace_file(other / "ranges.json", content)
        accept(other, "ranges.json")
        link_to(current, "other")
        refused = http.post("/admin/reload")
    assert refused.status_code == 409
    assert "does not recognise the bundle's known image" in refused.json()["detail"]


def test_an_unexpected_error_refuses_the_bundle(app: FastAPI) -> None:
    def fail(_: State) -> State:
        raise ZeroDivisionError

    async def go() -> None:
        reloader = Reloader(StateSlot(lambda: app.state.kindred, lambda _: None), fail)
        with pytest.raises(BundleRefusedError, match="ZeroDivisionError"):
            await reloader.reload()

    asyncio.run(go())


@pytest.mark.parametrize("refused", [False, True])
def test_what_a_reload_loads_is_freed_without_the_garbage_collector(
    refused: bool, app: FastAPI, client: TestClient, current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state that was replaced, or the one that was refused after all of it was loaded."""
    loaded: list[ReferenceType[object]] = []

    def remember(state: State) -> None:
        parts = (state, state.bundle.network, state.gallery, state.bundle.indexes["conv2"])
        loaded.extend(map(ref, parts))
        loaded.append(ref(state.engine._backend._all_cores))  # type: ignore[attr-defined]

    def refuse(state: State) -> None:
        remember(state)
        raise BundleError("refused by this test")

    if refused:
        monkeypatch.setattr(startup, "_check_known_image", refuse)
    else:
        remember(app.state.kindred)
    gc.collect()
    gc.disable()
    try:
        assert client.post("/admin/reload").status_code == (409 if refused else 200)
        deadline = time.monotonic() + 20
        while any(one() is not None for one in loaded) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [one() for one in loaded] == [None] * len(loaded)
    finally:
        gc.enable()


def test_a_reload_never_changes_to_another_place(
    bundle_path: Path,
    bundle_without_pixels_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    linked_copy(bundle_without_pixels_path, tmp_path / "starter")
    linked_copy(bundle_path, tmp_path / "bundles" / "one")
    link = tmp_path / "bundles" / "current"

    def version(http: TestClient) -> str:
        found: str = http.get("/model").json()["version"]
        return found

    with TestClient(create_app(Settings(max_batch_size=1))) as http:
        starter = version(http)
        assert "Serving the starter bundle, because nothing has been built" in caplog.text
        assert http.post("/admin/reload").json()["moved"] is None
        link.symlink_to("one")
        reloaded = http.post("/admin/reload")
        assert reloaded.status_code == 200
        built = version(http)
        assert built != starter  # the starter stands in until a bundle is built, and it is said:
        assert reloaded.json()["moved"] == {"previous": "starter", "current": "bundles/current"}
        assert f"{starter} from starter" in caplog.text
        assert f"{built} from bundles/current instead of" in caplog.text
        assert http.post("/admin/reload").json()["moved"] is None
        for lead in ("gone", "current"):
            link.unlink()
            link.symlink_to(lead)
            assert http.post("/admin/reload").status_code == 409
            assert version(http) == built
        link.unlink()
        assert http.post("/admin/reload").status_code == 409
        assert version(http) == built
    for lead in ("gone", "current"):
        link.unlink(missing_ok=True)
        link.symlink_to(lead)
        with pytest.raises(BundleError, match="no bundle at bundles/current"):
            create_app(Settings())
    link.unlink()
    link.symlink_to("one")
    caplog.clear()
    with TestClient(create_app(Settings(bundle=Path("starter"), max_batch_size=1))) as http:
        assert "Serving the starter" not in caplog.text
        assert http.post("/admin/reload").json()["moved"] is None
        assert version(http) == starter  # it was named


def test_a_missing_bundle_is_refused(client: TestClient, current: Path) -> None:
    current.unlink()
    assert client.post("/admin/reload").status_code == 409
    assert client.get("/experiments").json()["experiments"]
    assert client.get("/model").json()["caveats"]  # the old bundle is still in memory


def test_a_key_for_reading_may_not_reload(current: Path) -> None:
    app = create_app(Settings(bundle=current, api_keys=("reader",), admin_keys=("admin",)))
    refused = TestClient(app).post("/admin/reload", headers={"X-API-Key": "reader"})
    assert refused.status_code == 403
    assert "KINDRED_ADMIN_KEYS" in refused.json()["detail"]


def test_the_old_state_answers_the_requests_that_began_with_it(app: FastAPI) -> None:
    """Its engine stops after its last request, not before."""
    stopped = threading.Event()

    class Engine:
        def start(self) -> None:
            pass

        def stop(self) -> None:
            stopped.set()

    async def go() -> None:
        old: State = replace(app.state.kindred, engine=Engine())
        request = ExitStack()
        request.enter_context(old.requests.acquire())
        served = [old]
        slot = StateSlot(lambda: served[-1], served.append)
        reloader = Reloader(slot, replace)
        await reloader.reload()
        assert served[-1] is not old
        await asyncio.sleep(0.1)
        assert not stopped.is_set()
        request.close()
        await reloader.close()
        assert stopped.is_set()

    asyncio.run(go())


def test_requests_of_the_old_state_do_not_count_in_the_new_one(
    app: FastAPI, client: TestClient
) -> None:
    old: State = app.state.kindred
    with (
        old.admission.permit(Priority.INTERACTIVE, 3),
        old.admission.permit(Priority.BACKGROUND, 2),
    ):
        assert client.post("/admin/reload").status_code == 200
        new: State = app.state.kindred
        assert new is not old
        assert [new.admission.in_flight(priority) for priority in Priority] == [0, 0]
        assert new.requests.users == 0


@pytest.mark.soak
@pytest.mark.usefixtures("foreign")
def test_no_request_fails_and_no_memory_is_kept_by_reloads(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reload a real process, every second time in vain, while several clients send requests."""
    done = threading.Event()
    for kind in KINDS_OF_DAMAGE:
        damage(linked_copy(current.with_name("other"), current.with_name(kind)), kind)

    def ask(url: httpx.URL) -> Counter[tuple[int, str]]:
        """Count the responses by status and version."""
        got: Counter[tuple[int, str]] = Counter()
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                answer = client.post("/predict", content=image_file(), headers=PNG)
                got[answer.status_code, answer.json()["model"]["version"]] += 1
        return got

    reloads: Counter[int] = Counter()
    sizes = []
    # Warming up takes most of a reload, so batches are no larger than these clients need.
    with (
        running_server(serve_command(current), KINDRED_MAX_BATCH_SIZE="4") as http,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        running = [clients.submit(ask, http.base_url) for _ in range(CLIENTS)]
        try:
            kinds = cycle(KINDS_OF_DAMAGE)
            for good in islice(cycle(("other", "one")), RELOADS // 2):
                reloads[reload(http, current, next(kinds))] += 1
                reloads[reload(http, current, good)] += 1
                if good == "one":
                    http.get("/readyz")  # its connection does not hold the old state
                    sizes.append(settled(http))
        finally:
            done.set()
        answers = sum((one.result() for one in running), Counter[tuple[int, str]]())
    failures = sum(count for (status, _), count in answers.items() if status != 200)
    with capsys.disabled():
        print(
            f"\n{reloads[200]} reloads and {reloads[409]} refused ones under load: "
            f"{answers.total()} requests answered by {len(answers)} versions in turn, {failures} "
            f"failures; resident {', '.join(f'{size / 1e6:.0f}' for size in sizes)} MB"
        )
    assert reloads == {200: RELOADS // 2, 409: RELOADS // 2}
    assert failures == 0
    assert len(answers) == 2
    assert sizes[-1] < 1.1 * sizes[0]


def settled(http: httpx.Client) -> float:
    """Return the smallest resident memory of a second in which old states are freed."""
    sizes = []
    for _ in range(5):
        sizes.append(resident(http))
        time.sleep(0.2)
    return min(sizes)


def reload(http: httpx.Client, current: Path, name: str) -> int:
    """Reload another bundle, and return the status."""
    link_to(current, name)
    return http.post("/admin/reload").status_code
