"""A narrower model is the model with its tensors sliced, computes on, and is saved, loaded and exported as any other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError, NoEffect
from compress.methods.prune_width import Importance, prune_width
from compress.models.quantizers import with_quantizers
from compress.models.structure import read_structure
from compress.models.surgery import keep_heads, keep_neurons
from compress.pruning.fisher import drawn_examples
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.pruning.test_residual import LAYERS, slices_of
from tests.tiers import mostly_matrix
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, tokens, toy_task

State = dict[str, torch.Tensor]
SLICED: dict[str, Any] = {"width": 8, "multiple_of": 4, "refit": False}


def channels_by_hand(state: State, scores: State, slices: dict[str, int], width: int) -> torch.Tensor:
    """The places of the channels whose scores over all these tensors add up to most."""
    sums = torch.zeros(len(next(iter(state[name] for name, dim in slices.items() if dim == 0))), dtype=torch.float64)
    for name, dim in slices.items():
        rows = scores[name].double() if dim == 0 else scores[name].double().T
        sums += rows if rows.ndim == 1 else rows.sum(1)
    return torch.tensor(sorted(sums.argsort(descending=True)[:width].tolist()))


def sliced_by_hand(state: State, kind: str, keep: torch.Tensor, keep_pooled: torch.Tensor) -> State:
    """The state with the channels to keep of every tensor that has them."""
    sliced = dict(state)
    for slices, kept in zip(slices_of(kind), (keep, keep_pooled), strict=True):
        for name, dim in slices.items():
            sliced[name] = sliced[name][kept] if dim == 0 else sliced[name][:, kept]
    return sliced


def squares(state: State) -> State:
    return {name: tensor.square() for name, tensor in state.items()}


def bert_by_hand(state: State, heads: int, epsilon: float, batch: State) -> torch.Tensor:
    """What a BERT with these weights answers, written out."""

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    tables = {name: state[f"bert.embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")}
    length = batch["input_ids"].shape[1]
    x = norm(
        "bert.embeddings.LayerNorm",
        tables["word"][batch["input_ids"]] + tables["position"][:length] + tables["token_type"][batch["token_type_ids"]],
    )
    hidden = (1 - batch["attention_mask"][:, None, None, :]) * -1e9
    for index in range(2):
        name = f"bert.encoder.layer.{index}"
        query, key, value = (
            linear(f"{name}.attention.self.{part}", x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + hidden
        context = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = norm(f"{name}.attention.output.LayerNorm", x + linear(f"{name}.attention.output.dense", context))
        inner = functional.gelu(linear(f"{name}.intermediate.dense", x))
        x = norm(f"{name}.output.LayerNorm", x + linear(f"{name}.output.dense", inner))
    return linear("classifier", torch.tanh(linear("bert.pooler.dense", x[:, 0])))


def test_the_copy_answers_as_a_bert_written_out_with_sliced_tensors(model: PreTrainedModel, toy: Task) -> None:
    state, epsilon = state_of(model), model.config.layer_norm_eps
    torch.testing.assert_close(bert_by_hand(state, 4, epsilon, tokens()), logits_of(model), atol=1e-5, rtol=0)
    keep, keep_pooled = (channels_by_hand(state, squares(state), slices, 8) for slices in slices_of("bert"))
    expected = bert_by_hand(sliced_by_hand(state, "bert", keep, keep_pooled), 4, epsilon, tokens())
    student = prune_width(model, task=toy, importance="magnitude", **SLICED)
    torch.testing.assert_close(logits_of(student), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("width", [1, 4, 15])
@pytest.mark.parametrize("kind", LAYERS)
def test_every_tensor_of_the_stream_is_sliced_and_no_other(kind: str, width: int, toy: Task) -> None:
    model = tiny_of(kind)
    state = state_of(model)
    keep, keep_pooled = (channels_by_hand(state, squares(state), slices, width) for slices in slices_of(kind))
    student = prune_width(model, task=toy, width=width, multiple_of=1, importance="magnitude", refit=False)
    assert not differences(state_of(student), sliced_by_hand(state, kind, keep, keep_pooled))
    assert student.config.hidden_size == width
    assert logits_of(student).shape == (4, 2)


@pytest.mark.parametrize("importance", ["taylor", "fisher"])
def test_importance_is_summed_over_the_drawn_examples_and_the_whole_group(importance: Importance, toy: Task) -> None:
    model = tiny_bert()
    state, scores = state_of(model), {name: torch.zeros_like(tensor) for name, tensor in state_of(model).items()}
    encoded = drawn_examples(model, toy, 6, seed=7)
    for index in range(6):
        batch = {name: torch.from_numpy(values) for name, values in encoded.batch([index]).items()}
        model.zero_grad()
        functional.cross_entropy(model(**batch).logits, torch.tensor([encoded.labels[index]])).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            scores[name] += parameter.grad if importance == "taylor" else parameter.grad.square()
    for name, tensor in state.items():
        scores[name] = (scores[name] * tensor).abs() if importance == "taylor" else scores[name] * tensor.square()
    keep, keep_pooled = (channels_by_hand(state, scores, slices, 8) for slices in slices_of("bert"))
    student = prune_width(tiny_bert(), task=toy, importance=importance, examples=6, run=StepContext(seed=7), **SLICED)
    assert not differences(state_of(student), sliced_by_hand(state, "bert", keep, keep_pooled))
    others = [channels_by_hand(state, squares(state), slices, 8) for slices in slices_of("bert")]
    assert not torch.equal(torch.cat([keep, keep_pooled]), torch.cat(others))


def test_the_model_stays_as_it_is_and_the_copy_can_learn(model: PreTrainedModel, toy: Task) -> None:
    model.requires_grad_(False)
    before, config = state_of(model), model.config.to_dict()
    student = prune_width(model, task=toy, width=8, multiple_of=4)
    assert not differences(before, state_of(model))
    assert model.config.to_dict() == config
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in student.parameters())
    assert not student.training


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_what_is_left_is_nearer_to_the_model_when_it_is_fitted(kind: str, toy: Task) -> None:
    model = tiny_of(kind)
    sliced, fitted = (
        logits_of(prune_width(model, task=toy, importance="magnitude", **{**SLICED, "width": 12, "refit": refit}))
        for refit in (False, True)
    )
    logits = logits_of(model)
    assert (fitted - logits).square().mean() < (sliced - logits).square().mean()


@pytest.mark.parametrize(("width", "expected"), [(0.75, 12), (0.87, 12), (0.625, 8), (0.01, 4), (0.49, 8), (12, 12), (4, 4)])
def test_a_fraction_is_rounded_to_the_nearest_multiple(width: float, expected: int, model: PreTrainedModel, toy: Task) -> None:
    """0.625 of 16 lies half way between 8 and 12."""
    student = prune_width(model, task=toy, importance="magnitude", width=width, multiple_of=4, refit=False)
    assert student.config.hidden_size == expected


@pytest.mark.parametrize(("width", "heads"), [(8, 4), (6, 3), (7, 1), (10, 2)])
def test_a_width_that_heads_do_not_divide_is_saved_and_loaded(
    width: int, heads: int, model: PreTrainedModel, toy: Task, tmp_path: Path
) -> None:
    student = prune_width(model, task=toy, width=width, multiple_of=1)
    again = cp.load(cp.save(student, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(student))
    assert (again.config.hidden_size, again.config.num_attention_heads) == (width, heads)
    assert read_structure(again)["layers"] == [{"heads": 4, "head_size": 4, "intermediate": 24}] * 2


def test_an_albert_is_sliced_only(toy: Task) -> None:
    refitted, sliced = (prune_width(tiny_of("albert"), task=toy, **{**SLICED, "refit": refit}) for refit in (True, False))
    assert not differences(state_of(refitted), state_of(sliced))


@pytest.mark.parametrize("kind", ["distilbert", "albert"])
def test_other_families_are_saved_and_loaded(kind: str, toy: Task, tmp_path: Path) -> None:
    student = prune_width(tiny_of(kind), task=toy, width=6, multiple_of=2)
    again = cp.load(cp.save(student, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(student))


def test_a_pruned_model_is_pruned_again(model: PreTrainedModel, toy: Task) -> None:
    how: dict[str, Any] = {"task": toy, "importance": "magnitude", "multiple_of": 4, "refit": False}
    twice = prune_width(prune_width(model, width=12, **how), width=8, **how)
    assert {tuple(layer.values()) for layer in read_structure(twice)["layers"]} == {(4, 4, 24)}
    assert twice.config.hidden_size == 8
    assert logits_of(twice).shape == (4, 2)
    assert logits_of(twice).isfinite().all()


@pytest.mark.parametrize(
    ("heads", "neurons"),
    [
        ([[0, 2], [1]], [[0, 1, 2], list(range(9))]),
        ([[], [3]], [[5], []]),
        ([[0], []], [[], [0]]),
        ([[], []], [[], []]),
    ],
)
def test_uneven_and_emptied_layers_are_pruned_too(
    heads: list[list[int]], neurons: list[list[int]], model: PreTrainedModel, toy: Task, tmp_path: Path
) -> None:
    uneven = keep_neurons(keep_heads(model, heads), neurons)
    student = prune_width(uneven, task=toy, width=8, multiple_of=4)
    assert read_structure(student) == read_structure(uneven)
    again = cp.load(cp.save(student, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(student))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "target", "most"),
    mostly_matrix(
        [
            ("bert", "onnxruntime-cpu-int8", 0.3),
            ("distilbert", "onnxruntime-cpu", 1e-4),
            ("albert", "onnxruntime-cpu-int8", 0.3),
        ],
        always=[("distilbert", "onnxruntime-cpu", 1e-4)],
    ),
)
def test_a_narrow_model_ships(kind: str, target: str, most: float, toy: Task, tmp_path: Path) -> None:
    student = prune_width(tiny_of(kind, initializer_range=0.15), task=toy, width=12, multiple_of=4)
    shipped = cp.export(student, tmp_path / "out", target=target, task=toy)
    session = onnxruntime.InferenceSession(str(shipped.path / "model.onnx"), providers=["CPUExecutionProvider"])
    batch = {name: values.numpy() for name, values in tokens().items()}
    (logits,) = session.run(["logits"], {node.name: batch[node.name] for node in session.get_inputs()})
    assert np.abs(logits - logits_of(student).numpy()).max() < most


@pytest.mark.slow
def test_a_model_as_large_as_bert_base_is_cut(toy: Task, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_bert(layers=12, hidden_size=768, num_attention_heads=12, intermediate_size=3072, vocab_size=1000)
    with caplog.at_level(logging.INFO, "compress"):
        student = prune_width(model, task=toy, width=0.5, importance="magnitude", refit=False)
    assert "hidden size 768 -> 384, 84934656 -> 42467328 multiply-adds" in caplog.text
    assert sum(tensor.numel() for tensor in student.bert.encoder.parameters()) < 43e6


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"width": 16}, NoEffect, "prune_width.width is 16, as wide as the model is"),
        ({"width": 0.99}, NoEffect, "width is 0.99, which of 16 channels leaves all, rounded to a multiple of 4"),
        ({"width": 17}, InputError, "width is 17, but the model is 16 wide; use less"),
        ({"width": 20}, InputError, "width is 20, but the model is 16 wide; use less"),
        ({"width": 10}, InputError, r"width is 10, no multiple of 4 \(multiple_of\); use 8 or 12 or a smaller multiple_of"),
        ({"width": 14}, InputError, r"use 12 or a smaller multiple_of"),
        ({"width": 3}, InputError, "use 4 or a smaller"),
        ({"width": 0}, InputError, "prune_width.width"),
        ({"width": 1.5}, InputError, "prune_width.width"),
        ({"width": -0.5}, InputError, "prune_width.width"),
        ({"width": "8"}, InputError, "prune_width.width"),
        ({"importance": "random"}, InputError, "prune_width.importance is 'random'"),
        ({"multiple_of": 0}, InputError, "prune_width.multiple_of is 0"),
        ({"examples": 0}, InputError, "prune_width.examples is 0"),
    ],
)
def test_wrong_values_are_refused_before_the_model_runs(
    changes: dict[str, Any], error: type[InputError], said: str, toy: Task
) -> None:
    with pytest.raises(error, match=said):
        prune_width(forbid_forward_passes(tiny_bert()), task=toy, **{"width": 8, "multiple_of": 4, **changes})


def test_models_that_cannot_be_narrowed_are_refused_by_name(toy: Task) -> None:
    with pytest.raises(InputError, match="a MobileBERT computes in its bottlenecks"):
        prune_width(forbid_forward_passes(tiny_of("mobilebert")), task=toy, width=8, multiple_of=4)
    with pytest.raises(InputError, match="the model quantizes; prune it before quantize_aware"):
        prune_width(with_quantizers(tiny_bert(), per_channel=True, symmetric=True), task=toy, width=8, multiple_of=4)
    with pytest.raises(InputError, match="has 3 labels, but the task has 2"):
        prune_width(forbid_forward_passes(tiny_bert(labels=("a", "b", "c"))), task=toy, width=8, multiple_of=4)
    with pytest.raises(InputError, match="train part is empty"):
        prune_width(forbid_forward_passes(tiny_bert()), task=toy_task(train=0), width=8, multiple_of=4)


def test_no_student_is_built_from_a_teacher_whose_heads_are_wider_than_told(model: PreTrainedModel, toy: Task) -> None:
    narrow = prune_width(model, task=toy, importance="magnitude", **SLICED)
    with pytest.raises(InputError, match=r"of other sizes than its config\.json tells"):
        cp.build_student(narrow, layers=1)
