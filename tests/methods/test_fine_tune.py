"""Fine-tuning trains a copy on the labels."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.methods.fine_tune import fine_tune
from compress.models.checkpoint import load, save
from compress.tasks.labelled import Task
from compress.training.predict import predict
from compress.training.step_context import StepContext
from tests.methods.ranges import OUT_OF_RANGE, forbid_forward_passes
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, toy_task


@pytest.mark.slow
def test_it_learns_a_task_that_one_word_decides(toy: Task) -> None:
    model = tiny_bert(initializer_range=0.05)
    before = accuracy(model, toy)
    run = StepContext()
    tuned = fine_tune(model, task=toy_task(train=80), epochs=12, learning_rate=1e-2, batch_size=16, run=run)
    assert before < 0.8
    assert accuracy(tuned, toy) == 1.0
    assert run.facts["metrics"]["selection_accuracy"] == 1.0


def accuracy(model: PreTrainedModel, task: Task) -> float:
    """Of the answers to the evaluation part."""
    said = predict(model, task.encode(task.evaluation, model.tokenizer))
    return float(np.mean(said.argmax(1) == task.evaluation.labels))


def test_the_model_that_comes_in_stays_bit_for_bit_and_shares_no_tensor(model: PreTrainedModel, toy: Task) -> None:
    before, said = state_of(model), logits_of(model)
    tuned = fine_tune(model, task=toy, epochs=1, batch_size=8)
    assert not differences(state_of(model), before)
    assert torch.equal(logits_of(model), said)
    assert not model.training
    pointers = {parameter.data_ptr() for parameter in model.parameters()}
    assert not pointers & {parameter.data_ptr() for parameter in tuned.parameters()}
    assert not tuned.training
    assert differences(state_of(tuned), before)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(model: PreTrainedModel, toy: Task) -> None:
    torch.manual_seed(1)
    first = fine_tune(model, task=toy, epochs=1, batch_size=8, run=StepContext(seed=4))
    torch.manual_seed(2)
    again, other = (fine_tune(model, task=toy, epochs=1, batch_size=8, run=StepContext(seed=seed)) for seed in (4, 5))
    assert not differences(state_of(first), state_of(again))
    assert differences(state_of(first), state_of(other))


def test_the_caller_s_random_numbers_are_left_alone(model: PreTrainedModel, toy: Task) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fine_tune(model, task=toy, epochs=1, batch_size=40)
    assert torch.equal(torch.rand(3), expected)


def test_what_was_trained_loads_with_the_same_answers_bit_for_bit(model: PreTrainedModel, toy: Task, tmp_path: Any) -> None:
    tuned = fine_tune(model, task=toy, epochs=1, batch_size=8)
    assert torch.equal(logits_of(load(save(tuned, tmp_path / "tuned"))), logits_of(tuned))


def test_what_was_trained_can_be_copied_cut_and_trained_again(model: PreTrainedModel, toy: Task) -> None:
    tuned = fine_tune(model, task=toy, epochs=1, batch_size=8)
    copied = copy.deepcopy(tuned)
    with torch.no_grad():
        copied.classifier.weight.zero_()
        copied.classifier.bias.copy_(torch.tensor([1.0, 2.0]))
    assert torch.equal(logits_of(copied), torch.tensor([[1.0, 2.0]]).repeat(4, 1))
    assert not torch.equal(logits_of(tuned), logits_of(copied))
    again = fine_tune(copied, task=toy, epochs=1, batch_size=8, learning_rate=1e-2)
    assert not torch.equal(again.classifier.weight, copied.classifier.weight)


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_values_out_of_range_are_refused_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=rf"fine_tune\.{name}"):
        fine_tune(forbid_forward_passes(model), task=toy, **{name: value})


def test_a_task_with_another_number_of_labels_is_refused_before_any_forward_pass(model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match=r"2 labels.*3"):
        fine_tune(forbid_forward_passes(model), task=toy_task(labels=("a", "b", "c")), epochs=1)


def test_no_more_of_a_text_is_read_than_max_length() -> None:
    task = toy_task(max_length=40)
    long = {part.role: replace(part, texts=tuple("it was " * 15 + text for text in part.texts)) for part in task.splits()}
    task = replace(task, **long)
    few, all_of_it = ({"task": task.up_to(tokens), "epochs": 1, "batch_size": 16} for tokens in (6, 24))
    shortened = state_of(fine_tune(tiny_bert(), **few | {"task": task}, max_length=6))
    assert not differences(shortened, state_of(fine_tune(tiny_bert(), **few)))
    assert differences(shortened, state_of(fine_tune(tiny_bert(), **all_of_it)))
    with pytest.raises(InputError, match=r"fine_tune\.max_length is 30, but the model reads 24 .* use up to 24"):
        fine_tune(forbid_forward_passes(tiny_bert()), **few | {"task": task}, max_length=30)


def test_a_task_longer_than_the_model_s_positions_is_read_up_to_them_and_told_once(
    toy: Task, caplog: pytest.LogCaptureFixture
) -> None:
    """Without care, an index error from deep inside the embeddings reaches the user."""
    short = tiny_bert(max_position_embeddings=6)
    weights = state_of(fine_tune(short, task=toy, epochs=1, batch_size=16))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the model reads 6 tokens at most: of the task's texts, of up to 24, it gets the first 6; give the task a "
        "max_length of "
        "6, or let swap_attention extend the model"
    ]
    assert not differences(weights, state_of(fine_tune(short, task=toy.up_to(6), epochs=1, batch_size=16)))
