"""RoBERTa and those like it count positions from the padding on, and have a head of two Linears."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    CamembertForMaskedLM,
    ElectraForPreTraining,
    ElectraModel,
    PreTrainedModel,
    RobertaForTokenClassification,
    RobertaModel,
    XLMRobertaModel,
)

import compress as cp
from compress.errors import InputError
from compress.methods.build_student import build_student
from compress.models.families import encoder_family, longest_text
from compress.models.head import MASKED, OF_SENTENCES, OF_TOKENS, SINGLE_LABEL_HEAD, SPANS, TOKENS, Head
from compress.models.vocabulary import extend_positions, keep_positions
from compress.training.step_context import StepContext
from tests.models.checkpoint.changing import set_json
from tests.tiny_models import LONGEST, logits_of, tiny_of, tokens, toy_task

CPU = StepContext(device="cpu")


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_of("roberta")


def test_it_reads_as_many_tokens_as_it_has_positions_behind_the_padding_s(model: PreTrainedModel) -> None:
    assert model.config.max_position_embeddings == LONGEST + 1
    assert longest_text(model.config) == toy_task(max_length=99).read_by(model).max_length == LONGEST
    assert logits_of(model, **tokens(lengths=(LONGEST,))).shape == (1, 2)
    with pytest.raises(IndexError):
        logits_of(model, **tokens(lengths=(LONGEST + 1,)))


def test_fewer_positions_leave_what_stands_before_the_first_one(model: PreTrainedModel) -> None:
    shorter = keep_positions(model, 9)
    assert longest_text(shorter.config) == shorter.tokenizer.model_max_length == 9
    assert torch.equal(logits_of(shorter), logits_of(model))
    with pytest.raises(InputError, match="25 positions are asked for, but the model has 24"):
        keep_positions(model, 25)


def test_more_positions_repeat_those_of_tokens_alone(model: PreTrainedModel) -> None:
    longer = extend_positions(model, 2 * LONGEST)
    table = longer.base_model.embeddings.position_embeddings.weight
    assert longest_text(longer.config) == 2 * LONGEST == len(table) - 1
    assert torch.equal(table[1 : LONGEST + 1], table[LONGEST + 1 :])
    assert torch.equal(logits_of(longer), logits_of(model))
    assert logits_of(longer, **tokens(lengths=(2 * LONGEST,))).shape == (1, 2)


def test_a_bert_that_is_built_from_all_of_its_layers_answers_as_it_does(model: PreTrainedModel) -> None:
    student = build_student(model, kind="bert", keep=[0, 1], task=toy_task(), run=CPU)
    assert student.config.max_position_embeddings == LONGEST
    torch.testing.assert_close(logits_of(student), logits_of(model))


@pytest.mark.parametrize("kind", ["transformer_xl", "chunk_and_pool"])
def test_attention_that_repeats_positions_is_refused(model: PreTrainedModel, kind: str) -> None:
    with pytest.raises(InputError, match=f"counts positions from its padding on, and cannot repeat .* {kind}"):
        cp.swap_attention(model, kind=kind, segment=8, task=toy_task(), run=CPU)


def test_attention_within_windows_agrees_where_windows_see_all(model: PreTrainedModel) -> None:
    swapped = cp.swap_attention(model, kind="longformer", window=LONGEST, max_length=2 * LONGEST, task=toy_task(), run=CPU)
    torch.testing.assert_close(logits_of(swapped), logits_of(model), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("padding", [None, True, -1, LONGEST, "1"])
def test_a_padding_that_no_position_can_stand_behind_is_refused(
    model: PreTrainedModel, padding: object, tmp_path: Path
) -> None:
    folder = cp.save(model, tmp_path / "saved")
    set_json(folder / "config.json", pad_token_id=padding)
    with pytest.raises(InputError, match="pad_token_id"):
        cp.load(folder)


HEADS = (SINGLE_LABEL_HEAD, OF_TOKENS[TOKENS], OF_TOKENS[SPANS], OF_TOKENS[MASKED], OF_SENTENCES)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.architecture)
@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("roberta", RobertaModel),
        ("xlm-roberta", XLMRobertaModel),
        ("camembert", CamembertForMaskedLM),
        ("electra", ElectraModel),
        ("electra", ElectraForPreTraining),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_checkpoints_before_any_task_are_read_for_each(
    kind: str, theirs: type[PreTrainedModel], head: Head, tmp_path: Path
) -> None:
    own = tiny_of(kind)
    base = theirs(own.config)
    base.save_pretrained(tmp_path)
    own.tokenizer.save_pretrained(tmp_path)
    loaded = cp.load(tmp_path, labels=["bad", "good"] if head.is_named and head.architecture != SPANS else None, head=head)
    assert type(loaded) is encoder_family(kind).classes[head.architecture]
    assert loaded.has_new_head == (head.is_named or (head.of_pieces and theirs is not CamembertForMaskedLM))
    weights, wanted = loaded.base_model.state_dict(), base.base_model.state_dict()
    for name, tensor in weights.items():
        assert torch.equal(tensor, wanted[name]), name


def test_a_tagger_keeps_its_head(tmp_path: Path) -> None:
    own = tiny_of("roberta")
    base = RobertaForTokenClassification(own.config).eval()
    base.save_pretrained(tmp_path)
    own.tokenizer.save_pretrained(tmp_path)
    assert torch.equal(logits_of(cp.load(tmp_path, head=OF_TOKENS[TOKENS])), logits_of(base))
    with pytest.raises(InputError, match="its head labels each token"):
        cp.load(tmp_path, head=SINGLE_LABEL_HEAD)


def test_a_new_head_leaves_the_linear_before_the_last_one(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = cp.save(model, tmp_path / "saved")
    other = cp.load(folder, labels=["a", "b", "c"], new_head=True)
    assert torch.equal(other.classifier.dense.weight, model.classifier.dense.weight)
    assert other.classifier.out_proj.out_features == 3
