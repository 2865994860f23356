"""The one loop: what it learns from, what it keeps, and when it ends."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from compress.errors import CompressError
from compress.models.states import State
from compress.objectives.outputs import Batch, Outputs
from compress.tasks.labelled import Task
from compress.training.answers import KnownAnswers, LiveAnswers
from compress.training.batches import epoch_batches
from compress.training.loop import train
from compress.training.schedule import rate_factor
from compress.training.step_context import StepContext
from compress.training.training_loss import TrainingLoss
from tests.tiny_models import differences, state_of, tiny_bert, toy_task, without_dropout
from tests.training.settings import LABELS_LOSS, settings

UNREAD = [1, 4]  # [UNK] and [MASK] stand in no sentence of the toy task


class Forbidden:
    """Stands for a split that nothing may look into."""

    role = "evaluation"

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"the evaluation split was asked for {name}")

    def __len__(self) -> int:
        pytest.fail("the evaluation split was counted")


def close(model: PreTrainedModel, expected: PreTrainedModel, within: float) -> None:
    """Check that weights agree; the key's bias, on which nothing depends, follows the noise of its gradient."""
    wanted = state_of(expected)
    for name, tensor in state_of(model).items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(
                tensor, wanted[name], rtol=0, atol=within, msg=lambda said, name=name: f"{name}: {said}"
            )


def plain_training(model: PreTrainedModel, task: Task, how: Any, seed: int, steps: int) -> PreTrainedModel:
    """The same training spelled out with the whole model, torch's AdamW and one forward pass per step."""
    model = copy.deepcopy(model).train()
    unread = model.get_input_embeddings().weight[UNREAD].detach().clone()
    decayed = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim != 2]
    groups = [{"params": decayed, "weight_decay": how.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=how.learning_rate)
    encoded = task.encode(task.train, model.tokenizer)
    batches = epoch_batches(encoded.lengths, how.batch_size, seed, 0)
    groups_of_batches = [batches[start : start + how.accumulate] for start in range(0, len(batches), how.accumulate)]
    for step in range(steps):
        indices = np.concatenate(groups_of_batches[step])
        inputs = {name: torch.from_numpy(values) for name, values in encoded.batch(indices).items()}
        loss = functional.cross_entropy(model(**inputs).logits, torch.from_numpy(encoded.labels[indices]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), how.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = how.learning_rate * rate_factor(how.schedule, step, steps, how.warmup)
        optimizer.step()
    with torch.no_grad():
        model.get_input_embeddings().weight[UNREAD] = unread
    return model.eval()


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "batch_size": 6}, {"clip_norm": 0.05}, {"weight_decay": 0.5}])
def test_training_equals_the_plain_loop_spelled_out(toy: Task, exact: None, changes: dict[str, Any]) -> None:
    """With a last batch (or group of batches) smaller than the others, whose loss is the mean over its own examples."""
    task, model = replace(toy, train=toy.train.take(37)), tiny_bert(**without_dropout())
    how = settings(epochs=1.0, **changes)
    steps = math.ceil(37 / how.batch_size / how.accumulate)
    trained = train(model, task=task, settings=how, goal=LABELS_LOSS, run=StepContext(seed=6))
    close(trained, plain_training(model, task, how, 6, steps), within=2e-5)


def test_two_batches_of_four_equal_one_of_eight(exact: None) -> None:
    """All sentences of one length, so that both runs see the same eight in each step."""
    toy, model = toy_task(train=8), tiny_bert(**without_dropout())
    once = train(model, task=toy, settings=settings(batch_size=8), goal=LABELS_LOSS, run=StepContext())
    twice = train(model, task=toy, settings=settings(batch_size=4, accumulate=2), goal=LABELS_LOSS, run=StepContext())
    close(twice, once, within=2e-5)
    assert differences(state_of(once), state_of(model))


def test_a_dropout_of_zero_trains_as_a_model_without_any(toy: Task, exact: None) -> None:
    drops, plain = tiny_bert(), tiny_bert(**without_dropout())
    learned = [
        train(model, task=toy, settings=settings(dropout=dropout), goal=LABELS_LOSS, run=StepContext(seed=6))
        for model, dropout in ((drops, 0.0), (plain, None), (drops, None))
    ]
    assert not differences(state_of(learned[0]), state_of(learned[1]))
    assert differences(state_of(learned[0]), state_of(learned[2]))
    assert learned[0].dropout.p == drops.dropout.p > 0  # in the next step it drops as its configuration says


