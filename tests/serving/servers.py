"""Servers for tests: in this process, without sockets; and as the command, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2

from compress.serving.application import application
from compress.serving.hosting import Host
from compress.serving.limits import Limits

URL = "http://server"
SERVE = (sys.executable, "-m", "compress", "serve")
Client = httpx2.AsyncClient


def with_server(
    folders: dict[str, Path],
    ask: Callable[[Client, Host], Awaitable[Any]],
    limits: Limits | None = None,
    *,
    api_key: str | None = None,
    is_loaded: bool = True,
) -> Any:
    """Serve folders in this process, and give what `ask` finds."""

    async def whole() -> Any:
        host = Host(folders, limits or Limits(), threads=1)
        _, gate = application(host, api_key)
        if is_loaded:
            await host.load()
        transport = httpx2.ASGITransport(gate, raise_app_exceptions=False)
        try:
            async with Client(transport=transport, base_url=URL, timeout=30) as client:
                return await ask(client, host)
        finally:
            host.close()

    return asyncio.run(whole())


def posted(folders: dict[str, Path], path: str, body: Any, limits: Limits | None = None, **how: Any) -> tuple[int, Any]:
    """The status and the body of one response to a POST."""

    async def ask(client: Client, host: Host) -> tuple[int, Any]:
        response = await client.post(path, json=body)
        return response.status_code, response.json()

    return with_server(folders, ask, limits, **how)  # type: ignore[no-any-return]


@contextlib.contextmanager
def command(
    *arguments: str, seconds: float = 60.0, python: Sequence[str] = SERVE, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `bert-compress serve` on a free port until it is ready; the process, and its address."""
    process = subprocess.Popen(
        [*python, *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{url}/ready").status_code == 200:
                    break
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield process, url
    finally:
        process.kill()
        process.communicate()
