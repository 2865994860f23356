"""What stands before every route: who may ask, how large a request may be, and whether anything is taken now.

A body is read here, to its end or to the limit, before anything looks into it; what all bodies take together is bounded too.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compress.serving.hosting import Host
from compress.serving.limits import BODIES_AT_ONCE, BODY_SECONDS
from compress.serving.refusals import Refused, overloaded, response_to, too_large, unavailable

OPEN = ("/health", "/ready", "/metrics")
"""Paths that are answered to everybody, whatever else there is to do."""
UNKNOWN = "unknown"
"""The route of what none is there for."""


class Disconnected(Exception):
    """The client went away while it was sending."""


class Gate:
    """Wraps an application.

    Args:
        app: The application.
        host: Its models, limits and metrics.
        api_key: What clients have to send as `Authorization: Bearer KEY`; None for nothing.
    """

    def __init__(self, app: ASGIApp, host: Host, api_key: str | None = None) -> None:
        self.app, self.host = app, host
        self._expected = None if api_key is None else f"Bearer {api_key}".encode()
        self.in_flight = 0
        self._held_bytes = 0
        self.is_idle = asyncio.Event()
        self.is_idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.host.is_draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self._pass(scope, receive, sent)
        except Disconnected:
            status = 499
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN)
            self.host.metrics.answered(route, status, time.monotonic() - begun)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        self._enter(1)
        try:
            try:
                self._check(scope)
                body, size = await self._body(scope, receive)
            except Refused as refused:
                await response_to(scope["path"], refused)(scope, receive, send)
                return
            await self.app(scope, _replaying(body, receive), send)
        finally:
            self._held_bytes -= size
            self._enter(-1)

    def _enter(self, count: int) -> None:
        self.in_flight += count
        self.host.metrics.in_flight.set(self.in_flight)
        (self.is_idle.clear if self.in_flight else self.is_idle.set)()

    def _check(self, scope: Scope) -> None:
        """Raise Refused for who may not ask, and where nothing is taken any more."""
        given = dict(scope["headers"])
        if self._expected is not None and not hmac.compare_digest(given.get(b"authorization", b""), self._expected):
            message = "the API key is missing or wrong; send it as the header Authorization: Bearer KEY."
            raise Refused(401, "Unauthorized", message, {"WWW-Authenticate": "Bearer"})
        if self.host.is_draining:
            raise unavailable("the server is about to end; send the request to another one.")

    async def _body(self, scope: Scope, receive: Receive) -> tuple[bytes, int]:
        """The whole body, and how many bytes are counted as held for it, which the caller gives back."""
        most = self.host.limits.max_body_bytes
        refusal = too_large(f"the body has more than {most} bytes; send fewer or shorter texts.")
        stated = dict(scope["headers"]).get(b"content-length", b"")
        if stated.isdigit() and (len(stated) > 18 or int(stated) > most):
            raise refusal
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    chunk = message.get("body", b"")
                    if size + len(chunk) > most:
                        raise refusal
                    if self._held_bytes + len(chunk) > BODIES_AT_ONCE * most:
                        raise overloaded("the server holds too many requests; send this one again later.")
                    size += len(chunk)
                    self._held_bytes += len(chunk)
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return b"".join(chunks), size
        except BaseException as err:
            self._held_bytes -= size
            if isinstance(err, TimeoutError):
                raise Refused(408, "Timeout", f"the body did not arrive within {BODY_SECONDS:.0f} s; send it again.") from err
            raise


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read already, and then whatever comes."""
    pending: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
