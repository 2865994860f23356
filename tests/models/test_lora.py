"""LoRA: what learns, and that a plain model comes out."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.first_token import first_token_only
from compress.models.lora import insert_lora, merge_lora
from compress.tasks.labelled import Task
from tests.models.test_adapters import adapted
from tests.tiers import mostly_matrix
from tests.tiny_models import STRUCTURES, logits_of, state_of, tiny_bert, tiny_of

HOW: dict[str, Any] = {"train": {"lora": {"rank": 2}}, "epochs": 3, "batch_size": 8, "learning_rate": 1e-2}
__all__ = ["adapted"]


def changed(model: PreTrainedModel, tuned: PreTrainedModel) -> list[str]:
    """Names of the weights that are others; all have the names that they had."""
    before, after = state_of(model), state_of(tuned)
    assert before.keys() == after.keys()
    return [name for name in before if not torch.equal(before[name], after[name])]


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert", "albert"]))
def test_queries_values_and_the_head_are_others_by_a_low_rank(kind: str, toy: Task) -> None:
    model = tiny_of(kind)
    tuned = cp.fine_tune(model, task=toy, **HOW)
    assert type(tuned) is type(model)
    assert all(type(module).__module__.partition(".")[0] != "peft" for module in tuned.modules())
    base = f"{model.base_model_prefix}."
    inner = [name for name in changed(model, tuned) if name.startswith(base) and "pooler" not in name]
    assert len(inner) in (2, 4)  # ALBERT's layers are one
    for name in inner:
        difference = tuned.get_parameter(name) - model.get_parameter(name)
        assert torch.linalg.matrix_rank(difference, atol=1e-5) <= 2


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert", "deberta-v2"]))
@pytest.mark.parametrize("places", [["query", "key", "value"], ["context", "neurons"]], ids="-".join)
def test_new_matrices_leave_the_answers_and_merging_keeps_them(kind: str, places: Any) -> None:
    model = tiny_of(kind)
    answers = logits_of(model)
    names = insert_lora(model, rank=3, alpha=6.0, places=places, seed=5)
    assert torch.equal(logits_of(model), answers)
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).normal_(generator=torch.Generator().manual_seed(len(name)))
    with first_token_only(model):
        learned = logits_of(model)
    assert not torch.allclose(learned, answers, atol=1e-2)
    merged = merge_lora(model)
    torch.testing.assert_close(logits_of(merged), learned, rtol=0, atol=1e-4)
    assert all(type(module) is nn.Linear for module in merged.modules() if isinstance(module, nn.Linear))


def test_the_same_seed_gives_the_same_weights(toy: Task) -> None:
    model = tiny_bert()
    first, again = (cp.fine_tune(model, task=toy, **HOW) for _ in range(2))
    assert not changed(first, again)


def test_what_is_no_plain_linear_takes_none(adapted: PreTrainedModel, toy: Task) -> None:
    places = {"train": {"lora": {"places": ["context"]}}}
    with pytest.raises(InputError, match="is no plain Linear, but a AdaptedLinear; train: lora has to come before"):
        cp.fine_tune(adapted, task=toy, **{**HOW, **places})
    quantized = cp.quantize_aware(tiny_bert(), task=toy, epochs=1, batch_size=8)
    with pytest.raises(InputError, match="the model quantizes; train adapters before quantize_aware"):
        cp.fine_tune(quantized, task=toy, **HOW)
    with pytest.raises(InputError, match="has no layers to put low-rank matrices in"):
        cp.fine_tune(cp.build_student(tiny_bert(), kind="static", task=toy), task=toy, **HOW)


def test_a_missing_package_is_named_with_its_extra(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"train: lora needs the package peft; run: pip install 'bert-compress\[peft\]'"):
        cp.fine_tune(tiny_bert(), task=toy, **HOW)
