"""Put pieces of texts that wait into batches of like length, and run these one after the other in a thread.

The first that came stands in the next batch, whatever its length, so that nothing waits for ever; those of the nearest
lengths stand beside it. While a batch is computed, others come; where nothing is computed, the first waits a moment for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from compress.readers.reader import Piece
from compress.serving.limits import Limits
from compress.serving.metrics import ModelMetrics
from compress.serving.refusals import overloaded

Run = Callable[[Sequence[Piece]], list[Any]]


@dataclass(frozen=True, eq=False)
class Waiting:
    """A piece that waits, since when, and who waits for what becomes of it."""

    piece: Piece
    since: float
    future: asyncio.Future[Any]


def batch_of(waiting: Sequence[Waiting], max_tokens: int, most: int | None = None) -> list[Waiting]:
    """Choose who stands in the next batch: the first, and those that are nearest to it in length.

    Args:
        waiting: In the order in which they came, at least one.
        max_tokens: Of the batch, padding counted; the first is in it however long it is.
        most: Pieces of the batch; None for any number.
    """
    wanted = len(waiting[0].piece)
    order = sorted(waiting, key=lambda entry: abs(len(entry.piece) - wanted))  # stable: of equals those that came first
    chosen, longest = order[:1], wanted
    for entry in order[1:most]:
        longest = max(longest, len(entry.piece))
        if longest * (len(chosen) + 1) > max_tokens:
            break
        chosen.append(entry)
    return chosen


class Batcher:
    """The queue of one model, and the thread that its file runs in.

    Args:
        run: Gives what becomes of each piece of a batch; called in a thread, never twice at once.
        limits: Of the server.
        metrics: Told of every batch.
        most_at_once: Pieces of a batch; None for any number.
        tokens_at_once: Tokens of a batch, where the model may have fewer than `limits` allows.
    """

    def __init__(
        self,
        run: Run,
        limits: Limits,
        metrics: ModelMetrics,
        *,
        most_at_once: int | None = None,
        tokens_at_once: int | None = None,
    ) -> None:
        self._run, self._limits, self._metrics, self._most = run, limits, metrics, most_at_once
        self._max_tokens = min(limits.max_batch_tokens, tokens_at_once or limits.max_batch_tokens)
        self._waiting: list[Waiting] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")

    def submit(self, pieces: Sequence[Piece]) -> list[asyncio.Future[Any]]:
        """Let pieces wait, all of them or none.

        Raises:
            Refused: There is no room for them now.
        """
        if len(pieces) > self._limits.max_queue - len(self._waiting):
            raise overloaded(
                f"{len(self._waiting)} texts wait already, of {self._limits.max_queue} at most; send the request again later."
            )
        loop, now = asyncio.get_running_loop(), time.monotonic()
        added = [Waiting(piece, now, loop.create_future()) for piece in pieces]
        self._waiting += added
        self._metrics.queued(len(self._waiting))
        self._arrived.set()
        return [entry.future for entry in added]

    async def work(self) -> None:
        """Run batches until this is cancelled."""
        try:
            while True:
                await self._first()
                batch = self._take()
                if batch:
                    await self._compute(batch)
        finally:
            for entry in self._waiting:
                entry.future.cancel()
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _first(self) -> None:
        """Wait until there is a piece, and until the first has waited as long as it may, or a batch is full."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        due = self._waiting[0].since + self._limits.max_wait_seconds
        while (left := due - time.monotonic()) > 0 and not self._is_full():
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _is_full(self) -> bool:
        if self._most is not None and len(self._waiting) >= self._most:
            return True
        total = 0
        for entry in self._waiting:
            total += len(entry.piece)
            if total >= self._max_tokens:
                return True
        return False

    def _take(self) -> list[Waiting]:
        self._waiting = [entry for entry in self._waiting if not entry.future.done()]
        batch = batch_of(self._waiting, self._max_tokens, self._most) if self._waiting else []
        taken = set(map(id, batch))
        self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
        self._metrics.queued(len(self._waiting))
        return batch

    async def _compute(self, batch: Sequence[Waiting]) -> None:
        """Run a batch; where that fails, each piece of it alone, so that one that cannot be run spoils no other's answer."""
        begun = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._run, [entry.piece for entry in batch])
        except Exception as err:
            if len(batch) > 1:
                for entry in batch:
                    await self._compute([entry])
            elif not batch[0].future.done():
                batch[0].future.set_exception(err)
            return
        self._metrics.computed([len(entry.piece) for entry in batch], begun - batch[0].since, time.monotonic() - begun)
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                entry.future.set_result(result)
