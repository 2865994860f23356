"""Heads and neurons go at once, under a budget, and what is left makes up for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.methods.build_student import build_student
from compress.methods.fine_tune import fine_tune
from compress.methods.prune_after_training import prune_after_training
from compress.models.costs import encoder_macs
from compress.models.layout import distinct_layers, head_count, neuron_count
from compress.models.quantizers import with_quantizers
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.pruning.times import ms_of, stand_in_for_timing, table_of
from tests.tiny_models import differences, logits_of, sentences, state_of, tiny_bert, tiny_of, toy_task


def counts(model: PreTrainedModel) -> tuple[list[int], list[int]]:
    layers = distinct_layers(model)
    return [head_count(layer) for layer in layers], [neuron_count(layer) for layer in layers]


def mean_length(model: PreTrainedModel, task: Task) -> float:
    return float(task.encode(task.train, model.tokenizer).lengths.mean())


@pytest.mark.parametrize("macs", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_the_encoder_costs_no_more_than_the_fraction_and_not_much_less(
    toy: Task, tmp_path: Path, kind: str, macs: float
) -> None:
    model, run = tiny_of(kind, layers=3), StepContext()
    before = state_of(model)
    pruned = prune_after_training(model, task=toy, macs=macs, multiple_of=2, run=run)
    length = mean_length(model, toy)
    left = encoder_macs(pruned, length).whole / encoder_macs(model, length).whole
    assert macs - 0.08 < left <= macs
    assert run.facts["encoder_macs_left"] == pytest.approx(left)
    assert (run.facts["heads"], run.facts["neurons"]) == counts(pruned)
    assert not any(count % 2 for count in counts(pruned)[1])
    assert not differences(before, state_of(model))
    again = cp.load(cp.save(pruned, tmp_path / "saved"))
    batch = {"input_ids": torch.arange(5, 15).view(2, 5)}
    assert torch.equal(logits_of(pruned, **batch), logits_of(again, **batch))


def test_without_tuning_what_is_left_is_as_it_was(toy: Task) -> None:
    model = tiny_bert()
    pruned = prune_after_training(model, task=toy, macs=0.6, tune=False, multiple_of=1)
    for own, layer in zip(distinct_layers(pruned), distinct_layers(model), strict=True):
        rows = {tuple(row) for row in layer.intermediate.dense.weight.tolist()}
        assert all(tuple(row) in rows for row in own.intermediate.dense.weight.tolist())
        columns = {tuple(column) for column in layer.output.dense.weight.T.tolist()}
        assert all(tuple(column) in columns for column in own.output.dense.weight.T.tolist())


def test_tuning_scales_columns_and_touches_nothing_else(toy: Task) -> None:
    model = tiny_bert()
    plain, tuned = (prune_after_training(model, task=toy, macs=0.6, tune=tune) for tune in (False, True))
    moved = differences(state_of(plain), state_of(tuned))
    assert moved
    assert all(name.endswith(("attention.output.dense.weight", ".output.dense.weight")) for name in moved)
    for own, layer in zip(distinct_layers(tuned), distinct_layers(plain), strict=True):
        ratio = own.output.dense.weight / layer.output.dense.weight
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=1e-5)


def test_exchanges_keep_the_numbers_and_change_the_choice() -> None:
    task, model = toy_task(train=64), tiny_bert(seed=9)
    plain, exchanged = (
        prune_after_training(model, task=task, macs=0.5, tune=False, rearrange=rearrange) for rearrange in (False, True)
    )
    assert counts(plain) == counts(exchanged)
    assert differences(state_of(plain), state_of(exchanged))


def loss_of(model: PreTrainedModel, task: Task) -> float:
    encoded = task.encode(task.train, model.tokenizer)
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(range(len(encoded))).items()}
    return float(functional.cross_entropy(logits_of(model, **batch), torch.from_numpy(encoded.labels)))


def test_a_trained_model_loses_less_than_one_whose_most_important_parts_go(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = fine_tune(tiny_bert(), task=toy, epochs=12, batch_size=8, learning_rate=5e-3)
    good = prune_after_training(trained, task=toy, macs=0.5)
    plain = prune_after_training(trained, task=toy, macs=0.5, tune=False)
    home = "compress.methods.prune_after_training.importance"
    monkeypatch.setattr(home, lambda gradients: 1 / (1e-9 + gradients.square().sum(0)))
    bad = prune_after_training(trained, task=toy, macs=0.5, tune=False, rearrange=False)
    before = loss_of(trained, toy)
    assert before < 0.2
    assert loss_of(plain, toy) < loss_of(bad, toy)
    assert loss_of(good, toy) - before < 0.5 * (loss_of(bad, toy) - before)


def test_examples_are_drawn_by_the_seed_and_no_more_than_asked_for(toy: Task) -> None:
    seen: list[int] = []

    def drawn(seed: int) -> PreTrainedModel:
        return prune_after_training(tiny_bert(), task=toy, macs=0.5, examples=7, run=StepContext(seed=seed))

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert not differences(state_of(first), state_of(again))
    assert differences(state_of(first), state_of(other))
    model = tiny_bert()
    model.register_forward_pre_hook(lambda _, args, options: seen.append(len(options["input_ids"])), with_kwargs=True)
    prune_after_training(model, task=toy, macs=0.5, examples=7, tune=False)
    assert sum(seen) == 7


def test_shared_layers_are_pruned_for_all_their_runs(toy: Task) -> None:
    model = tiny_of("albert", layers=3)
    pruned = prune_after_training(model, task=toy, macs=0.5, tune=False)
    length = mean_length(model, toy)
    assert encoder_macs(pruned, length).whole <= 0.5 * encoder_macs(model, length).whole
    with pytest.raises(InputError, match=r"prune_after_training\.tune is true, .*shared.* set it to false"):
        prune_after_training(forbid_forward_passes(model), task=toy, macs=0.5)


@pytest.mark.parametrize("speedup", [1.3, 2.0])
def test_it_is_as_fast_as_asked_by_the_table(toy: Task, monkeypatch: pytest.MonkeyPatch, speedup: float) -> None:
    stand_in_for_timing(monkeypatch)
    model, run = tiny_bert(layers=3), StepContext()
    pruned = prune_after_training(model, task=toy, speedup=speedup, length=8, multiple_of=1, run=run)
    reached = table_of(model).dense_ms / ms_of(pruned, model)
    assert speedup <= reached < 1.1 * speedup
    assert (run.facts["heads"], run.facts["neurons"]) == counts(pruned)


def test_a_speedup_that_cannot_be_reached_is_refused_with_what_can(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_timing(monkeypatch)
    model = tiny_bert(layers=3)
    empty = 1.0 + 4 * 0.05  # two empty parts in each layer but the last, whose parts take nothing
    reachable = table_of(model).dense_ms / empty
    with pytest.raises(InputError, match=rf"is 50, but without any head and neuron .* is {reachable:.3g} times faster"):
        prune_after_training(forbid_forward_passes(model), task=toy, speedup=50.0, length=8)
    with pytest.raises(InputError, match="length is 25, but the model reads at most 24"):
        prune_after_training(forbid_forward_passes(model), task=toy, speedup=2.0, length=25)
    with pytest.raises(InputError, match="a albert cannot be timed part by part"):
        prune_after_training(forbid_forward_passes(tiny_of("albert")), task=toy, speedup=2.0, length=8, tune=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "macs is missing, and so is speedup; give one"),
        ({"macs": 0.5, "speedup": 2.0}, "macs and speedup are both given"),
    ],
)
def test_one_budget_is_given(toy: Task, arguments: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        prune_after_training(forbid_forward_passes(tiny_bert()), task=toy, **arguments)


def test_a_pruned_model_can_be_pruned_again(toy: Task) -> None:
    once = prune_after_training(tiny_bert(), task=toy, macs=0.5)
    twice = prune_after_training(once, task=toy, macs=0.5)
    length = mean_length(once, toy)
    assert 0 < encoder_macs(twice, length).whole <= 0.5 * encoder_macs(once, length).whole


def test_what_a_mobilebert_cannot_lose_is_told(toy: Task) -> None:
    model = tiny_of("mobilebert")
    costs = encoder_macs(model, mean_length(model, toy))
    reachable = costs.least / costs.whole
    said = rf"prune_after_training\.macs is 0\.1, but without any head and neuron {reachable:.3g} of .* use more"
    with pytest.raises(InputError, match=said):
        prune_after_training(forbid_forward_passes(model), task=toy, macs=0.1)
    pruned = prune_after_training(tiny_of("mobilebert"), task=toy, macs=(1 + reachable) / 2)
    assert 0 < sum(counts(pruned)[1]) < 48


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("macs", 0.0),
        ("macs", 1.0),
        ("macs", -0.5),
        ("macs", 70),
        ("macs", "0.7"),
        ("macs", float("nan")),
        ("examples", 0),
        ("examples", 2.5),
        ("multiple_of", 0),
        ("multiple_of", 25),
        ("multiple_of", 2000),
        ("rearrange", "yes"),
        ("tune", 1),
    ],
)
def test_values_out_of_range_are_refused_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=rf"prune_after_training\.{name}"):
        prune_after_training(forbid_forward_passes(model), task=toy, **{"macs": 0.5, name: value})


def test_models_and_tasks_that_do_not_fit_are_refused(model: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(InputError, match="the task's train part is empty"):
        prune_after_training(forbid_forward_passes(model), task=toy_task(train=0), macs=0.5)
    with pytest.raises(InputError, match="the model has 2 labels, but the task has 3"):
        prune_after_training(model, task=toy_task(labels=("a", "b", "c")), macs=0.5)
    with pytest.raises(InputError, match="the evaluation split was given"):
        prune_after_training(model, task=_evaluation_as_training(), macs=0.5)
    with pytest.raises(InputError, match="quantizes; prune it before"):
        prune_after_training(with_quantizers(tiny_bert(), per_channel=True, symmetric=True), task=toy, macs=0.5)
    with pytest.raises(InputError, match="a static has no encoder"):
        prune_after_training(build_student(tiny_bert(), kind="static", initial="random"), task=toy, macs=0.5)


def _evaluation_as_training() -> Task:
    task = toy_task()
    object.__setattr__(task, "train", sentences("evaluation", 8, 4))
    return task
