"""The log of the process: our own loggers, uvicorn's and all others, as text or as JSON.

A line tells the id of the request that it is about. Knows nothing of HTTP.
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

request_id: ContextVar[str] = ContextVar("request_id")
"""Of the request that is being answered, in its worker threads too."""


def configure(form: LogFormat, level: LogLevel) -> None:
    """Write all of the log to standard error; of what is not ours nor uvicorn's, only warnings."""
    least = LOG_LEVELS[level]
    logging.basicConfig(level=max(least, logging.WARNING), handlers=[handler(form)], force=True)
    for name in ("service", "uvicorn"):
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(True)
    # Odd notes in pictures are no matter of ours, and strangers could fill the log with them.
    warnings.filterwarnings("ignore", module="PIL")


def handler(form: LogFormat) -> "logging.StreamHandler[TextIO]":
    """Write to standard error: text for people, or one JSON object a line."""
    made = logging.StreamHandler()
    made.setFormatter(_json() if form == "json" else _Text())
    made.addFilter(_add_request_id)
    return made


class _Text(logging.Formatter):
    """One line; where a message or a traceback has more, they are indented.

    So nothing that a client sends can pass for a line of its own, nor command a terminal.
    """

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
            defaults={"request_id": "-"},
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(map(_printable, super().format(record).splitlines()))


def _printable(line: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


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
