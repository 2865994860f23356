"""Heads that the loss does not need go first; what cannot go is refused with what can."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from compress.errors import InputError, NoEffect
from compress.methods import prune_heads as module
from compress.methods.prune_heads import prune_heads
from compress.methods.quantize_aware import quantize_aware
from compress.models.layout import distinct_layers, head_count
from compress.models.surgery import keep_heads
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import LABELS, differences, logits_of, state_of, tiny_bert, tiny_of, toy_task


def heads_of(model: Any) -> list[int]:
    return [head_count(layer) for layer in distinct_layers(model)]


@pytest.mark.parametrize(("fraction", "left"), [(0.1, 7), (0.25, 6), (0.5, 4), (0.9, 1)])
def test_so_many_heads_go(toy: Task, fraction: float, left: int) -> None:
    run = StepContext(device="cpu")
    pruned = prune_heads(tiny_bert(), task=toy, fraction=fraction, run=run)
    assert sum(heads_of(pruned)) == left
    assert run.facts["heads"] == heads_of(pruned)
    assert torch.isfinite(logits_of(pruned)).all()


@pytest.mark.parametrize("learn", [False, True])
def test_heads_that_answer_nothing_go_first(toy: Task, learn: bool) -> None:
    """Their columns of attention's output are zero, so that the loss is the same with and without them."""
    model: Any = tiny_bert()
    with torch.no_grad():
        model.bert.encoder.layer[0].attention.output.dense.weight[:, 4:8] = 0
        model.bert.encoder.layer[1].attention.output.dense.weight[:, 12:] = 0
    if learn:
        pruned = prune_heads(
            model,
            task=toy,
            fraction=0.25,
            learn=True,
            penalty=1e-4,
            gate_learning_rate=0.3,
            epochs=30,
            learning_rate=1e-3,
            batch_size=20,
        )
        assert sum(heads_of(pruned)) == 6
        assert differences(state_of(pruned.classifier), state_of(model.classifier))  # weights were trained as well
    else:
        pruned = prune_heads(model, task=toy, fraction=0.25)
        assert heads_of(pruned) == [3, 3]
        torch.testing.assert_close(logits_of(pruned), logits_of(model))


def test_every_round_judges_what_is_left(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    score = module.gate_gradients

    def watched(model: Any, *others: Any) -> Any:
        judged.append(sum(heads_of(model)))
        return score(model, *others)

    monkeypatch.setattr(module, "gate_gradients", watched)
    prune_heads(tiny_bert(layers=5), task=toy, fraction=0.25)  # 5 of 20, 2 at a time
    assert judged == [20, 18, 16]


def test_layers_keep_what_they_are_to_keep(toy: Task) -> None:
    assert min(heads_of(prune_heads(tiny_bert(layers=4), task=toy, fraction=0.5, at_least=2))) == 2


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert", "albert"])
def test_every_family_loses_heads(toy: Task, kind: str) -> None:
    model = tiny_of(kind)
    pruned = prune_heads(model, task=toy, fraction=0.5)
    assert sum(heads_of(pruned)) == sum(heads_of(model)) // 2


def test_the_draw_follows_the_seed(toy: Task) -> None:
    first, second = (
        prune_heads(tiny_bert(), task=toy, fraction=0.5, learn=True, batch_size=8, run=StepContext(seed=5)) for _ in range(2)
    )
    assert not differences(state_of(first), state_of(second))


def refused(model: Any, toy: Task, said: str, **arguments: Any) -> None:
    with pytest.raises(InputError, match=said) as caught:
        prune_heads(forbid_forward_passes(model), task=toy, **arguments)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fraction": 0.0}, r"prune_heads\.fraction"),
        ({"fraction": 1.0}, r"prune_heads\.fraction"),
        ({"fraction": 0.5, "examples": 0}, r"prune_heads\.examples"),
        ({"fraction": 0.5, "at_least": -1}, r"prune_heads\.at_least"),
        ({"fraction": 0.75, "at_least": 2}, r"6 of 8 heads, but where each layer keeps 2 \(at_least\), 4 can go, 0\.5"),
        ({"fraction": 0.5, "penalty": 0.0}, r"prune_heads\.penalty"),
    ],
)
def test_what_makes_no_sense_is_refused(toy: Task, arguments: dict[str, Any], said: str) -> None:
    refused(tiny_bert(), toy, said, **arguments)


def test_models_that_cannot_be_pruned_are_refused(toy: Task) -> None:
    refused(keep_heads(tiny_bert(), [[], []]), toy, "has no attention heads; remove the step", fraction=0.5)
    refused(quantize_aware(tiny_bert(), task=toy, epochs=1, batch_size=8), toy, "prune it before quantize_aware", fraction=0.5)
    refused(tiny_bert(labels=(*LABELS, "so")), toy, "the model has 3 labels, but the task has 2", fraction=0.5)
    refused(tiny_bert(), toy_task(train=0), "train part is empty", fraction=0.5)


def test_less_than_half_a_head_has_no_effect(toy: Task) -> None:
    with pytest.raises(NoEffect, match="less than half of one of 8 heads"):
        prune_heads(tiny_bert(), task=toy, fraction=0.05)
