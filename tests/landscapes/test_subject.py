"""What the sample reads of a model, and between which models a line can be drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.landscapes.subject import Subject, subject_of, why_apart
from compress.tasks.labelled import Task
from tests.tiny_models import differences, state_of, tiny_bert, tiny_of


def looked_at(model: PreTrainedModel, task: Task, count: int = 4) -> Subject:
    return subject_of("tiny", model, task.encode(task.train.take(count), model.tokenizer))


def test_only_the_rows_that_the_sample_reads_are_kept(model: PreTrainedModel, toy: Task) -> None:
    before, encoded = state_of(model), toy.encode(toy.train.take(2), model.tokenizer)
    subject = subject_of("tiny", model, encoded)
    read = sorted({token for row in encoded.input_ids for token in row} | {encoded.pad_token_id})
    table = subject.weights["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(table, model.bert.embeddings.word_embeddings.weight[read])
    assert subject.pieces == tuple(model.tokenizer.convert_ids_to_tokens(read))
    assert [[read[place] for place in row] for row in subject.encoded.input_ids] == encoded.input_ids
    assert subject.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert not differences(before, state_of(model))


def test_the_loss_is_that_of_the_whole_model(model: PreTrainedModel, toy: Task) -> None:
    subject = looked_at(model, toy)
    encoded = toy.encode(toy.train.take(4), model.tokenizer)
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(range(4)).items()}
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(**batch).logits, torch.from_numpy(np.asarray(encoded.labels)))
    assert subject.loss.at(subject.weights) == pytest.approx(expected.item(), abs=1e-5)


def test_a_key_tells_weights_and_samples_apart(model: PreTrainedModel, toy: Task) -> None:
    keys = {looked_at(model, toy).key, looked_at(tiny_bert(seed=4), toy).key, looked_at(model, toy, 5).key}
    assert len(keys) == 3
    assert looked_at(tiny_bert(), toy).key in keys  # the same weights


def test_a_line_leads_between_models_of_the_same_build(model: PreTrainedModel, toy: Task) -> None:
    assert why_apart(looked_at(model, toy), looked_at(tiny_bert(seed=4), toy)) is None
    short = np.argsort([len(text.split()) for text in toy.train.texts])[:3]
    few = replace(toy, **{split.role: replace(toy.train.pick(short), role=split.role) for split in toy.splits()})
    trimmed = cp.trim_vocabulary(model, task=few)
    assert trimmed.config.vocab_size < model.config.vocab_size
    assert why_apart(looked_at(model, few), looked_at(trimmed, few)) is None  # both read the same rows


def test_no_line_leads_to_a_model_of_another_build(model: PreTrainedModel, toy: Task) -> None:
    own = looked_at(model, toy)
    shallow = why_apart(own, looked_at(cp.drop_layers(model, keep=[0]), toy))
    assert shallow is not None
    assert shallow.startswith("their weights have other shapes, 16 of")
    assert "nothing in the other" in shallow
    other = why_apart(own, looked_at(tiny_of("distilbert", task=toy), toy))
    assert other == "one is a BertForSequenceClassification, the other a DistilBertForSequenceClassification"
    assert why_apart(own, looked_at(model, toy, 3)) is not None
