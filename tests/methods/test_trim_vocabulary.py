"""Pieces that the task's text does not use go, and what is missed on other text is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.errors import InputError, NoEffect
from compress.methods.quantize_aware import quantize_aware
from compress.methods.trim_vocabulary import trim_vocabulary
from compress.tasks.labelled import Task
from compress.tasks.split import Role, Split
from compress.tasks.words import counted
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import PIECES, logits_of, tiny_bert, tiny_of, toy_task

SPECIAL = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"}
"""With the tests' only word of one character."""


def split(role: Role, *texts: str) -> Split:
    return Split(role, texts, None, np.arange(len(texts), dtype=np.int64) % 2)


def task_of(*texts: str, held_out: tuple[str, ...] = ("good film", "dull bad plot")) -> Task:
    return replace(toy_task(), train=split("train", *texts), selection=split("selection", *held_out))


def test_pieces_that_the_training_text_uses_stay() -> None:
    run = StepContext()
    model = tiny_bert()
    trimmed = trim_vocabulary(model, task=task_of("good film", "film bad"), run=run)
    assert set(trimmed.tokenizer.get_vocab()) == {*SPECIAL, "good", "film", "bad"}
    texts = ["good film", "bad"]
    inputs, own = (network.tokenizer(texts, padding=True, return_tensors="pt") for network in (model, trimmed))
    assert torch.equal(logits_of(trimmed, **own), logits_of(model, **inputs))
    facts = run.facts["vocabulary"]
    assert (facts["before"], facts["pieces"]) == (len(PIECES), 9)
    assert facts["coverage"] == pytest.approx(3 / 5)
    assert sorted(facts["missed"]) == ["dull", "plot"]
    assert (facts["unknown_before"], facts["unknown"]) == (0, 2)  # the tests' words have no letters to spell them with


def test_rare_pieces_go_where_asked() -> None:
    trimmed = trim_vocabulary(tiny_bert(), task=task_of("good film film", "film bad good"), min_count=2)
    assert set(trimmed.tokenizer.get_vocab()) == {*SPECIAL, "good", "film"}


def test_pieces_of_other_texts_stay_too(tmp_path: Path) -> None:
    path = tmp_path / "more.txt"
    path.write_text("the plot was dull\n", encoding="utf-8")
    trimmed = trim_vocabulary(tiny_bert(), task=task_of("good film"), text=str(path))
    assert set(trimmed.tokenizer.get_vocab()) == {*SPECIAL, "good", "film", "the", "plot", "was", "dull"}


def test_positions_are_cut_as_well() -> None:
    task = replace(task_of("good film"), max_length=8)
    assert trim_vocabulary(tiny_bert(), task=task, max_length=10).config.max_position_embeddings == 10
    whole = task_of(" ".join(PIECES[5:]))
    assert trim_vocabulary(tiny_bert(), task=replace(whole, max_length=8), max_length=8).config.vocab_size == len(PIECES)


def test_pieces_are_counted_without_special_tokens() -> None:
    assert counted(tiny_bert().tokenizer, ["a film a", "a"]) == {5: 3, 7: 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"min_count": 0}, r"trim_vocabulary\.min_count"),
        ({"max_length": 3}, r"trim_vocabulary\.max_length"),
        ({"max_length": 23}, "max_length is 23, but the task reads 24 tokens and the model has 24"),
        ({"max_length": 25}, "max_length is 25, but"),
        ({"text": "nowhere.txt"}, r"nowhere\.txt"),
    ],
)
def test_what_makes_no_sense_is_refused(toy: Task, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        trim_vocabulary(forbid_forward_passes(tiny_bert()), task=toy, **arguments)
    assert caught.value.exit_code == 2


def test_a_family_without_a_table_of_positions_is_refused_where_it_is_to_be_cut(toy: Task) -> None:
    model = tiny_of("modernbert")
    with pytest.raises(InputError, match="max_length is 24, but a modernbert has no table of positions that could be cut"):
        trim_vocabulary(forbid_forward_passes(model), task=toy, max_length=24)
    trimmed = trim_vocabulary(model, task=task_of("good film"))
    assert trimmed.config.vocab_size == len(SPECIAL) + 2
    assert trimmed.config.max_position_embeddings == 24


def test_a_model_that_quantizes_is_refused(toy: Task) -> None:
    with pytest.raises(InputError, match="trim_vocabulary: the model quantizes; cut its vocabulary before"):
        trim_vocabulary(quantize_aware(tiny_bert(), task=toy, epochs=1, batch_size=8), task=toy)


def test_nothing_to_leave_out_has_no_effect() -> None:
    with pytest.raises(NoEffect, match="all 17 pieces stay"):
        trim_vocabulary(tiny_bert(), task=task_of(" ".join(PIECES[5:])))


def test_a_trial_goes_on_where_nothing_is_left_out() -> None:
    """A tiny model's vocabulary is made of the task's words."""
    task = task_of(" ".join(PIECES[5:]))
    assert trim_vocabulary(tiny_bert(), task=task, run=StepContext(tiny=True)).config.vocab_size == len(PIECES)
