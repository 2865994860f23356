"""How routes are declared: what else than an answer they may give, and how deep a body may be nested."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal

import pydantic_core
from fastapi import Request, Response
from fastapi.routing import APIRoute

from compress.serving import bodies

WHY = {
    400: "nothing was given",
    401: "the API key is missing or wrong",
    404: "there is no such model",
    408: "the body did not arrive in time",
    413: "the body, a text or the batch is too large",
    422: "the body is not what the route takes",
    424: "the model could not read the text",
    429: "too much waits already",
    503: "a model is being loaded, or the server is about to end",
}
TEI_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": bodies.Error, "description": why} for status, why in WHY.items() if status != 404
}
OPENAI_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": bodies.OpenAIError, "description": why} for status, why in WHY.items()
}


def named_literal(names: Iterable[str]) -> Any:
    """The type of one of some names, or of nothing."""
    return Literal[(*names, None)]


class BoundedRequest(Request):
    """A request whose JSON may be nested 200 deep, and no deeper; Python's own reader takes the whole stack for it."""

    async def json(self) -> Any:
        """Read the body."""
        try:
            return pydantic_core.from_json(await self.body(), allow_inf_nan=False)
        except ValueError as err:
            raise json.JSONDecodeError(str(err), "", 0) from err


class BoundedRoute(APIRoute):
    """A route that takes such requests."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handler = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handler(BoundedRequest(request.scope, request.receive))

        return bounded