def test_biases_and_layer_norm_are_not_decayed_and_everything_else_is(model: PreTrainedModel, toy: Task) -> None:
    """With a loss of no gradient, AdamW only decays: each step takes rate times decay off, and nothing off the others.

    Of the word table, the rows of pieces that the text never uses are others too.
    """
    goal = TrainingLoss({"nothing": (1.0, lambda student, teacher, batch: student.logits.sum() * 0.0)})
    how = settings(epochs=1.0, batch_size=20, weight_decay=0.5, learning_rate=0.1, schedule="constant", warmup=0.0)
    trained, before = state_of(train(model, task=toy, settings=how, goal=goal, run=StepContext())), state_of(model)
    for name, tensor in before.items():
        kept = name.endswith("bias") or "LayerNorm" in name
        expected = tensor if kept else tensor * 0.95**2
        if "word_embeddings" in name:
            expected[UNREAD] = tensor[UNREAD]
        torch.testing.assert_close(trained[name], expected, rtol=1e-5, atol=1e-7, msg=name)
    assert {name for name in before if "LayerNorm" in name}


def test_parameters_with_a_rate_of_their_own_learn_at_it_and_are_not_decayed(model: PreTrainedModel, toy: Task) -> None:
    """Of a constant gradient, AdamW makes a step of the rate's size, down or up; the others move at the settings' rate."""
    learned = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("fast", "slow")})
    start = {name: linear.weight.item() for name, linear in learned.items()}  # type: ignore[operator]
    goal = TrainingLoss(
        {"sum": (1.0, lambda *_: learned["fast"].weight.sum() - learned["slow"].weight.sum())},
        learned=learned,
        rates={"fast.weight": 0.2},
    )
    how = settings(epochs=1.0, batch_size=20, learning_rate=0.1, schedule="constant", warmup=0.0, weight_decay=0.5)
    train(model, task=toy, settings=how, goal=goal, run=StepContext(device="cpu"))
    decayed = 0.95 * (0.95 * start["slow"] + 0.1) + 0.1
    assert learned["fast"].weight.item() == pytest.approx(start["fast"] - 0.4, abs=1e-5)
    assert learned["slow"].weight.item() == pytest.approx(decayed, abs=1e-5)


def test_rates_of_their_own_follow_the_schedule(model: PreTrainedModel, toy: Task) -> None:
    """Two steps at linear decay: the whole rate, then half of it."""
    learned = nn.ModuleDict({"fast": nn.Linear(1, 1, bias=False)})
    start = learned["fast"].weight.item()
    goal = TrainingLoss({"sum": (1.0, lambda *_: learned["fast"].weight.sum())}, learned=learned, rates={"fast.weight": 0.2})
    how = settings(epochs=1.0, batch_size=20, learning_rate=1e-3, warmup=0.0)
    train(model, task=toy, settings=how, goal=goal, run=StepContext(device="cpu"))
    assert learned["fast"].weight.item() == pytest.approx(start - 0.3, abs=1e-5)


