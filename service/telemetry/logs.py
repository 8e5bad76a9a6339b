"""Configures logging: the service's loggers, uvicorn's and all others, as text or as JSON.

Adds the id of the current request to each line. Knows nothing of HTTP.
"""

import logging
import warnings
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter
from uvicorn.config import LOG_LEVELS

LogFormat = Literal["text", "json"]
LogLevel = Literal["critical", "error", "warning", "info", "debug", "trace"]

REFUSED_REQUESTS = "uvicorn.error.requests"
"""The logger of connections: refused requests as warnings, and failures of the app as errors."""

request_id: ContextVar[str] = ContextVar("request_id")
"""The id of the current request, also set in its worker threads."""


def configure(form: LogFormat, level: LogLevel) -> None:
    """Write the log to standard error; other libraries than uvicorn log warnings only."""
    threshold = LOG_LEVELS[level]
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler(form)], force=True)
    logging.getLogger("service").setLevel(threshold)
    logging.getLogger("uvicorn").setLevel(max(threshold, logging.DEBUG))  # below, it logs requests
    if threshold > logging.INFO:  # else clients could fill the log with requests that are refused
        for name in (REFUSED_REQUESTS, "python_multipart"):
            logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(True)
    # Pillow warns of odd metadata and logs damaged TIFFs: clients could fill the log with them.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def handler(form: LogFormat) -> "logging.StreamHandler[TextIO]":
    """Return a handler for standard error that writes text, or one JSON object per line."""
    stderr = logging.StreamHandler()
    stderr.setFormatter(_json() if form == "json" else _TextFormatter())
    stderr.addFilter(_add_request_id)
    return stderr


class _TextFormatter(logging.Formatter):
    """Writes one line per record; indents further lines of a message or traceback.

    Escapes control characters, so that a client can neither forge a line nor control a terminal.
    """

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
            defaults={"request_id": "-"},
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if text.isprintable():  # most lines
            return text
        return "\n    ".join(map(_printable, text.splitlines()))


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def _json() -> JsonFormatter:
    return JsonFormatter(
        ("levelname", "name", "message"),
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # uvicorn's message for terminals
    )


def _add_request_id(record: logging.LogRecord) -> bool:
    if (found := request_id.get(None)) is not None:
        record.request_id = found
    return True
