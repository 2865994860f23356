"""How much a server takes at once, so that no request and no crowd of them lets it allocate without bound."""

from __future__ import annotations

from dataclasses import dataclass

BODIES_AT_ONCE = 32
"""Bodies of the largest size that are held at once; of smaller ones as many more."""
BODY_SECONDS = 30.0
"""In which a body has to arrive."""
CONNECTIONS = 2048
DRAIN_SECONDS = 60.0
"""In which what was accepted is answered after SIGTERM."""
LINGER_SECONDS = 3.0
"""For which open connections are kept after that."""


@dataclass(frozen=True)
class Limits:
    """What is served, and when it is refused.

    Args:
        max_wait_seconds: For which the first of a batch waits for others where nothing else is computed; raising it makes
            batches larger and answers later.
        max_batch_tokens: Of a batch, padding counted; raising it costs memory, and time of those that wait.
        max_queue: Pieces of texts that wait for one model; more are refused with 429.
        max_client_batch: Texts of one request; more are refused with 413.
        max_body_bytes: Of a request; larger ones are refused with 413, before they are read to their end.
        auto_truncate: Cut texts that are too long where a request does not say; else they are refused with 413.
    """

    max_wait_seconds: float = 0.002
    max_batch_tokens: int = 2048
    max_queue: int = 2048
    max_client_batch: int = 1024
    max_body_bytes: int = 2 << 20
    auto_truncate: bool = False