def first_answers(seed: int, epochs: float = 1.0) -> list[torch.Tensor]:
    """What a model with dropout says in each step to one sentence repeated, so that no order of examples tells."""
    task = toy_task(train=1)
    task = replace(task, train=task.train.pick(np.zeros(8, dtype=np.int64)))
    seen: list[torch.Tensor] = []

    def watched(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
        seen.append(student.logits.detach().clone())
        return student.logits.sum() * 0.0

    how, goal = settings(epochs=epochs, weight_decay=0.0), TrainingLoss({"watched": (1.0, watched)})
    train(tiny_bert(hidden_dropout_prob=0.5), task=task, settings=how, goal=goal, run=StepContext(seed=seed))
    return seen


def test_dropout_is_drawn_from_the_seed(exact: None) -> None:
    first, again, other = (first_answers(seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def test_each_step_draws_its_own_dropout(exact: None) -> None:
    first, second = first_answers(1, epochs=2.0)
    assert not torch.allclose(first, second, atol=1e-3)


def test_the_evaluation_split_is_never_looked_into(model: PreTrainedModel, toy: Task) -> None:
    object.__setattr__(toy, "evaluation", Forbidden())
    object.__setattr__(toy, "calibration", Forbidden())
    trained = train(model, task=toy, settings=settings(epochs=1.0), goal=LABELS_LOSS, run=StepContext())
    assert differences(state_of(trained), state_of(model))


def test_evaluation_data_in_another_place_is_refused(model: PreTrainedModel, toy: Task) -> None:
    for place in ("train", "selection"):
        with pytest.raises(CompressError, match="the evaluation split was given where only"):
            train(
                model, task=replace(toy, **{place: toy.evaluation}), settings=settings(), goal=LABELS_LOSS, run=StepContext()
            )


# -- what ends a run, and what it keeps


def read_part(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights that training works on: all but the rows of the word table that the text never uses."""
    state, table = state_of(model), "bert.embeddings.word_embeddings.weight"
    read = [row for row in range(len(state[table])) if row not in UNREAD]
    return state | {table: state[table][read]}


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], list[dict[str, torch.Tensor]]]:
    """Give epochs these selection scores, and note the weights that each of them ended with."""

    def arrange(scores: list[float]) -> list[dict[str, torch.Tensor]]:
        ended: list[dict[str, torch.Tensor]] = []
        coming = iter(scores)
        original = __import__("compress.training.loop", fromlist=["predict"]).predict

        def predict(model: PreTrainedModel, *arguments: Any, **options: Any) -> np.ndarray:
            ended.append(state_of(model))
            return original(model, *arguments, **options)  # type: ignore[no-any-return]

        monkeypatch.setattr("compress.training.loop.predict", predict)
        monkeypatch.setattr(Task, "score", lambda self, logits, labels: {"accuracy": next(coming)})
        return ended

    return arrange


def test_the_epoch_with_the_best_selection_score_is_kept(model: PreTrainedModel, toy: Task, watch: Any) -> None:
    ended, run = watch([0.5, 0.8, 0.6]), StepContext()
    trained = train(model, task=toy, settings=settings(epochs=3.0), goal=LABELS_LOSS, run=run)
    assert not differences(read_part(trained), ended[1])
    assert differences(ended[1], ended[2])
    assert run.facts["best_epoch"] == 2
    assert run.facts["metrics"] == {"selection_accuracy": 0.8}
    assert [epoch["selection_accuracy"] for epoch in run.facts["epochs"]] == [0.5, 0.8, 0.6]


def test_of_equal_epochs_the_first_is_kept(model: PreTrainedModel, toy: Task, watch: Any) -> None:
    ended = watch([0.5, 0.5])
    trained = train(model, task=toy, settings=settings(epochs=2.0), goal=LABELS_LOSS, run=StepContext())
    assert not differences(read_part(trained), ended[0])


@pytest.mark.parametrize(
    ("patience", "scores", "epochs"),
    [
        (1, [0.5, 0.5, 0.9], 2),
        (1, [0.5, 0.6, 0.6, 0.9], 3),
        (2, [0.5, 0.4, 0.4, 0.9], 3),
        (2, [0.5, 0.4, 0.6, 0.5, 0.7], 5),
        (None, [0.5, 0.4, 0.3, 0.2, 0.1], 5),
    ],
)
def test_training_stops_after_so_many_epochs_without_a_better_score(
    model: PreTrainedModel, toy: Task, watch: Any, patience: int | None, scores: list[float], epochs: int
) -> None:
    ended = watch(scores)
    how = settings(epochs=5.0, batch_size=20, patience=patience)
    train(model, task=toy, settings=how, goal=LABELS_LOSS, run=StepContext())
    assert len(ended) == epochs


@pytest.mark.parametrize(
    ("changes", "max_steps", "steps", "examples"),
    [
        ({"epochs": 2.0}, None, 10, 80),
        ({"epochs": 0.5}, None, 3, 24),
        ({"epochs": 1.5}, None, 8, 64),
        ({"epochs": 3.0}, 4, 4, 32),
        ({"epochs": 1.0, "accumulate": 2}, None, 3, 40),
        ({"epochs": 1.0, "batch_size": 64}, None, 1, 40),
        ({"epochs": 1.0, "batch_size": 12}, None, 4, 40),
        ({"epochs": 0.001}, None, 1, 8),
    ],
)
def test_steps_and_examples_are_counted_by_hand(
    model: PreTrainedModel, toy: Task, changes: dict[str, Any], max_steps: int | None, steps: int, examples: int
) -> None:
    run, calls = StepContext(max_steps=max_steps), list[tuple[int, int]]()
    run.progress = lambda what, done, total, **facts: calls.append((done, total)) if what == "train" else None
    train(model, task=toy, settings=settings(**changes), goal=LABELS_LOSS, run=run)
    assert (run.facts["optimizer_steps"], run.facts["examples"]) == (steps, examples)
    assert calls == [(step, steps) for step in range(1, steps + 1)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_step_batch_and_rate(model: PreTrainedModel, toy: Task, value: float) -> None:
    """Five batches an epoch in groups of two make steps of 2, 2 and 1; the ninth batch is the fourth of epoch 2, in step 5."""
    seen: list[int] = []

    def spoilt(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
        seen.append(1)
        return student.logits.mean() * (value if len(seen) == 9 else 1.0)

    how = settings(accumulate=2, schedule="constant", warmup=0.0, learning_rate=0.0025)
    with pytest.raises(CompressError) as caught:
        train(model, task=toy, settings=how, goal=TrainingLoss({"spoilt": (1.0, spoilt)}), run=StepContext())
    said = str(caught.value)
    assert re.search(r"the loss is -?(nan|inf) in step 5 of 6, epoch 2, batch 4, at learning rate 0\.0025", said)
    assert "lower learning_rate" in said
    assert caught.value.exit_code == 1


def test_a_failed_run_leaves_torch_and_the_model_as_they_were(model: PreTrainedModel, toy: Task) -> None:
    before, dropout = state_of(model), functional.dropout

    def spoilt(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
        return student.logits.mean() * float("nan")

    with pytest.raises(CompressError):
        train(model, task=toy, settings=settings(), goal=TrainingLoss({"spoilt": (1.0, spoilt)}), run=StepContext())
    assert functional.dropout is dropout
    assert not differences(state_of(model), before)


def test_hidden_states_reach_the_terms_whole_and_with_the_mask(model: PreTrainedModel, toy: Task) -> None:
    shapes: set[tuple[bool, int]] = set()
    wanted: frozenset[State] = frozenset({("hidden", 0), ("hidden", 2)})

    def watched(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
        assert teacher is not None
        assert student.states.keys() == teacher.states.keys() == wanted
        for state in (*student.states.values(), *teacher.states.values()):
            shapes.add((state.shape[:2] == batch.attention_mask.shape, state.shape[2]))
        return student.logits.mean()

    encoded = toy.encode(toy.train, model.tokenizer)
    goal = TrainingLoss({"watched": (1.0, watched)}, states=wanted, teacher=LiveAnswers(model, wanted, encoded))
    train(model, task=toy, settings=settings(epochs=1.0), goal=goal, run=StepContext())
    assert shapes == {(True, 16)}


def test_the_teacher_s_logits_arrive_with_their_examples(model: PreTrainedModel, toy: Task) -> None:
    """Each example's row holds its own label, so that a shuffled row would not fit."""
    rows = np.stack([toy.train.labels, -toy.train.labels], axis=1).astype(np.float32)

    def watched(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
        assert teacher is not None
        assert torch.equal(teacher.logits[:, 0].long(), batch.labels)
        assert 0 < batch.labels.sum() < 40
        return student.logits.mean()

    how = settings(epochs=1.0, batch_size=16)
    goal = TrainingLoss({"watched": (1.0, watched)}, teacher=KnownAnswers(rows, {}))
    train(model, task=toy, settings=how, goal=goal, run=StepContext())


def test_where_the_logits_are_not_taught_the_last_epoch_is_kept_and_no_metric_is_told(
    model: PreTrainedModel, toy: Task
) -> None:
    goal, run = TrainingLoss({"labels": LABELS_LOSS.terms["labels"]}, teaches_logits=False), StepContext()
    train(model, task=toy, settings=settings(epochs=3.0), goal=goal, run=run)
    assert run.facts["best_epoch"] == 3
    assert run.facts["metrics"] == {}
    assert [set(epoch) for epoch in run.facts["epochs"]] == [{"loss"}] * 3


def test_stages_follow_one_another_over_all_steps(model: PreTrainedModel, toy: Task) -> None:
    """Forty sentences in eights make ten steps in two epochs: five for each of two stages."""
    stages = []

    def watched(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
        stages.append(batch.stage)
        return student.logits.mean()

    train(model, task=toy, settings=settings(), goal=TrainingLoss({"watched": (1.0, watched)}, stages=2), run=StepContext())
    assert stages == [1] * 5 + [2] * 5


def test_what_is_learned_beside_the_student_is_trained_and_kept_in_the_checkpoint(toy: Task, tmp_path: Path) -> None:
    model = tiny_bert(**without_dropout())
    results = []
    for stop in (None, 4):
        learned = nn.ModuleDict({"watched": nn.Linear(2, 2, bias=False)})
        nn.init.eye_(learned["watched"].weight)

        def watched(student: Outputs, teacher: Outputs | None, batch: Batch, learned: nn.ModuleDict = learned) -> torch.Tensor:
            return functional.cross_entropy(learned["watched"](student.logits.float()), batch.labels)

        goal = TrainingLoss({"watched": (1.0, watched)}, learned=learned)
        run = StepContext(folder=tmp_path / str(stop), checkpoint_seconds=0)
        if stop:  # as if killed after four steps
            with pytest.raises(KeyboardInterrupt):
                train(model, task=toy, settings=settings(), goal=goal, run=run, before_step=_interrupt_at(stop))
            nn.init.zeros_(learned["watched"].weight)
        train(model, task=toy, settings=settings(), goal=goal, run=run)
        results.append(learned["watched"].weight.detach().clone())
    assert not torch.equal(results[0], torch.eye(2))
    assert torch.equal(*results)


def _interrupt_at(stop: int) -> Callable[[PreTrainedModel, int, int], None]:
    def before_step(_: PreTrainedModel, step: int, total: int) -> None:
        if step == stop:
            raise KeyboardInterrupt

    return before_step
