"""Which pieces stand in a batch, and that each gets its own answer whatever becomes of the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from compress.readers.reader import Piece
from compress.serving.batching import Batcher, Waiting, batch_of
from compress.serving.limits import Limits
from compress.serving.metrics import Metrics
from compress.serving.refusals import Refused


def piece(number: int, length: int) -> Piece:
    """A piece whose first token is its number."""
    ids = np.full(length, number, dtype=np.int32)
    return Piece(ids, np.zeros_like(ids))


def lengths(waiting: Sequence[int], max_tokens: int, most: int | None = None) -> list[int]:
    """The lengths in the next batch, of pieces that came in this order."""
    entries: Any = [Waiting(piece(0, length), 0.0, None) for length in waiting]  # type: ignore[arg-type]
    return [len(entry.piece) for entry in batch_of(entries, max_tokens, most)]


@pytest.mark.parametrize(
    ("waiting", "max_tokens", "most", "expected"),
    [
        ([8], 4, None, [8]),  # the first, however long
        ([8, 8, 8], 24, None, [8, 8, 8]),
        ([8, 8, 8], 23, None, [8, 8]),
        ([8, 100, 9, 7], 32, None, [8, 9, 7]),  # padded to 9, 27 tokens
        ([100, 8, 8, 90], 200, None, [100, 90]),  # the first stands in it, though others are many
        ([4, 4, 4, 4], 100, 3, [4, 4, 4]),
        ([4, 4], 100, 1, [4]),
    ],
)
def test_the_first_stands_beside_those_of_nearest_length(
    waiting: list[int], max_tokens: int, most: int | None, expected: list[int]
) -> None:
    assert lengths(waiting, max_tokens, most) == expected


class Recorder:
    """Stands for a model: gives each piece its own number, and keeps the batches."""

    def __init__(self, spoiled: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.spoiled, self.gate = spoiled, threading.Event()
        self.gate.set()

    def __call__(self, pieces: Sequence[Piece]) -> list[int]:
        self.gate.wait(10)
        numbers = [int(own.ids[0]) for own in pieces]
        self.batches.append(numbers)
        if self.spoiled in numbers:
            raise ValueError("cannot run this one")
        return numbers


def run(model: Recorder, limits: Limits, ask: Any, **most: Any) -> Any:
    """Let a batcher work while `ask` uses it."""

    async def whole() -> Any:
        batcher = Batcher(model, limits, Metrics().of("m"), **most)
        work = asyncio.create_task(batcher.work())
        try:
            return await ask(batcher)
        finally:
            model.gate.set()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    return asyncio.run(whole())


def test_what_comes_together_is_computed_together_and_answered_each() -> None:
    model = Recorder()

    async def ask(batcher: Batcher) -> list[int]:
        waiting = [future for number in range(40) for future in batcher.submit([piece(number, 1 + number % 7)])]
        return await asyncio.gather(*waiting)

    assert run(model, Limits(max_wait_seconds=0.05, max_batch_tokens=64), ask) == list(range(40))
    assert len(model.batches) < 10
    assert sorted(number for batch in model.batches for number in batch) == list(range(40))


def test_one_that_cannot_be_run_spoils_no_others_answer() -> None:
    model = Recorder(spoiled=3)

    async def ask(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(*batcher.submit([piece(number, 4) for number in range(6)]), return_exceptions=True)

    answers = run(model, Limits(), ask)
    assert [answer for answer in answers if not isinstance(answer, Exception)] == [0, 1, 2, 4, 5]
    assert isinstance(answers[3], ValueError)


def test_a_full_queue_takes_all_pieces_of_a_request_or_none() -> None:
    model = Recorder()

    async def ask(batcher: Batcher) -> list[int]:
        model.gate.clear()
        running = batcher.submit([piece(0, 4)])
        await asyncio.sleep(0.05)  # it is computed now, and waits no more
        waiting = batcher.submit([piece(number, 4) for number in range(1, 4)])
        with pytest.raises(Refused, match="3 texts wait already, of 4 at most") as refused:
            batcher.submit([piece(9, 4), piece(10, 4)])
        assert refused.value.status == 429
        waiting += batcher.submit([piece(4, 4)])
        model.gate.set()
        return await asyncio.gather(*running, *waiting)

    assert run(model, Limits(max_queue=4, max_wait_seconds=0), ask) == [0, 1, 2, 3, 4]
    assert 9 not in {number for batch in model.batches for number in batch}


def test_nobody_computes_what_nobody_waits_for() -> None:
    model = Recorder()

    async def ask(batcher: Batcher) -> int:
        model.gate.clear()
        first = batcher.submit([piece(0, 4)])
        await asyncio.sleep(0.05)
        gone, last = batcher.submit([piece(1, 4)]), batcher.submit([piece(2, 4)])
        gone[0].cancel()
        model.gate.set()
        await asyncio.gather(*first)
        return (await asyncio.gather(*last))[0]

    assert run(model, Limits(max_wait_seconds=0), ask) == 2
    assert model.batches == [[0], [2]]


def test_batches_keep_to_what_the_model_can_at_once() -> None:
    model = Recorder()

    async def ask(batcher: Batcher) -> list[int]:
        return await asyncio.gather(*batcher.submit([piece(number, 10) for number in range(9)]))

    assert run(model, Limits(), ask, most_at_once=2, tokens_at_once=1000) == list(range(9))
    assert max(map(len, model.batches)) == 2
    model = Recorder()
    run(model, Limits(), ask, tokens_at_once=30)
    assert max(map(len, model.batches)) == 3
