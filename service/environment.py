"""The environment variables `KINDRED_*`: their names, their former names, and which exist.

Knows names; nothing of what a setting means.
"""

import logging
import os
from collections.abc import Iterable
from typing import Final

from service.errors import did_you_mean

log = logging.getLogger(__name__)

PREFIX: Final = "KINDRED_"

FORMER_NAMES: Final = {
    "allow_anonymous": "open",
    "backend": "engine",
    "intra_op_threads": "threads",
    "max_batch_size": "max_batch",
    "max_queue_size": "max_queue",
    "request_timeout": "deadline",
    "max_in_flight_bytes": "max_bodies_bytes",
    "max_client_batch_size": "max_images",
    "shutdown_delay": "notice",
    "graceful_shutdown_timeout": "drain",
}
"""Settings that were renamed, with the former name, which the environment may still use."""

OTHERS: Final = frozenset({"URL", "API_KEY", "DATA", "DOWNLOAD", "CONCURRENT_RUNS", "WEIGHTS"})
"""Variables of the client and of the training. One environment may serve all of them."""

BENCHMARKS: Final = "BENCH_"
"""The prefix of variables by which benchmarks speak with their processes."""


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def source(name: str) -> str | None:
    """Return the variable that sets a setting: its own, the former one, or None."""
    given = _given()
    names = [variable(name)]
    if name in FORMER_NAMES:
        names.append(variable(FORMER_NAMES[name]))
    return next((one for one in names if given.get(one)), None)


def formerly_named() -> dict[str, str]:
    """Return the values that the environment has under former names, by the new names."""
    given = _given()
    return {
        name: value
        for name, former in FORMER_NAMES.items()
        if (value := given.get(variable(former)))
    }


def warn_of_former_names() -> None:
    """Log a warning for each environment variable that has a former name."""
    given = _given()
    for name in formerly_named():
        new, old = variable(name), variable(FORMER_NAMES[name])
        ignored = f"; {old} is ignored, because both are set" if given.get(new) else ""
        log.warning("%s is now called %s%s", old, new, ignored)


def unknown_variables(settings: Iterable[str]) -> list[str]:
    """Return a sentence for each variable `KINDRED_*` that nothing reads, with the nearest name."""
    known = {name.upper() for name in settings} | OTHERS
    accepted = known | {former.upper() for former in FORMER_NAMES.values()}
    unknown = sorted(name.removeprefix(PREFIX) for name in _given())
    return [
        did_you_mean(f"{PREFIX}{name} is not a setting", name, known, PREFIX)
        for name in unknown
        if name not in accepted and not name.startswith(BENCHMARKS)
    ]


def _given() -> dict[str, str]:
    """Return all variables `KINDRED_*` with their values; the names may be in lower case."""
    return {
        name.upper(): value for name, value in os.environ.items() if name.upper().startswith(PREFIX)
    }
