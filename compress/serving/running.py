"""Run a server until it is told to end, and answer first what it has accepted.

At SIGTERM or Ctrl-C the server says that it takes no more (503, also at /ready), answers what it has accepted, and ends; at
a second one it ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn

from compress.errors import InputError
from compress.serving.application import application
from compress.serving.gate import Gate
from compress.serving.hosting import Host
from compress.serving.limits import CONNECTIONS, DRAIN_SECONDS, LINGER_SECONDS

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server(uvicorn.Server):
    """uvicorn's, whose signals are handled here."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def listening(name: str, port: int) -> socket.socket:
    """A socket that is bound, so that a port that is taken is told before anything is loaded.

    Raises:
        InputError: It cannot be bound.
    """
    try:
        family = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((name, port))
        except OSError:
            bound.close()
            raise
    except OSError as err:
        raise InputError(
            f"--host {name} --port {port} cannot be listened on: {err.strerror or err}; name an address of this machine, and "
            "a port that is free."
        ) from err
    return bound


def serve(host: Host, bound: socket.socket, *, api_key: str | None = None) -> None:
    """Serve until a signal says that it is over.

    Raises:
        InputError: A model cannot be loaded.
    """
    asyncio.run(_serve(host, bound, api_key))


async def _serve(host: Host, bound: socket.socket, api_key: str | None) -> None:
    _, gate = application(host, api_key)
    config = uvicorn.Config(
        gate, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, limit_concurrency=CONNECTIONS
    )
    server = Server(config)
    failed: list[Exception] = []

    async def load() -> None:
        try:
            await host.load()
        except Exception as err:  # raised again when the server has ended
            failed.append(err)
            server.should_exit = True

    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(load())]

    def end() -> None:
        if host.is_draining:
            server.should_exit = server.force_exit = True
            return
        host.is_draining = True
        tasks.append(asyncio.create_task(_drain(gate, server)))

    for number in SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        await server.serve(sockets=[bound])
    finally:
        for task in tasks:
            task.cancel()
        host.close()
    if failed:
        raise failed[0]


async def _drain(gate: Gate, server: Server) -> None:
    """Let the server end when what it has accepted is answered."""
    logger.info("ending: %d requests are still to be answered", gate.in_flight)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            await gate.is_idle.wait()
    for listener in server.servers:
        listener.close()
    with contextlib.suppress(TimeoutError):  # what was sent on open connections is still told that it came too late
        async with asyncio.timeout(LINGER_SECONDS):
            while server.server_state.connections:
                await asyncio.sleep(LINGER_SECONDS / 20)
    server.should_exit = True
