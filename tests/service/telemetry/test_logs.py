"""The log as text and as JSON: fields, request ids, escaping."""

import json
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image, UnidentifiedImageError

from service.telemetry import logs
from service.telemetry.logs import LogFormat
from tests.service.conftest import MakeApp
from tests.support.fakes import file_of
from tests.support.processes import running_server, serve_command
from training.bundle import to_pixels

ID = {"X-Request-ID": "request-1"}
SECRETS = ("secret-key", "fit=pad")
INVALID_EXIF = file_of(Image.new("RGB", (40, 40)), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
"""An image whose EXIF makes Pillow warn."""
SAMPLES = struct.Struct("<HHIHH")
DAMAGED_TIFF = file_of(Image.new("RGB", (8, 8)), "TIFF").replace(
    SAMPLES.pack(277, 3, 1, 3, 0), SAMPLES.pack(277, 3, 1, 100, 0)
)
"""An image of 100 samples per pixel, which Pillow logs as an error."""


@contextmanager
def written(form: LogFormat) -> Iterator[StringIO]:
    """Capture what the service's loggers write within the `with` block."""
    stream, handler, logger = StringIO(), logs.handler(form), logging.getLogger("service")
    handler.setStream(stream)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def objects(stream: StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture(scope="module")
def lines(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """The JSON log of a process at the lowest level, from start to end."""
    log = tmp_path_factory.mktemp("logs") / "log"
    command = ["sh", "-c", 'exec "$@" 2>"$0"', log, *serve_command(bundle_path)]
    with running_server(
        command,
        KINDRED_LOG_FORMAT="json",
        KINDRED_LOG_LEVEL="trace",
        KINDRED_API_KEYS=f"{SECRETS[0]},other",
    ) as client:
        client.headers["Authorization"] = f"Bearer {SECRETS[0]}"
        client.get("/gallery/no%0Asuch%1b[0m", headers=ID)
        client.post(
            f"/classify?{SECRETS[1]}",
            content=INVALID_EXIF,
            headers=ID | {"Content-Type": "image/jpeg"},
        )
        client.post("/classify", content=DAMAGED_TIFF, headers=ID | {"Content-Type": "image/tiff"})
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_what_pillow_says_of_images_is_not_logged(
    lines: list[dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(UserWarning, match="EXIF"):
        to_pixels(Image.open(BytesIO(INVALID_EXIF)))
    with caplog.at_level(logging.ERROR, "PIL"), pytest.raises(UnidentifiedImageError):
        Image.open(BytesIO(DAMAGED_TIFF))
    assert "samples per pixel" in caplog.text
    statuses = [line["status"] for line in lines if line["logger"] == "service.access"]
    assert statuses == [404, 200, 415]
    loggers = {str(line["logger"]) for line in lines}
    assert "py.warnings" not in loggers
    assert not any(name.startswith("PIL") for name in loggers)


def test_neither_keys_nor_queries_are_logged_at_any_level(
    lines: list[dict[str, object]],
) -> None:
    assert len(lines) > 2
    assert [secret for secret in SECRETS if secret in json.dumps(lines)] == []


def test_every_line_is_an_object_with_its_time_level_and_logger(
    lines: list[dict[str, object]],
) -> None:
    for line in lines:
        assert line.keys() >= {"time", "level", "logger", "message"}
        time = datetime.fromisoformat(str(line["time"]))
        assert time.utcoffset() == timedelta(0)
    assert {"service.access", "service.engine.engine", "uvicorn.error"} == {
        line["logger"] for line in lines
    }


def test_a_request_has_one_access_log_line(
    lines: list[dict[str, object]],
) -> None:
    line, *_ = (line for line in lines if line["logger"] == "service.access")
    assert line["request_id"] == "request-1"
    assert line["method"] == "GET"
    assert line["path"] == "/gallery/no\nsuch\x1b[0m"
    assert line["status"] == 404
    assert isinstance(line["milliseconds"], float)


def test_log_lines_outside_requests_have_no_request_id(lines: list[dict[str, object]]) -> None:
    assert all(("request_id" in line) == (line["logger"] == "service.access") for line in lines)


def test_an_unexpected_error_is_one_line_with_its_traceback(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    with TestClient(app, raise_server_exceptions=False) as client, written("json") as stream:
        monkeypatch.setattr(app.state.kindred.gallery, "snapshot", None)
        client.get("/gallery", headers=ID)
    (line,) = (line for line in objects(stream) if line["level"] == "ERROR")
    assert line["request_id"] == "request-1"
    assert str(line["exception"]).startswith("Traceback")
    assert "NoneType" in str(line["exception"])


def test_log_lines_of_worker_threads_have_the_request_id(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()

    def indexed_layer(_: str) -> None:
        logging.getLogger("service.test").warning("from a thread")

    with TestClient(app, raise_server_exceptions=False) as client, written("json") as stream:
        monkeypatch.setattr(app.state.kindred.responses, "indexed_layer", indexed_layer)
        client.get("/gallery/one/similar", headers=ID)
    (line,) = (line for line in objects(stream) if line["logger"] == "service.test")
    assert line["request_id"] == "request-1"


def test_text_lines_have_the_request_id(client: TestClient) -> None:
    with written("text") as stream:
        client.get("/gallery/unknown", headers=ID)
    (line,) = stream.getvalue().splitlines()
    assert " INFO service.access [request-1] GET /gallery/unknown 404 in " in line


def test_text_escapes_control_characters_that_clients_send(client: TestClient) -> None:
    with written("text") as stream:
        client.get("/gallery/x%0A2026-01-01 INFO forged%0D%1b[2J%C2%85%E2%80%A8", headers=ID)
    first, *others = stream.getvalue().splitlines()
    assert "[request-1]" in first
    assert others
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in stream.getvalue()
    assert "\\x1b[2J" in stream.getvalue()


def test_requests_are_not_logged_above_level_info(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.get("/gallery/unknown")
    assert caplog.records == []
