"""Attention for long inputs stands in a BERT's layers, is told by structure.json, and answers as it should."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForQuestionAnswering, BertForTokenClassification

import compress as cp
from compress.errors import InputError
from compress.models.attention.kernel import TOKENS, attention_kernel
from compress.models.attention.long_attention import attention_kind, attention_structure, swap
from compress.models.first_token import first_token_only
from compress.models.layout import reads_first_token_only
from compress.models.quantizers import quantized_linears, with_quantizers
from compress.models.structure import apply_structure, read_structure
from compress.models.surgery import keep_heads, keep_neurons
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, tokens

LONGFORMER = {"kind": "longformer", "window": 6, "global_tokens": 1}
REFORMER = {"kind": "reformer", "chunk": 3, "buckets": 4, "rounds": 2, "shared": False, "seed": 5}
KINDS: dict[str, dict[str, Any]] = {
    "longformer": LONGFORMER,
    "longformer with two": LONGFORMER | {"global_tokens": 2},
    "longformer without": LONGFORMER | {"global_tokens": 0},
    "reformer": REFORMER,
    "shared": REFORMER | {"shared": True},
    "transformer_xl": {"kind": "transformer_xl", "segment": 6},
    "chunk_and_pool": {"kind": "chunk_and_pool", "segment": 6},
}
FIRST_SEES_ALL = ("longformer", "longformer with two", "transformer_xl", "chunk_and_pool")
WHOLE: dict[str, dict[str, Any]] = {
    "longformer": LONGFORMER | {"window": 48},
    "reformer": REFORMER | {"chunk": 24},
    "transformer_xl": {"kind": "transformer_xl", "segment": 24},
    "chunk_and_pool": {"kind": "chunk_and_pool", "segment": 24},
}
"""Sizes that leave nothing out."""


def swapped(attention: dict[str, Any], model: Any = None) -> Any:
    student = copy.deepcopy(model or tiny_bert())
    swap(student, attention)
    return student.eval()


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("name", WHOLE)
def test_attention_that_leaves_nothing_out_answers_as_full_attention(name: str, kind: str) -> None:
    model = tiny_of(kind, layers=3)
    student = swapped(WHOLE[name], model)
    batch = tokens()
    batch = batch if kind == "bert" else {key: batch[key] for key in ("input_ids", "attention_mask")}
    torch.testing.assert_close(logits_of(student, **batch), logits_of(model, **batch), rtol=1e-4, atol=1e-5)
    for attention in KINDS.values():
        assert not torch.allclose(logits_of(swapped(attention, model), **batch), logits_of(model, **batch))


def answers_by_token(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """What a model with a head for every token answers, (batch, length, outputs)."""
    with torch.inference_mode():
        output = model(**batch)
    return output.logits if "logits" in output else torch.stack([output.start_logits, output.end_logits], -1)


@pytest.mark.parametrize("head", [BertForTokenClassification, BertForQuestionAnswering])
@pytest.mark.parametrize("name", WHOLE)
def test_a_model_that_answers_for_every_token_attends_in_the_same_way(name: str, head: Any) -> None:
    trained = tiny_bert(layers=3)
    model = head(trained.config).eval()
    model.load_state_dict(trained.state_dict(), strict=False)
    batch = tokens(lengths=(20, 11, 3))
    read = batch["attention_mask"].bool()
    expected, logits = answers_by_token(model, batch), answers_by_token(swapped(WHOLE[name], model), batch)
    torch.testing.assert_close(logits[read], expected[read], rtol=1e-4, atol=1e-5)
    student = swapped(next(attention for attention in KINDS.values() if attention["kind"] == name), model)
    logits = answers_by_token(student, batch)
    assert not torch.allclose(logits[read], expected[read], atol=1e-2)
    alone = answers_by_token(student, {key: values[1:2, :11] for key, values in batch.items()})
    torch.testing.assert_close(logits[1:2, :11], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_padding_and_neighbours_change_no_answer(name: str) -> None:
    """Of reformer where every text is hashed alone: its padding falls behind all other tokens."""
    student, batch = swapped(KINDS[name]), tokens(lengths=(20, 11, 3))
    together = logits_of(student, **batch)
    for row, length in enumerate((20, 11, 3)):
        alone = logits_of(student, **{key: values[row : row + 1, :length] for key, values in batch.items()})
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_text_without_a_mask_is_a_text_without_padding(name: str) -> None:
    student, batch = swapped(KINDS[name]), tokens(lengths=(20, 20))
    expected = logits_of(student, **batch)
    del batch["attention_mask"]
    torch.testing.assert_close(logits_of(student, **batch), expected)


@pytest.mark.parametrize("name", KINDS)
def test_structure_tells_it_and_a_saved_model_answers_the_same(name: str, tmp_path: Path) -> None:
    student = swapped(KINDS[name])
    assert attention_structure(student) == read_structure(student)["attention"] == KINDS[name]
    again = cp.load(cp.save(student, tmp_path / "saved"))
    assert attention_structure(again) == KINDS[name]
    assert attention_kind(again) == KINDS[name]["kind"]
    assert not differences(state_of(again), state_of(student))
    assert torch.equal(logits_of(again), logits_of(student))
    assert attention_kind(tiny_bert()) is None


@pytest.mark.parametrize("name", KINDS)
def test_a_model_that_was_pruned_before_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    pruned = keep_neurons(keep_heads(tiny_bert(layers=3), [[0, 2], [], [1, 2, 3]]), [[0, 1, 2], [3], []])
    student = swapped(KINDS[name], pruned)
    assert torch.equal(logits_of(cp.load(cp.save(student, tmp_path / "saved"))), logits_of(student))


@pytest.mark.parametrize("name", KINDS)
def test_the_last_layer_computes_its_first_token_alone_where_that_sees_everything(name: str) -> None:
    student = swapped(KINDS[name])
    expected = logits_of(student)
    assert reads_first_token_only(student) == (name in FIRST_SEES_ALL)
    with first_token_only(student):
        torch.testing.assert_close(logits_of(student), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_another_kernel_is_never_taken(name: str) -> None:
    student = swapped(KINDS[name])
    with attention_kernel(student, "eager"):
        assert student.config._attn_implementation == TOKENS
        torch.testing.assert_close(logits_of(student), logits_of(student))
    with attention_kernel(tiny_bert(), "eager"):
        pass


def test_global_tokens_have_projections_of_their_own_that_learn() -> None:
    student = swapped(LONGFORMER).train()
    student(**tokens()).logits.sum().backward()
    name = "bert.encoder.layer.{}.attention.self.global_value.weight"
    assert all(student.get_parameter(name.format(layer)).grad.abs().sum() > 0 for layer in (0, 1))


def test_a_model_that_quantizes_keeps_its_attention(tmp_path: Path) -> None:
    student = with_quantizers(swapped(LONGFORMER), per_channel=True, symmetric=True)
    for linear in quantized_linears(student).values():
        linear.set_range(-6.0, 6.0)
    assert sum("global_" in name for name in quantized_linears(student)) == 6
    again = cp.load(cp.save(student, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(student))


def test_nothing_is_cut_off_it_any_more() -> None:
    with pytest.raises(InputError, match="attention is one for long inputs; prune it before swap_attention"):
        keep_heads(swapped(LONGFORMER), [[0], [0]])


@pytest.mark.parametrize(
    "attention",
    [
        "longformer",
        {"kind": "dense"},
        {"kind": "longformer", "window": 6},
        LONGFORMER | {"window": 6.0},
        LONGFORMER | {"more": 1},
        LONGFORMER | {"window": -2},
        REFORMER | {"shared": 1},
        REFORMER | {"rounds": True},
        {"kind": ["longformer"]},
        KINDS["transformer_xl"] | {"segment": 1},
        REFORMER | {"chunk": 0},
    ],
)
def test_a_structure_with_broken_attention_is_refused(attention: Any) -> None:
    model = tiny_bert()
    with pytest.raises(InputError, match=re.escape("structure.json: attention is")):
        apply_structure(model, read_structure(model) | {"attention": attention})
