"""A trained model reads longer texts after its attention was swapped, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import compress as cp
from compress.errors import InputError
from compress.methods.swap_attention import swap_attention
from compress.models.attention.long_attention import attention_structure
from compress.models.quantizers import with_quantizers
from compress.models.vocabulary import extend_positions
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import logits_of, tiny_bert, tiny_of, tokens, toy_task

REPEATING: dict[str, dict[str, Any]] = {"longformer": {"window": 8}, "reformer": {"chunk": 4, "buckets": 4}}
KINDS: dict[str, dict[str, Any]] = {**REPEATING, "transformer_xl": {"segment": 8}, "chunk_and_pool": {"segment": 8}}


@pytest.fixture(scope="module")
def toy() -> Task:
    return toy_task(train=64)


@pytest.mark.parametrize("kind", REPEATING)
def test_positions_beyond_the_model_s_repeat_them(toy: Task, kind: Any, tmp_path: Path) -> None:
    model: Any = tiny_bert()
    student: Any = swap_attention(model, task=toy, kind=kind, max_length=60, **KINDS[kind])
    rows = student.bert.embeddings.position_embeddings.weight
    assert rows.shape == (60, 16)
    assert torch.equal(rows[24:48], model.bert.embeddings.position_embeddings.weight)
    assert student.tokenizer.model_max_length == student.config.max_position_embeddings == 60
    assert model.tokenizer.model_max_length == model.config.max_position_embeddings == 24
    again = cp.load(cp.save(student, tmp_path / "saved"))
    batch = tokens(lengths=(60, 37))
    assert torch.equal(logits_of(again, **batch), logits_of(student, **batch))
    assert again.tokenizer.model_max_length == 60


@pytest.mark.parametrize("kind", ["transformer_xl", "chunk_and_pool"])
def test_a_model_that_reads_segments_keeps_one_segment_s_positions(toy: Task, kind: Any, tmp_path: Path) -> None:
    model: Any = tiny_bert()
    student: Any = swap_attention(model, task=toy, kind=kind, max_length=60, segment=8)
    rows = model.bert.embeddings.position_embeddings.weight
    assert torch.equal(student.bert.embeddings.position_embeddings.weight, rows[:8])
    assert student.tokenizer.model_max_length == student.config.max_position_embeddings == 60
    again = cp.load(cp.save(student, tmp_path / "saved"))
    batch = tokens(lengths=(60, 37))
    assert torch.equal(logits_of(again, **batch), logits_of(student, **batch))
    assert again.tokenizer.model_max_length == 60


def test_more_rounds_find_more_of_what_full_attention_weighs_most(toy: Task) -> None:
    recalls, run = [], StepContext()
    for rounds in (1, 16):
        swap_attention(tiny_bert(layers=3), task=toy, kind="reformer", chunk=1, buckets=4, rounds=rounds, run=run)
        recalls.append(run.facts["attention"]["recall"])
    assert all(0 < few < many <= 1 for few, many in zip(*recalls, strict=True))


def test_a_distilbert_reads_more_positions_too() -> None:
    longer = extend_positions(tiny_of("distilbert"), 50)
    batch = tokens(lengths=(50, 3))
    assert torch.isfinite(logits_of(longer, input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])).all()
    with pytest.raises(InputError, match="23 positions are asked for, but the model has 24"):
        extend_positions(tiny_bert(), 23)


def test_options_and_defaults_stand_in_the_structure(toy: Task) -> None:
    run = StepContext(seed=7)
    structure = attention_structure(swap_attention(tiny_bert(), task=toy, kind="longformer", run=run))
    assert structure == {"kind": "longformer", "window": 256, "global_tokens": 1}
    assert run.facts["attention"] == {**structure, "positions": 24}
    structure = attention_structure(swap_attention(tiny_bert(), task=toy, kind="reformer", rounds=3, run=run))
    assert run.facts["attention"].pop("recall") == [1.0, 1.0]  # a chunk holds the whole text
    assert structure == {"kind": "reformer", "chunk": 64, "buckets": 64, "rounds": 3, "shared": False, "seed": 7}


@pytest.mark.parametrize("kind", KINDS)
def test_a_swapped_model_learns_from_the_dense_one(toy: Task, kind: Any) -> None:
    model = tiny_bert()
    student = swap_attention(model, task=toy, kind=kind, **KINDS[kind])
    run = StepContext(device="cpu")
    cp.distill(
        student,
        teacher=model,
        task=toy,
        objectives={"logits": 1.0, "hidden": 1.0},
        epochs=4,
        batch_size=8,
        learning_rate=3e-3,
        run=run,
    )
    losses = [epoch["loss"] for epoch in run.facts["epochs"]]
    assert losses[-1] < 0.9 * losses[0]
    tuned = cp.quantize_aware(student, task=toy, epochs=1, batch_size=8, learning_rate=1e-3, run=run)
    assert attention_structure(tuned) == attention_structure(student)


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        (tiny_bert(), {"kind": "dense"}, r"swap_attention\.kind"),
        (tiny_bert(), {"kind": "longformer", "window": 7}, "window is 7; an even number is needed: use 8"),
        (tiny_bert(), {"kind": "longformer", "window": 26}, "window is 26, more than the 24 tokens of the task's texts"),
        (
            tiny_bert(),
            {"kind": "longformer", "window": 8, "global_tokens": 5},
            "more than half of the window of 8; use 4 at most",
        ),
        (tiny_bert(), {"kind": "longformer", "chunk": 8}, "chunk plays no part in longformer"),
        (tiny_bert(), {"kind": "transformer_xl", "window": 8}, "window plays no part in transformer_xl"),
        (tiny_bert(), {"kind": "transformer_xl", "segment": 25}, "segment is 25, more than the 24 tokens of the task's texts"),
        (tiny_bert(), {"kind": "chunk_and_pool", "segment": 3}, r"segment"),
        (tiny_bert(), {"kind": "longformer", "segment": 8}, "segment plays no part in longformer"),
        (tiny_bert(), {"kind": "reformer", "window": 8}, "window plays no part in reformer"),
        (tiny_bert(), {"kind": "reformer", "buckets": 5}, "buckets is 5; an even number is needed"),
        (tiny_bert(), {"kind": "longformer", "window": 8, "max_length": 20}, "up to 24 tokens, but the model would read 20"),
        (tiny_of("albert"), {"kind": "longformer", "window": 8}, "start from a bert or distilbert"),
        (with_quantizers(tiny_bert(), per_channel=True, symmetric=True), {"kind": "reformer"}, "before quantize_aware"),
    ],
)
def test_what_makes_no_sense_is_refused(toy: Task, model: Any, arguments: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        swap_attention(forbid_forward_passes(model), task=toy, **arguments)
    assert caught.value.exit_code == 2


def test_a_segment_longer_than_the_table_is_refused() -> None:
    long = toy_task(max_length=40)
    with pytest.raises(InputError, match="segment is 30, but the model has 24 positions; use at most so many"):
        swap_attention(tiny_bert(), task=long, kind="transformer_xl", segment=30, max_length=40)
    structure = attention_structure(swap_attention(tiny_bert(), task=long, kind="transformer_xl", max_length=40))
    assert structure == {"kind": "transformer_xl", "segment": 24}


def test_a_model_is_swapped_once(toy: Task) -> None:
    student = swap_attention(tiny_bert(), task=toy, kind="reformer")
    with pytest.raises(InputError, match="the model's attention is reformer already"):
        swap_attention(student, task=toy, kind="longformer", window=8)


def test_a_task_longer_than_the_table_is_refused_with_the_fix() -> None:
    with pytest.raises(InputError, match="give max_length: 40"):
        swap_attention(tiny_bert(), task=toy_task(max_length=40), kind="longformer", window=8)
