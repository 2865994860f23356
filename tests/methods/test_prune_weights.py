"""Weights, blocks, heads and rows go while the model learns, and stay zero."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError, NoEffect
from compress.methods.build_student import build_student
from compress.methods.prune_weights import prune_weights
from compress.models.layout import distinct_layers, encoder_layers, head_count, neuron_count
from compress.models.quantizers import with_quantizers
from compress.tasks.labelled import Task
from compress.training.batches import epoch_batches
from compress.training.step_context import StepContext
from tests.methods.ranges import OUT_OF_RANGE, forbid_forward_passes
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, toy_task, without_dropout

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3}


def linears_of(model: PreTrainedModel) -> list[nn.Linear]:
    return [module for layer in distinct_layers(model) for module in layer.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("importance", ["magnitude", "movement"])
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_each_matrix_of_the_encoder_loses_the_fraction_and_nothing_else_does(
    toy: Task, tmp_path: Path, kind: str, importance: str
) -> None:
    model, run = tiny_of(kind), StepContext()
    before = state_of(model)
    pruned = prune_weights(model, task=toy, fraction=0.5, importance=importance, run=run, **QUICK)
    assert not differences(before, state_of(model))
    for linear in linears_of(pruned):
        assert type(linear) is nn.Linear
        assert (linear.weight == 0).sum() == linear.weight.numel() // 2
        assert linear.bias.all()
    assert run.facts["zeros"] == 0.5
    others = [name for name in state_of(pruned) if "layer." not in name]
    assert all((state_of(pruned)[name] == 0).sum() <= (before[name] == 0).sum() for name in others)
    assert state_of(pruned).keys() == before.keys()
    assert all(parameter.requires_grad for parameter in pruned.parameters())
    again = cp.load(cp.save(pruned, tmp_path / "saved"))
    batch = {"input_ids": torch.arange(5, 15).view(2, 5)}
    assert torch.equal(logits_of(pruned, **batch), logits_of(again, **batch))


def test_soft_movement_removes_the_fraction_of_all_weights_together(toy: Task) -> None:
    pruned = prune_weights(tiny_bert(), task=toy, fraction=0.75, importance="soft_movement", **QUICK)
    zeros = [float((linear.weight == 0).float().mean()) for linear in linears_of(pruned)]
    weights = [linear.weight.numel() for linear in linears_of(pruned)]
    assert sum(zero * count for zero, count in zip(zeros, weights, strict=True)) == pytest.approx(0.75 * sum(weights), abs=1)
    assert max(zeros) - min(zeros) > 0.01


@pytest.mark.parametrize("importance", ["magnitude", "movement", "soft_movement"])
def test_blocks_go_whole(toy: Task, importance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.methods.prune_weights.without_unused", lambda model: (model, 0, 0))
    pruned = prune_weights(tiny_bert(), task=toy, fraction=0.5, importance=importance, shape="block", block=[4, 8], **QUICK)
    sizes = 0
    for linear in linears_of(pruned):
        rows, columns = linear.weight.shape[0] // 4, linear.weight.shape[1] // 8
        zeros = (linear.weight == 0).view(rows, 4, columns, 8).sum((1, 3))
        assert set(zeros.flatten().tolist()) <= {0, 32}
        sizes += int((zeros == 32).sum())
    assert sizes == 2 * (4 * 8 + 12 + 12) // 2


@pytest.mark.parametrize("importance", ["magnitude", "movement", "soft_movement"])
def test_heads_and_rows_are_removed_for_real(toy: Task, tmp_path: Path, importance: str) -> None:
    run = StepContext()
    pruned = prune_weights(tiny_bert(), task=toy, fraction=0.5, importance=importance, shape="head_row", run=run, **QUICK)
    layers = distinct_layers(pruned)
    assert sum(head_count(layer) for layer in layers) == 4
    assert sum(neuron_count(layer) for layer in layers) == 24
    if importance != "soft_movement":
        assert [neuron_count(layer) for layer in layers] == [12, 12]
    assert (run.facts["removable_heads"], run.facts["removable_neurons"]) == (4, 24)
    assert run.facts["zeros"] == 0
    again = cp.load(cp.save(pruned, tmp_path / "saved"))
    assert torch.equal(logits_of(pruned), logits_of(again))


def test_a_row_that_blocks_have_emptied_is_removed_as_well(toy: Task) -> None:
    """Blocks of all 16 columns are rows of the first Linear of the feed-forward part."""
    run = StepContext()
    pruned = prune_weights(tiny_bert(), task=toy, fraction=0.5, shape="block", block=[1, 8], run=run, **QUICK)
    gone = 48 - sum(neuron_count(layer) for layer in distinct_layers(pruned))
    assert gone == run.facts["removable_neurons"] > 0
    assert all(layer.intermediate.dense.weight.any(1).all() for layer in encoder_layers(pruned))


def spelled_out(model: PreTrainedModel, task: Task, importance: str, seed: int) -> PreTrainedModel:
    """Five steps of the same training with plain tensors: masks and scores apart, and the masked weight put in by hand.

    The removed fraction in each step is 0.5 (1 - (1 - t / 4 / 0.75)^3), from the start to three quarters of the way.
    """
    model = build_copy(model).train()
    linears = linears_of(model)
    dense = {linear: linear.weight.detach().clone().requires_grad_() for linear in linears}
    scores = {linear: torch.zeros_like(linear.weight) for linear in linears}
    encoded = task.encode(task.train, model.tokenizer)
    batches = epoch_batches(encoded.lengths, 8, seed, 0)
    others = [parameter for parameter in model.parameters() if all(parameter is not linear.weight for linear in linears)]
    matrices = [*dense.values(), *(tensor for tensor in others if tensor.ndim > 1)]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "lr": 1e-3, "weight_decay": 0.01},
            {"params": [tensor for tensor in others if tensor.ndim == 1], "lr": 1e-3, "weight_decay": 0.0},
            {"params": list(scores.values()), "lr": 1e-2, "weight_decay": 0.0},
        ]
    )
    for step, indices in enumerate(batches):
        fraction = 0.5 * (1 - (1 - min(1.0, step / 4 / 0.75)) ** 3)
        masks = {}
        for linear in linears:
            rank = dense[linear].detach().abs() if importance == "magnitude" else scores[linear]
            masks[linear] = torch.ones_like(rank)
            masks[linear].view(-1)[rank.flatten().argsort(stable=True)[: round(fraction * rank.numel())]] = 0
            linear.weight.data = dense[linear].detach() * masks[linear]
        inputs = {name: torch.from_numpy(values) for name, values in encoded.batch(indices).items()}
        optimizer.zero_grad()
        model.zero_grad()
        functional.cross_entropy(model(**inputs).logits, torch.from_numpy(encoded.labels[indices])).backward()
        for linear in linears:
            gradient = linear.weight.grad
            assert gradient is not None
            dense[linear].grad = gradient * masks[linear]
            scores[linear].grad = gradient * dense[linear].detach() if importance == "movement" else None
        optimizer.step()
    for linear in linears:
        linear.weight.data = dense[linear].detach() * masks[linear]
    return model.eval()


def build_copy(model: PreTrainedModel) -> PreTrainedModel:
    copied = tiny_bert(**without_dropout())
    copied.load_state_dict(model.state_dict())
    return copied


@pytest.mark.parametrize("importance", ["magnitude", "movement"])
def test_pruning_equals_the_plain_loop_spelled_out(toy: Task, exact: None, importance: str) -> None:
    model = tiny_bert(**without_dropout())
    pruned = prune_weights(
        model,
        task=toy,
        fraction=0.5,
        importance=importance,
        pruned_from=0.0,
        pruned_by=0.75,
        epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        schedule="constant",
        warmup=0.0,
        clip_norm=1e9,
        run=StepContext(seed=6),
    )
    expected = state_of(spelled_out(model, toy, importance, 6))
    for name, tensor in state_of(pruned).items():
        if name.endswith("key.bias") or "word_embeddings" in name:
            continue  # on the former nothing depends, and of the latter rows that no text reads are not decayed
        zeros = ((tensor == 0) != (expected[name] == 0)).sum()
        assert zeros <= 2, name  # of two scores that are the same up to rounding, either may go
        off = (tensor - expected[name]).abs() > 1e-4
        assert off.sum() <= 2 + 0.02 * tensor.numel(), name


def test_a_teacher_is_learned_from(toy: Task) -> None:
    model, teacher = tiny_bert(), tiny_bert(seed=8)
    plain = prune_weights(model, task=toy, fraction=0.5, **QUICK)
    taught = prune_weights(model, task=toy, fraction=0.5, teacher=teacher, **QUICK)
    named = prune_weights(model, task=toy, fraction=0.5, teacher=teacher, objectives={"logits": 0.9, "labels": 0.1}, **QUICK)
    assert differences(state_of(plain), state_of(taught))
    assert not differences(state_of(taught), state_of(named))


def test_a_penalty_moves_the_choice(toy: Task) -> None:
    none, much = (
        prune_weights(tiny_bert(), task=toy, fraction=0.5, importance="soft_movement", penalty=penalty, **QUICK)
        for penalty in (0.0, 1e4)
    )
    assert [
        bool(((linear.weight == 0) != (other.weight == 0)).any())
        for linear, other in zip(linears_of(none), linears_of(much), strict=True)
    ].count(True) > 6


@pytest.mark.parametrize("importance", ["magnitude", "soft_movement"])
def test_stopped_and_resumed_equals_uninterrupted(toy: Task, tmp_path: Path, importance: str) -> None:
    class Stopped(Exception):
        pass

    def stop(what: str, done: int, total: int, **facts: float) -> None:
        if what == "train" and done == 7:
            raise Stopped

    options: dict[str, Any] = {"task": toy, "fraction": 0.6, "importance": importance, "shape": "head_row", **QUICK}
    expected = prune_weights(tiny_bert(), run=StepContext(), **options)
    with pytest.raises(Stopped):
        prune_weights(tiny_bert(), run=StepContext(folder=tmp_path, progress=stop, checkpoint_seconds=0.0), **options)
    steps: list[int] = []
    run = StepContext(folder=tmp_path, progress=lambda what, done, total, **_: steps.append(done) if what == "train" else None)
    resumed = prune_weights(tiny_bert(), run=run, **options)
    assert steps[0] == 7
    assert not differences(state_of(resumed), state_of(expected))


@pytest.mark.parametrize("max_steps", [1, 2, 3])
def test_so_few_steps_remove_all_of_it_as_well(toy: Task, max_steps: int) -> None:
    pruned = prune_weights(tiny_bert(), task=toy, fraction=0.5, run=StepContext(max_steps=max_steps), **QUICK)
    assert all((linear.weight == 0).sum() == linear.weight.numel() // 2 for linear in linears_of(pruned))


def test_an_epoch_that_ended_before_all_was_removed_is_not_picked(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.1, 0.0])
    monkeypatch.setattr(Task, "score", lambda self, logits, labels: {"accuracy": next(scores)})
    run = StepContext()
    pruned = prune_weights(tiny_bert(), task=toy, fraction=0.5, run=run, **{**QUICK, "epochs": 3}, pruned_by=0.5)
    assert run.facts["best_epoch"] == 2
    assert all((linear.weight == 0).sum() == linear.weight.numel() // 2 for linear in linears_of(pruned))


def test_the_averaged_weights_are_masked(toy: Task) -> None:
    pruned = prune_weights(tiny_bert(), task=toy, fraction=0.5, importance="movement", average=0.5, **QUICK)
    assert all((linear.weight == 0).sum() == linear.weight.numel() // 2 for linear in linears_of(pruned))
    assert not any(parametrize.is_parametrized(module) for module in pruned.modules())


def test_the_log_tells_what_zeros_are_good_for(toy: Task, caplog: pytest.LogCaptureFixture) -> None:
    run, model = StepContext(), tiny_bert()
    with caplog.at_level(logging.INFO, "compress.methods.prune_weights"):
        pruned = prune_weights(model, task=toy, fraction=0.75, run=run, **QUICK)
    sizes = [
        sum(len(zlib.compress(tensor.numpy().tobytes(), 1)) for tensor in network.state_dict().values())
        for network in (model, pruned)
    ]
    assert [run.facts["compressed_bytes_before"], run.facts["compressed_bytes"]] == sizes
    assert sizes[1] < 0.8 * sizes[0]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "no dense runtime faster" in warned[0]
    assert "0 heads and 1 neurons have no weights left; of the encoder's weights now 75.0 % are zeros" in caplog.text


def test_shared_layers_are_pruned_once(toy: Task) -> None:
    pruned = prune_weights(tiny_of("albert"), task=toy, fraction=0.5, **QUICK)
    assert all((linear.weight == 0).sum() == linear.weight.numel() // 2 for linear in linears_of(pruned))


def test_less_than_a_unit_is_no_effect(model: PreTrainedModel, toy: Task) -> None:
    for options in ({"fraction": 0.001}, {"fraction": 0.05, "shape": "block", "block": [8, 8]}):
        with pytest.raises(NoEffect, match=r"prune_weights\.fraction is 0\.(001|05), less than"):
            prune_weights(forbid_forward_passes(model), task=toy, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"block": [4, 1]}, r"prune_weights\.block is \[4, 1\], but shape is weight"),
        ({"shape": "block"}, r"prune_weights\.block is None, but shape is block"),
        ({"shape": "block", "block": [5, 1]}, r"prune_weights: block 5 x 1 does not divide .* which is 16 x 16"),
        ({"penalty": 1.0}, r"prune_weights\.penalty is 1\.0, but importance is magnitude"),
        ({"pruned_from": 0.7, "pruned_by": 0.7}, r"prune_weights\.pruned_from is 0\.7, but pruned_by is 0\.7"),
        ({"objectives": {"logits": 1.0}}, r"prune_weights\.objectives names 'logits', which looks at a teacher"),
    ],
)
def test_options_that_do_not_fit_are_refused(model: PreTrainedModel, toy: Task, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        prune_weights(forbid_forward_passes(model), task=toy, **{"fraction": 0.5, **options})


def test_models_that_do_not_fit_are_refused(toy: Task) -> None:
    with pytest.raises(InputError, match="quantizes; prune it before"):
        prune_weights(with_quantizers(tiny_bert(), per_channel=True, symmetric=True), task=toy, fraction=0.5)
    with pytest.raises(InputError, match="a static has no encoder"):
        prune_weights(build_student(tiny_bert(), kind="static", initial="random"), task=toy, fraction=0.5)
    with pytest.raises(InputError, match="the model has 2 labels, but the task has 3"):
        prune_weights(tiny_bert(), task=toy_task(labels=("a", "b", "c")), fraction=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *OUT_OF_RANGE,
        ("fraction", 0.0),
        ("fraction", 1.0),
        ("fraction", 90),
        ("importance", "size"),
        ("shape", "row"),
        ("block", [4]),
        ("block", [0, 4]),
        ("block", [1, 2, 3]),
        ("penalty", -1.0),
        ("score_learning_rate", 0.0),
        ("pruned_from", -0.1),
        ("pruned_from", 1.0),
        ("pruned_by", 0.0),
        ("pruned_by", 1.1),
        ("temperature", 0.0),
    ],
)
def test_values_out_of_range_are_refused_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=rf"prune_weights\.{name}"):
        prune_weights(forbid_forward_passes(model), task=toy, **{"fraction": 0.5, name: value})
