"""The client, against a real server process and against failing servers."""

import asyncio
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from time import time

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from kindred import AsyncClient, Client, Fit, Problem, ProblemError, UnreachableError
from kindred.pictures import decode, encode
from kindred.vectors import Vector
from service.schemas.base import ReloadResponse
from service.schemas.images import PredictResponse
from tests.service.conftest import MakeApp
from tests.support.images import striped_image
from tests.support.processes import ROOT, running_app, running_server, serve_command
from training.data.preprocessing import to_pixels

PIXELS = striped_image(3, 7)
WIDE = np.concatenate([striped_image(kind, 7) for kind in (3, 5, 7)], axis=1)
"""Three times as wide as high, so that each fit gives a different square."""


@pytest.fixture(scope="module")
def url(bundle_path: Path) -> Iterator[str]:
    """A server in a process of its own."""
    with running_server(serve_command(bundle_path)) as http:
        yield str(http.base_url)


@pytest.fixture(scope="module")
def kindred(url: str) -> Iterator[Client]:
    with Client(url) as connected:
        yield connected


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each sleep, which is replaced by a stub."""
    slept: list[float] = []
    monkeypatch.setattr("kindred.client.time.sleep", slept.append)
    return slept


def file() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, format="PNG")
    return stream.getvalue()


def same_vector(one: Vector | Problem, other: Vector | Problem) -> bool:
    assert isinstance(one, np.ndarray)
    assert isinstance(other, np.ndarray)
    return np.array_equal(one, other)


def test_an_image_may_be_path_bytes_pillow_image_or_pixels(kindred: Client, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(file())
    given = (path, str(path), file(), Image.fromarray(PIXELS), PIXELS)
    answers = [kindred.predict(image) for image in given]
    assert all(answer == answers[0] for answer in answers)
    assert set(answers[0].similar) == {"conv2", "logits"}


def test_grey_and_transparent_pixels_are_accepted(kindred: Client) -> None:
    for pixels in (PIXELS[..., 0], np.dstack([PIXELS, PIXELS[..., :1]])):
        assert kindred.classify(pixels).predictions


def test_pixels_of_another_type_raise_before_a_request_is_sent(kindred: Client) -> None:
    with pytest.raises(TypeError, match="float64"):
        kindred.classify(PIXELS / 255.0)  # type: ignore[arg-type]


def test_parameters_reach_the_service(kindred: Client) -> None:
    answer = kindred.predict(PIXELS, limit=3, layers=["conv2"], explain=True)
    assert [len(image) for image in answer.similar.values()] == [3]
    assert answer.similar["conv2"][0].heat
    assert len(kindred.classify(PIXELS, top_k=4).predictions) == 4
    label = answer.predictions[0].label
    found = kindred.similar(PIXELS, layer="logits", limit=2, label=label, exact=True)
    assert [image.label for image in found] == [label, label]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_fit_decides_how_an_image_becomes_square(kindred: Client, url: str, fit: Fit) -> None:
    square = to_pixels(Image.fromarray(WIDE), fit)
    assert kindred.predict(WIDE, fit=fit) == kindred.predict(square)
    assert kindred.predict_many([WIDE], fit=fit) == kindred.predict_many([square])
    assert kindred.classify(WIDE, fit=fit) == kindred.classify(square)
    assert kindred.classify_many([WIDE], fit=fit) == kindred.classify_many([square])
    assert kindred.similar(WIDE, fit=fit) == kindred.similar(square)
    assert kindred.similar_many([WIDE], fit=fit) == kindred.similar_many([square])
    assert (kindred.embed(WIDE, fit=fit) == kindred.embed(square)).all()
    assert same_vector(kindred.embed_many([WIDE], fit=fit)[0], kindred.embed_many([square])[0])

    async def compare() -> None:
        async with AsyncClient(url) as other:
            assert await other.predict(WIDE, fit=fit) == kindred.predict(square)
            assert await other.predict_many([WIDE], fit=fit) == kindred.predict_many([square])
            assert await other.classify(WIDE, fit=fit) == kindred.classify(square)
            assert await other.classify_many([WIDE], fit=fit) == kindred.classify_many([square])
            assert await other.similar(WIDE, fit=fit) == kindred.similar(square)
            assert await other.similar_many([WIDE], fit=fit) == kindred.similar_many([square])
            assert (await other.embed(WIDE, fit=fit) == kindred.embed(square)).all()
            (vector,) = await other.embed_many([WIDE], fit=fit)
            assert same_vector(vector, kindred.embed_many([square])[0])

    asyncio.run(compare())


def test_images_are_cropped_by_default(kindred: Client) -> None:
    found = [kindred.classify(WIDE, fit=fit) for fit in ("crop", "pad", "stretch")]
    assert kindred.classify(WIDE) == found[0]
    assert found[0] not in found[1:]


def test_predict_many_returns_a_response_or_a_problem_for_each_image(kindred: Client) -> None:
    good, bad, again = kindred.predict_many([PIXELS, b"no image", PIXELS])
    assert isinstance(good, PredictResponse)
    assert isinstance(bad, Problem)
    assert bad.status == 415
    assert again == good


def test_similar_many_returns_neighbours_or_a_problem_for_each_image(kindred: Client) -> None:
    other = striped_image(5, 8)
    good, bad, last = kindred.similar_many([PIXELS, b"no image", other], layer="logits", limit=3)
    assert good == kindred.similar(PIXELS, layer="logits", limit=3)
    assert isinstance(bad, Problem)
    assert last == kindred.similar(other, layer="logits", limit=3)
    assert good != last


def test_similar_many_uses_the_same_examples_for_each_image(
    kindred: Client,
) -> None:
    like, unlike = (item.id for item in list(kindred.gallery())[:2])
    (found,) = kindred.similar_many([PIXELS], positive=[like], negative=[unlike], exact=True)
    assert found == kindred.similar(PIXELS, positive=[like], negative=[unlike], exact=True)


def test_embed_many_returns_a_vector_or_a_problem_for_each_image(kindred: Client) -> None:
    good, bad, last = kindred.embed_many([PIXELS, b"no image", striped_image(5, 8)])
    assert isinstance(good, np.ndarray)
    assert isinstance(last, np.ndarray)
    assert isinstance(bad, Problem)
    assert good.dtype == np.float32
    assert good.shape == (8192,)
    np.testing.assert_allclose(good, kindred.embed(PIXELS), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last, kindred.embed(striped_image(5, 8)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("picture", [PIXELS, b"no image"], ids=["good", "bad"])
def test_a_list_of_one_image_returns_a_list(kindred: Client, picture: bytes) -> None:
    (classified,) = kindred.classify_many([picture])
    (found,) = kindred.similar_many([picture])
    (vector,) = kindred.embed_many([picture])
    for answer in (classified, found, vector):
        assert isinstance(answer, Problem) == isinstance(picture, bytes)


def test_an_empty_list_raises(kindred: Client) -> None:
    with pytest.raises(ValueError, match="at least one"):
        kindred.predict_many([])


def test_a_vector_is_a_float32_array(kindred: Client) -> None:
    vector = kindred.embed(PIXELS, layer="conv2")
    assert vector.shape == (8192,)
    assert vector.dtype == np.float32


def test_the_gallery_is_read_page_by_page(kindred: Client) -> None:
    everything = list(kindred.gallery(page=40))
    ids = [item.id for item in everything]
    assert len(ids) == len(set(ids)) == 150
    assert ids == sorted(ids)
    own = list(kindred.gallery(label=everything[0].label))
    assert {item.label for item in own} == {everything[0].label}
    matching = [item for item in own if item.predicted == own[0].predicted]
    assert list(kindred.gallery(label=own[0].label, predicted=own[0].predicted)) == matching
    image = kindred.image(ids[0])
    assert image.size == (32, 32)
    nearest = kindred.similar_to(ids[0], limit=3)
    assert len(nearest) == 3
    assert ids[0] not in {image.id for image in nearest}


def test_model_and_experiments_are_typed(kindred: Client) -> None:
    model = kindred.model()
    assert (model.gallery.size, len(model.classes)) == (150, 10)
    assert (model.limits.body_bytes, model.limits.images) == (16 * 2**20, 64)
    assert model.metrics
    assert 0 < model.metrics.test_accuracy <= 1
    names = {one.name: one for one in kindred.experiments()}
    accuracy = names[model.name].validation_accuracy
    assert accuracy
    assert (accuracy.n, names[model.name].runs) == (1, 1)
    assert len(kindred.experiment(model.name).records) == 2


def test_unknown_fields_of_a_response_are_kept(kindred: Client) -> None:
    extra = kindred.model().model_extra
    assert extra
    assert extra["input"]["side"] == 32


def test_the_asynchronous_client_returns_the_same(url: str, kindred: Client) -> None:
    async def compare() -> None:
        async with AsyncClient(url) as other:
            assert await other.predict(PIXELS) == kindred.predict(PIXELS)
            assert await other.predict_many([PIXELS, b""]) == kindred.predict_many([PIXELS, b""])
            assert await other.classify(PIXELS) == kindred.classify(PIXELS)
            assert await other.classify_many([PIXELS]) == kindred.classify_many([PIXELS])
            assert await other.similar(PIXELS) == kindred.similar(PIXELS)
            assert await other.similar_many([PIXELS, b""]) == kindred.similar_many([PIXELS, b""])
            vector, problem = await other.embed_many([PIXELS, b""])
            expected, same = kindred.embed_many([PIXELS, b""])
            assert same_vector(vector, expected)
            assert problem == same
            assert (await other.embed(PIXELS) == kindred.embed(PIXELS)).all()
            items = [item async for item in other.gallery(page=60)]
            assert items == list(kindred.gallery())
            assert await other.similar_to(items[0].id) == kindred.similar_to(items[0].id)
            assert (await other.image(items[0].id)).tobytes() == kindred.image(
                items[0].id
            ).tobytes()
            assert await other.model() == kindred.model()
            assert await other.experiments() == kindred.experiments()
            name = (await other.model()).name
            assert await other.experiment(name) == kindred.experiment(name)

    asyncio.run(compare())


def test_reload_needs_an_admin_key(make_app: MakeApp) -> None:
    async def reload(url: str) -> ReloadResponse:
        async with AsyncClient(url, key="admin") as admin:
            return await admin.reload()

    with running_app(make_app(api_keys=("reader",), admin_keys=("admin",))) as http:
        url = str(http.base_url)
        with Client(url, key="admin") as admin, Client(url, key="reader") as reader:
            response = admin.reload()
            assert response.current.version == reader.model().version
            with pytest.raises(ProblemError, match="403"):
                reader.reload()
        assert asyncio.run(reload(url)) == response


def test_a_refusal_raises_a_problem_error_with_the_reason(kindred: Client) -> None:
    with pytest.raises(ProblemError, match=r"404 Not found: .*conv9") as raised:
        kindred.similar(PIXELS, layer="conv9")
    assert raised.value.status == 404
    assert raised.value.problem.type == "urn:kindred:problem:not-found"


# Repetitions.

Answer = Callable[[httpx.Request], httpx.Response]


def against(*answers: httpx.Response | Exception, retries: int = 4) -> tuple[Client, list[int]]:
    """A client of a server with these responses in order, and the requests so far."""
    requests: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        requests.append(1)
        found = answers[len(requests) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    return Client(transport=httpx.MockTransport(answer), retries=retries), requests


def busy(status: int = 429, wait: str | None = None) -> httpx.Response:
    headers = {} if wait is None else {"Retry-After": wait}
    return httpx.Response(status, text="busy", headers=headers)


NONE = httpx.Response(200, json={"experiments": []})


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_waits_for_retry_after(status: int, sleeps: list[float]) -> None:
    kindred, _ = against(busy(status, "3"), busy(status), NONE)
    assert kindred.experiments() == ()
    assert sleeps == [3.0, 0.4]


def test_retry_after_may_be_a_date(sleeps: list[float]) -> None:
    later = formatdate(time() + 5, usegmt=True)
    kindred, _ = against(busy(503, later), NONE)
    kindred.experiments()
    assert 3 < sleeps[0] <= 5


def test_requests_are_retried_up_to_the_given_number(sleeps: list[float]) -> None:
    kindred, requests = against(*[busy()] * 9, retries=3)
    with pytest.raises(ProblemError, match="429"):
        kindred.experiments()
    assert len(requests) == 4
    assert sleeps == [0.2, 0.4, 0.8]


def test_a_wait_above_the_longest_is_not_waited(sleeps: list[float]) -> None:
    kindred, requests = against(busy(429, "3600"))
    with pytest.raises(ProblemError):
        kindred.experiments()
    assert (len(requests), sleeps) == (1, [])


@pytest.mark.parametrize("status", [400, 404, 413, 500, 504])
def test_other_statuses_are_not_retried(status: int, sleeps: list[float]) -> None:
    kindred, requests = against(busy(status))
    with pytest.raises(ProblemError, match="busy") as raised:
        kindred.experiments()
    assert raised.value.status == status
    assert (len(requests), sleeps) == (1, [])


def test_a_failed_connection_is_retried(sleeps: list[float]) -> None:
    kindred, _ = against(httpx.ConnectError("refused"), NONE)
    assert kindred.experiments() == ()
    assert sleeps == [0.2]


def test_a_broken_connection_is_not_retried(sleeps: list[float]) -> None:
    """The service may have done the work."""
    kindred, requests = against(httpx.ReadError("broken"))
    with pytest.raises(UnreachableError, match="broken"):
        kindred.experiments()
    assert (len(requests), sleeps) == (1, [])


def test_unreachable_error_names_the_url(sleeps: list[float]) -> None:
    with pytest.raises(UnreachableError, match=r"no answer from http://127\.0\.0\.1:9"):
        Client("http://127.0.0.1:9", retries=1).experiments()
    assert sleeps == [0.2]


def test_a_key_is_sent_as_a_bearer_token() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return NONE

    Client(key="secret", transport=httpx.MockTransport(answer)).experiments()
    assert seen == ["Bearer secret"]


# The command line, and imports.


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.client", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_the_class_and_the_similar_images(
    url: str, kindred: Client, tmp_path: Path
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(file())
    ended = command(path, "--url", url, "--limit", "2")
    assert ended.returncode == 0, ended.stderr
    expected = kindred.predict(path, limit=2)
    assert expected.predictions[0].label in ended.stdout
    for image in (*expected.similar["conv2"], *expected.similar["logits"]):
        assert image.id in ended.stdout


def test_the_command_warns_of_an_unfamiliar_image(url: str, tmp_path: Path) -> None:
    path = tmp_path / "blank.png"
    Image.new("RGB", (32, 32), "white").save(path)
    assert "do not rely on this" in command(path, "--url", url).stdout


def test_the_command_prints_json(url: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(file())
    ended = command(path, "--url", url, "--json")
    assert PredictResponse.model_validate_json(
        ended.stdout.strip().removeprefix("[").removesuffix("]")
    )


def test_the_command_passes_the_fit_on(url: str, kindred: Client, tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.fromarray(WIDE).save(path)
    ended = command(path, "--url", url, "--json", "--fit", "pad", "--limit", "2")
    (answer,) = TypeAdapter(list[PredictResponse]).validate_json(ended.stdout)
    assert answer == kindred.predict(path, limit=2, fit="pad") != kindred.predict(path, limit=2)


def test_the_command_names_the_file_that_is_no_image(url: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(file())
    bad.write_bytes(b"no image")
    ended = command(good, bad, "--url", url)
    assert ended.returncode == 1
    assert "Unsupported media type" in ended.stdout.split("bad.png")[1]


def test_the_command_accepts_more_images_than_one_request(url: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(file())
    ended = command(*[path] * 66, "--url", url)
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.count("similar at conv2") == 66


def test_importing_the_client_needs_neither_torch_nor_faiss() -> None:
    code = (
        "import sys, service.client; "
        "print([name for name in ('torch', 'faiss', 'fastapi', 'training') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() == "[]", ended.stderr


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_proxy_of_the_environment_is_not_for_this_machine(
    url: str, proxied: pytest.MonkeyPatch
) -> None:
    proxied.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    proxied.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with Client(url) as client:
        assert client.model().classes
    with Client(url.replace("127.0.0.1", "localhost")) as client:
        assert client.model().classes


def test_a_dead_proxy_is_named_without_its_password(proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    with pytest.raises(UnreachableError) as raised:
        Client("http://kindred.example", retries=0).experiments()
    assert str(raised.value).startswith("no answer from http://kindred.example (")
    assert str(raised.value).endswith("check the URL, and the proxy http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", "socks"),
        ("HTTP_PROXY", "gopher://127.0.0.1:9", "proxy"),
    ],
)
def test_an_unusable_proxy_is_one_clear_line(
    variable: str, value: str, reason: str, proxied: pytest.MonkeyPatch
) -> None:
    proxied.setenv(variable, value)
    ended = command("predict.png", "--url", "http://kindred.example")
    assert ended.returncode == 2  # there is no such file
    ended = command(ROOT / "docs/page.png", "--url", "http://kindred.example")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: no answer from http://kindred.example (")
    assert reason in line.lower()


@pytest.mark.parametrize("key", ["secret\n", "two words", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValueError, match="no header can carry") as raised:
        Client(key=key)
    assert key.strip() not in str(raised.value)


def pictures_of_all_modes() -> Iterator[Image.Image]:
    """Yield an image in each mode that Pillow reads or makes."""
    colours = Image.fromarray(PIXELS)
    alpha = Image.linear_gradient("L").resize(colours.size)
    transparent = colours.copy()
    transparent.putalpha(alpha)
    for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"):
        yield colours.convert(mode)
    for mode in ("RGBA", "RGBa", "LA", "PA"):
        yield transparent.convert("LA" if mode == "PA" else "RGBA").convert(mode)
    levels = np.asarray(colours.convert("L"), np.uint16) * 257
    yield Image.fromarray(levels)
    yield Image.fromarray(levels.astype(">u2"))
    yield Image.fromarray(levels.astype(np.int32))
    yield Image.fromarray(np.array([[-5, 70000], [256, 65535]], np.int32))
    yield Image.fromarray(np.asarray(colours.convert("L"), np.float32))
    yield Image.fromarray(np.asarray(colours.convert("L"), np.float32) / 255)
    with_level = colours.convert("L")
    with_level.info["transparency"] = 7
    yield with_level


@pytest.mark.parametrize("picture", list(pictures_of_all_modes()), ids=lambda image: image.mode)
def test_a_picture_of_any_mode_arrives_as_training_sees_it(picture: Image.Image) -> None:
    sent = decode(encode(picture))
    assert np.array_equal(to_pixels(sent), to_pixels(picture))
