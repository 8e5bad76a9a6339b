"""The server process: its socket, signals, limits and shutdown. Knows nothing of routes."""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Any, Final

import typer
import uvicorn
from fastapi import FastAPI

from service.server.connection import connections
from service.server.reload import Reloader
from service.settings import Settings
from service.state import State

if sys.platform != "win32":
    import resource

RESERVED_FILES: Final = 64
"""Files and sockets that are no connections. The process has about 20 open, and 25 in a reload."""
MIN_CONNECTIONS: Final = 16
FREE_PORT_ATTEMPTS: Final = 10
"""Free ports to try until one is free at all addresses of a host."""

logger = logging.getLogger(__name__)


class StartError(RuntimeError):
    """The process cannot serve: an address cannot be bound, or too few files can be opened."""


class Server(uvicorn.Server):
    """Prints its URL when it is ready, and delays a shutdown while `/readyz` reports it."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, address: str) -> None:
        super().__init__(config)
        state: State = app.state.kindred
        self._lifecycle = state.lifecycle
        self._shutdown_delay = state.settings.shutdown_delay
        self._app = app
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, print the URL, and let SIGHUP reload the bundle.

        In a terminal, SIGHUP keeps its meaning: the terminal has closed, and the process ends.
        """
        for listener in sockets or []:
            # Connections inherit it, so that they do not keep a later process from binding.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            await super().startup(sockets)
        except OSError as error:
            await self.lifespan.shutdown()
            raise StartError(f"cannot listen at {self._address}: {error.strerror}.") from error
        if hasattr(signal, "SIGHUP") and not _has_terminal():
            reloader: Reloader = self._app.state.reloader
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, reloader.reload_in_background)
        typer.echo(f"kindred is ready: {self._address}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let `/readyz` fail at once. Stop after the shutdown delay, or at the second signal."""
        if self._lifecycle.draining or self._shutdown_delay == 0:
            super().handle_exit(sig, frame)
        else:
            signal.signal(signal.SIGALRM, lambda _, frame: self.handle_exit(sig, frame))
            signal.setitimer(signal.ITIMER_REAL, self._shutdown_delay)
        self._lifecycle.draining = True


def tune_garbage_collector() -> None:
    """Collect garbage less often, and exclude the objects that the imports created.

    A collection stops all requests. With the defaults it took up to 0.26 s under load, without the
    imports 0.11 s; now it takes 0.02 s, and a tenth of the time in total.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def within_file_limit(settings: Settings) -> Settings:
    """Raise the limit of open files to its maximum, and lower that of connections to fit it.

    Raises:
        StartError: too few connections fit.

    """
    if sys.platform == "win32":
        return settings
    limit, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems report more than they allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
        limit = maximum
    if limit == resource.RLIM_INFINITY or limit >= settings.max_connections + RESERVED_FILES:
        return settings
    if limit < MIN_CONNECTIONS + RESERVED_FILES:
        raise StartError(
            f"only {limit} files can be opened, and the service needs "
            f"{MIN_CONNECTIONS + RESERVED_FILES}: raise the limit with 'ulimit -n'."
        )
    logger.warning("Only %d files can be opened: connections are limited to fit", limit)
    return settings.model_copy(update={"max_connections": limit - RESERVED_FILES})


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind a socket to each address of a host, so that a used port is reported early.

    They do not accept connections yet.

    Raises:
        StartError: an address cannot be bound.

    """
    # A browser tries both addresses of `localhost`, even if the system knows only one.
    names = ("127.0.0.1", "::1") if host == "localhost" else (host,)
    try:
        addresses = [one for name in names for one in _resolve(name, port)]
        for _ in range(FREE_PORT_ATTEMPTS if port == 0 else 0):
            with suppress(OSError):  # the port is free at the first address alone
                return _bind_all(addresses)
        return _bind_all(addresses)
    except OSError as error:
        raise StartError(
            f"cannot listen at {host}, port {port}: {error.strerror}. "
            "Stop the process that uses it, or choose another port with --port."
        ) from error


def _resolve(name: str, port: int) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, *_, address in found))


def _bind_all(addresses: Sequence[tuple[int, Any]]) -> list[socket.socket]:
    """Bind a socket to each address that this machine has, all with the port of the first."""
    with ExitStack() as opened:
        listeners: list[socket.socket] = []
        missing: OSError | None = None
        for family, (name, wanted, *rest) in addresses:
            listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            port = listeners[0].getsockname()[1] if listeners else wanted
            if family == socket.AF_INET6 and len(addresses) > 1:  # else it would include IPv4
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                _bind_one(listener, (name, port, *rest))
                listeners.append(listener)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                missing = error
        if missing and not listeners:
            raise missing
        opened.pop_all()
        return listeners


def _bind_one(listener: socket.socket, address: tuple[Any, ...]) -> None:
    """Bind without SO_REUSEADDR if possible: it permits two sockets if neither listens yet.

    It is needed only if connections of an earlier process still linger.
    """
    try:
        listener.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)


def run(app: FastAPI, settings: Settings, listeners: list[socket.socket]) -> None:
    """Serve the app on bound sockets until a signal stops it.

    Raises:
        StartError: another process listens at the address now.

    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config = uvicorn.Config(
        app,
        http=connections(settings.request_timeout, settings.max_connections),
        ws="none",  # there are no WebSocket routes
        log_config=None,
        log_level="debug" if settings.log_level == "trace" else settings.log_level,
        access_log=False,  # it has neither durations nor request ids
        proxy_headers=False,  # the app uses neither the client's address nor the scheme
        server_header=False,
        timeout_keep_alive=settings.keep_alive_timeout,
        timeout_graceful_shutdown=settings.graceful_shutdown_timeout,
    )
    server = Server(config, app, f"http://{host}:{listeners[0].getsockname()[1]}")
    # uvicorn raises the signal again after a shutdown, which would make the exit status a failure.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, signal.SIG_IGN)
    server.run(sockets=listeners)


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal, which a daemon lacks."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
