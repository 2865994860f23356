"""Segments of a text are rows of one batch, and read one after the other they give the same answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from compress.errors import InputError
from compress.models.attention.long_attention import swap
from compress.models.attention.segments import FARTHER, TransformerXL, carried, cut, joined, nothing_read, segments_of
from compress.models.states import recorded
from compress.models.vocabulary import keep_positions
from tests.tiny_models import logits_of, tiny_bert, tiny_of, tokens

SEGMENT = 6
KINDS = ("transformer_xl", "chunk_and_pool")


def reading(kind: str, model: Any = None) -> Any:
    student = copy.deepcopy(model or tiny_bert(layers=3))
    swap(student, {"kind": kind, "segment": SEGMENT})
    generator = torch.Generator().manual_seed(3)
    for module in student.modules():
        if isinstance(module, TransformerXL):
            module.memory_bias.data.normal_(generator=generator)
    return student.eval()


@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 11, 12, 29])
@pytest.mark.parametrize("segment", [2, 6, 15])
def test_what_is_cut_is_joined_again(length: int, segment: int) -> None:
    lengths, batch = [length, 1, 1 + length // 2], 3
    states = torch.randn((batch, length, 2), generator=torch.Generator().manual_seed(length))
    mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    rows, seen, layout = cut(states, mask, segment)
    assert rows.shape[:2] == seen.shape == (batch * layout.count, min(segment, max(2, length)))
    for text, tokens_ in enumerate(lengths):
        own = seen[text * layout.count : (text + 1) * layout.count]
        begun = max(1, -(-(tokens_ - 1) // (rows.shape[1] - 1)))
        assert own[:, 0].tolist() == [True] * begun + [False] * (layout.count - begun)
        assert int(own[:, 1:].sum()) == tokens_ - 1
    torch.testing.assert_close(joined(rows, seen, layout), states)
    torch.testing.assert_close(joined(rows[:, :1], seen, layout), states[:, :1])


def by_hand(attention: TransformerXL, states: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
    """What one segment's attention answers, head by head, token by token."""
    heads, size = len(attention.memory_bias), attention.attention_head_size
    seen = states if before is None else torch.cat([before, states])
    query, key, value = (
        getattr(attention, name)(values).view(-1, heads, size)
        for name, values in zip(("query", "key", "value"), (states, seen, seen), strict=True)
    )
    answer = torch.zeros(len(states), heads * size)
    memory = 0 if before is None else len(before)
    for head in range(heads):
        constant, slope = attention.memory_bias[head].tolist()
        for row in range(len(states)):
            scores = key[:, head] @ query[row, head] * size**-0.5
            for column in range(memory):
                scores[column] -= constant + slope * (memory + row - column) / SEGMENT
            answer[row, head * size : (head + 1) * size] = scores.softmax(0) @ value[:, head]
    return answer


@torch.no_grad()
def test_a_segment_sees_itself_and_the_one_before() -> None:
    student = reading("transformer_xl")
    attention = next(module for module in student.modules() if isinstance(module, TransformerXL))
    states = torch.randn((2, 16, 16), generator=torch.Generator().manual_seed(1))
    mask = torch.ones((2, 16), dtype=torch.bool)
    rows, seen, layout = cut(states, mask, SEGMENT)
    output = attention(rows, seen, layout=layout)[0]
    assert layout.count == 3
    for row in range(6):
        before = None if row % 3 == 0 else rows[row - 1]
        torch.testing.assert_close(output[row], by_hand(attention, rows[row], before), rtol=1e-4, atol=1e-5)


def test_a_token_in_memory_weighs_less_at_first() -> None:
    student = copy.deepcopy(tiny_bert())
    swap(student, {"kind": "transformer_xl", "segment": SEGMENT})
    attention = next(module for module in student.modules() if isinstance(module, TransformerXL))
    assert attention.memory_bias.tolist() == [[FARTHER, 0.0]] * 4


def test_distances_are_whole_in_half_precision_too() -> None:
    attention = next(module for module in reading("transformer_xl").modules() if isinstance(module, TransformerXL))
    expected = attention._farther(600, 600, 600, torch.zeros(1))
    bias = attention._farther(600, 600, 600, torch.zeros(1, dtype=torch.bfloat16))
    assert bias.dtype == torch.bfloat16
    torch.testing.assert_close(bias.float(), expected, rtol=1 / 128, atol=1 / 128)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("kind", KINDS)
def test_segment_by_segment_it_answers_the_same(kind: str, family: str) -> None:
    student = reading(kind, tiny_of(family, layers=3))
    batch = tokens(lengths=(20, 11, 1))
    batch = batch if family == "bert" else {key: batch[key] for key in ("input_ids", "attention_mask")}
    expected, state, logits = logits_of(student, **batch), nothing_read(student, 3), torch.empty(0)
    for start in range(1, 20, SEGMENT - 1):
        part = {name: torch.cat([tensor[:, :1], tensor[:, start : start + SEGMENT - 1]], 1) for name, tensor in batch.items()}
        with carried(student, state) as encoder, torch.no_grad():
            logits = student(**part).logits
            assert encoder.carried is not None
            state = encoder.carried
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-6)
    assert state.segments.flatten().tolist() == [4, 2, 1]
    assert segments_of(student).carried is None  # type: ignore[union-attr]


def test_what_was_read_before_changes_the_answer_with_memory_alone() -> None:
    batch = tokens(lengths=(16,))
    other = {name: tensor.clone() for name, tensor in batch.items()}
    other["input_ids"][:, 1:SEGMENT] = 7  # the first segment
    for kind in KINDS:
        student = reading(kind)
        seen = []
        for given_ in (batch, other):
            with recorded(student, [("hidden", 3)]) as states, torch.no_grad():
                student(**given_)
            seen.append(states["hidden", 3][:, SEGMENT:])
        changed = (seen[0] - seen[1]).abs().amax(2)[0] > 1e-6
        # two segments behind the first one: of three layers, each hands on to the next segment
        assert changed.tolist() == [kind == "transformer_xl"] * 10


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_the_text(kind: str) -> None:
    model = tiny_bert(layers=3)
    student = reading(kind, model)
    with recorded(student, [("hidden", 0), ("first", 3)]) as states, torch.no_grad():
        student(**tokens(lengths=(20, 9)))
    assert states["hidden", 0].shape == (2, 20, 16)
    assert states["first", 3].shape == (2, 1, 16)
    short = tokens(lengths=(5, 6))
    with recorded(model, [("scores", 2)]) as expected, recorded(student, [("scores", 2)]) as scores, torch.no_grad():
        model(**short)
        student(**short)
    torch.testing.assert_close(scores["scores", 2], expected["scores", 2], rtol=1e-4, atol=1e-5)
    with (
        pytest.raises(InputError, match="in several segments, so that it has no attention over all of their tokens"),
        recorded(student, [("scores", 2)]),
    ):
        student(**tokens())


def test_positions_start_anew_and_cannot_be_cut() -> None:
    student = reading("chunk_and_pool")
    embeddings = student.bert.embeddings
    assert embeddings.position_embeddings.weight.shape == (SEGMENT, 16)
    assert embeddings.position_ids[0, :12].tolist() == [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1]
    assert student.config.max_position_embeddings == 24
    with pytest.raises(InputError, match=f"segments of {SEGMENT} tokens.*give swap_attention max_length: 12"):
        keep_positions(student, 12)
