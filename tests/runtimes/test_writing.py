"""Greedy and beam search over a table that scores the next token by the last two, against all texts that there are."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.runtimes.writing import Search, State, forced, write, write_exactly

VOCABULARY, LONGEST = 5, 4
BEGIN, END, PADDING = 1, 2, 0
SEARCH = Search(BEGIN, END, PADDING, LONGEST)


class Table:
    """A writer whose scores are those of a table, by the text, the token before the last and the last."""

    def __init__(self, seed: int, scale: float = 2.0) -> None:
        self.scores = np.random.default_rng(seed).normal(size=(3, VOCABULARY, VOCABULARY, VOCABULARY)) * scale
        self.rows_read: list[int] = []

    def read(self, batch: Any) -> State:
        count = len(batch["input_ids"])
        return {"text": batch["input_ids"][:, 0] % 3, "before": np.full(count, BEGIN)}

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        self.rows_read.append(len(ids))
        befores = np.concatenate([state["before"][:, None], ids[:, :-1]], 1)
        logits = self.scores[state["text"][:, None], befores, ids].astype(np.float32)
        return logits, {**state, "before": ids[:, -1]}


def batch(*texts: int, length: int = 3) -> dict[str, np.ndarray]:
    return {"input_ids": np.repeat(np.array(texts)[:, None], length, 1)}


def log_probability(writer: Table, text: int, ids: tuple[int, ...]) -> float:
    before, last, total = BEGIN, BEGIN, 0.0
    for token in ids:
        scores = writer.scores[text, before, last].astype(np.float32).astype(np.float64)
        total += scores[token] - np.log(np.exp(scores).sum())
        before, last = last, token
    return total


def all_texts() -> list[tuple[int, ...]]:
    """Every text: it ends at the first END, or is as long as can be."""
    tokens = [token for token in range(VOCABULARY) if token != END]
    texts: list[tuple[int, ...]] = []
    for count in range(LONGEST):
        texts += [(*ids, END) for ids in product(tokens, repeat=count)]
    return [*texts, *product(tokens, repeat=LONGEST)]


def padded(ids: tuple[int, ...]) -> list[int]:
    return [*ids, *[PADDING] * (LONGEST - len(ids))]


@given(st.integers(0, 10_000))
def test_the_likeliest_token_follows_each_time(seed: int) -> None:
    writer = Table(seed)
    expected = []
    for text in (0, 1, 2):
        before, last, ids = BEGIN, BEGIN, list[int]()
        while len(ids) < LONGEST and (not ids or ids[-1] != END):
            before, last = last, int(writer.scores[text, before, last].argmax())
            ids.append(last)
        expected.append(padded(tuple(ids)))
    assert write(writer, batch(0, 1, 2), SEARCH).tolist() == expected


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 1.5]))
def test_with_as_many_beams_as_there_are_texts_the_best_of_all_is_written(seed: int, penalty: float) -> None:
    """A search that is never cut short, since every text has its beam and none is left out."""
    writer, search = Table(seed, 0.5), replace(SEARCH, beams=VOCABULARY**LONGEST, length_penalty=penalty)
    for text in (0, 1, 2):
        values = {ids: log_probability(writer, text, ids) / len(ids) ** penalty for ids in all_texts()}
        (written,) = write(writer, batch(text), search).tolist()
        ids = tuple(written[: written.index(END) + 1] if END in written else written)
        assert values[ids] == pytest.approx(max(values.values()))  # two may be equally good


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_do_not_depend_on_their_neighbours(beams: int) -> None:
    writer, search = Table(7), replace(SEARCH, beams=beams)
    alone = [write(writer, batch(text), search)[0] for text in (0, 1, 2, 0)]
    np.testing.assert_array_equal(write(writer, batch(0, 1, 2, 0), search), alone)


def test_texts_that_have_ended_are_read_no_further() -> None:
    writer = Table(0)
    writer.scores[:] = 0.0
    writer.scores[0, :, :, END] = 1.0
    writer.scores[1, :, :, 3] = 1.0
    ids = write(writer, batch(0, 1, 0), SEARCH)
    assert ids.tolist() == [padded((END,)), [3] * LONGEST, padded((END,))]
    assert writer.rows_read == [3, 1, 1, 1]


@pytest.mark.parametrize("beams", [1, 2])
def test_what_is_timed_writes_as_many_tokens_as_a_text_has(beams: int) -> None:
    writer = Table(0)
    writer.scores[:, :, :, END] = 9.0
    for length, steps in ((1, 1), (3, 3), (LONGEST + 5, LONGEST)):
        writer.rows_read.clear()
        ids = write_exactly(writer, batch(0, 1, length=length), replace(SEARCH, beams=beams))
        assert ids.shape == (2, steps)
        assert (ids == END).all()
        assert writer.rows_read == [2 * beams] * steps


def test_a_given_text_is_scored_token_by_token() -> None:
    writer = Table(5)
    ids = np.array([[BEGIN, 3, 4]])
    scores = forced(writer, {**batch(2), "decoder_input_ids": ids})
    expected = [writer.scores[2, BEGIN, BEGIN], writer.scores[2, BEGIN, 3], writer.scores[2, 3, 4]]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-6)
    assert scores.dtype == np.float32
