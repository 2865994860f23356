"""What is said to a client that gets no answer: a status, and a body in the form that its route promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic_core
from starlette.responses import Response

OPENAI = "/v1/"
"""How the paths begin whose errors have OpenAI's form; all others have that of Text Embeddings Inference."""
MOST_TOLD = 3
RETRY = {"Retry-After": "1"}
OPENAI_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


class Refused(Exception):
    """A request is not answered.

    Args:
        status: Of HTTP.
        kind: `error_type` of Text Embeddings Inference.
        message: What was wrong, what is allowed, and what to do.
        headers: To send with it.
    """

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.headers = status, kind, message, dict(headers or {})


def empty(what: str) -> Refused:
    """Nothing was given."""
    return Refused(400, "Empty", f"`{what}` cannot be empty")


def too_large(message: str) -> Refused:
    """More was given than is taken at once."""
    return Refused(413, "Validation", message)


def invalid(message: str) -> Refused:
    """What was given is not what the route takes."""
    return Refused(422, "Validation", message)


def overloaded(message: str) -> Refused:
    """More waits already than is taken."""
    return Refused(429, "Overloaded", message, RETRY)


def unavailable(message: str) -> Refused:
    """Nothing is answered now."""
    return Refused(503, "Unhealthy", message, RETRY)


def body_of(path: str, refused: Refused) -> dict[str, Any]:
    """What is said, in the form of the path's clients."""
    if not path.startswith(OPENAI):
        return {"error": refused.message, "error_type": refused.kind}
    kind = OPENAI_TYPES.get(refused.status, "invalid_request_error" if refused.status < 500 else "server_error")
    code = "model_not_found" if refused.status == 404 else None
    return {"error": {"message": refused.message, "type": kind, "param": None, "code": code}}


def response_to(path: str, refused: Refused) -> Response:
    """The whole response."""
    return as_json(body_of(path, refused), refused.status, refused.headers)


def as_json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response of JSON."""
    return Response(pydantic_core.to_json(content), status, headers, "application/json")


def said_of(errors: list[Any]) -> str:
    """What pydantic finds wrong in a body, in a line; values that were given are not repeated, since they may be long."""
    lines = [
        f"the body is no JSON: {error['ctx']['error']}"
        if error["type"] == "json_invalid"
        else f"{'.'.join(map(str, error['loc'][1:])) or 'the body'}: {error['msg']}"
        for error in errors[:MOST_TOLD]
    ]
    more = f" (and {len(errors) - MOST_TOLD} more)" if len(errors) > MOST_TOLD else ""
    return "; ".join(lines) + more
