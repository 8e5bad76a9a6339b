"""The server process: its socket, signals, limits and shutdown."""

import asyncio
import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

import typer
import uvicorn
from fastapi import FastAPI

from service.errors import KindredError
from service.server.connection import connections
from service.server.reload import Reloader
from service.settings import Settings
from service.state import State

if sys.platform != "win32":
    import resource


class Server(uvicorn.Server):
    """Says when it is ready, and not-ready for a while before it closes its door."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, address: str) -> None:
        super().__init__(config)
        state: State = app.state.kindred
        self._lifecycle = state.lifecycle
        self._shutdown_delay = state.settings.shutdown_delay
        self._app = app
        self._address = address
        self._reloading: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say so; from then on SIGHUP reloads the bundle.

        In a terminal it stays the sign that the terminal has closed: the end, but under nohup.
        """
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP") and not _has_terminal():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_hangup)
        typer.echo(f"kindred is ready: {self._address}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Turn `/readyz` red at once; stop after the notice, or at once if asked again."""
        if self._lifecycle.draining or self._shutdown_delay == 0:
            super().handle_exit(sig, frame)
        else:
            signal.signal(signal.SIGALRM, lambda _, frame: self.handle_exit(sig, frame))
            signal.setitimer(signal.ITIMER_REAL, self._shutdown_delay)
        self._lifecycle.draining = True

    def _on_hangup(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload(self) -> None:
        reloader: Reloader = self._app.state.reloader
        with suppress(KindredError):  # it is in the log, and the old bundle is served on
            await reloader.reload()


def tune_garbage_collector() -> None:
    """Have garbage collected less often, and never looked for in what the imports made.

    Every answer waits meanwhile. As Python has it, a collection took up to 0.26 s under load, and
    0.11 s in an overload without the imports; now it takes 0.02 s, and a tenth of the time in all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def raise_file_limit() -> None:
    """Have as many files open as the system allows: often 1,024, until one asks for more."""
    if sys.platform != "win32":
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # some systems name more than they give
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class BindError(RuntimeError):
    """Nothing can listen at that address."""


def bind(host: str, port: int) -> socket.socket:
    """Take the address now, before the work of loading; nobody is let in yet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise BindError(
            f"nothing can listen at {host}, port {port}: {error.strerror}. "
            "Stop what is there, or choose another with --port."
        ) from error
    return listener


def run(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Serve the app on a bound socket until a signal stops it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config = uvicorn.Config(
        app,
        http=connections(settings.request_timeout),
        ws="none",  # nothing here speaks it
        log_config=None,
        log_level=settings.log_level,
        access_log=False,  # it tells neither the time that a request took nor its id
        server_header=False,
        timeout_graceful_shutdown=settings.graceful_shutdown_timeout,
    )
    server = Server(config, app, f"http://{host}:{listener.getsockname()[1]}")
    # uvicorn sends itself the signal again when it is done: a stop in good order is no failure.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, signal.SIG_IGN)
    server.run(sockets=[listener])


def _has_terminal() -> bool:
    """Whether this process has a terminal that can close, as no daemon has."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
