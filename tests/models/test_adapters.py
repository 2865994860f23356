"""Adapters: what learns with them, what stays, and that a task's are put into the model that they were learned in alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.adapters import Adapter, adapters_of, learned_with_adapters
from compress.models.checkpoint.adapters import DESCRIPTION, TENSORS
from compress.models.families import KNOWN
from compress.models.layout import encoder_layers
from compress.tasks.labelled import Task
from tests.tiers import mostly_matrix
from tests.tiny_models import STRUCTURES, differences, logits_of, state_of, tiny_bert, tiny_of

HOW: dict[str, Any] = {"train": {"adapters": {"size": 3}}, "epochs": 2, "batch_size": 8, "learning_rate": 1e-2}


@pytest.fixture
def adapted(toy: Task) -> PreTrainedModel:
    return cp.fine_tune(tiny_bert(), task=toy, **HOW)


def stays(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """What does not learn, by the names that it had before."""
    learned = set(learned_with_adapters(model))
    return {name.replace(".linear.", "."): tensor for name, tensor in state_of(model).items() if name not in learned}


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert"]))
def test_adapters_learn_and_what_they_stand_in_stays(kind: str, toy: Task, tmp_path: Path) -> None:
    model = tiny_of(kind)
    adapted = cp.fine_tune(model, task=toy, **HOW)
    parts = KNOWN[kind].context, KNOWN[kind].feed_forward[-1]
    assert all(path in "".join(adapters_of(adapted)) for path in parts)
    assert set(adapters_of(adapted).values()) == {3}
    before = state_of(model)
    assert not differences(stays(adapted), {name: before[name] for name in stays(adapted)})
    again = cp.load(cp.save(adapted, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(adapted))
    alone = cp.load_adapters(model, cp.save_adapters(adapted, tmp_path / "alone"))
    assert torch.equal(logits_of(alone), logits_of(adapted))
    whole, few = (sum(file.stat().st_size for file in (tmp_path / name).glob("*.safetensors")) for name in ("saved", "alone"))
    assert few < whole


def test_new_adapters_leave_the_answers_nearly_as_they_were(toy: Task) -> None:
    model = tiny_bert()
    adapted = cp.fine_tune(model, task=toy, **{**HOW, "learning_rate": 1e-12})
    torch.testing.assert_close(logits_of(adapted), logits_of(model), rtol=0, atol=1e-3)
    assert not torch.equal(logits_of(adapted), logits_of(model))
    assert all(module.up.bias.abs().max() < 1e-9 for module in adapted.modules() if isinstance(module, Adapter))


def test_one_adapter_a_layer_stands_behind_the_feed_forward_part(toy: Task) -> None:
    adapted = cp.fine_tune(tiny_bert(), task=toy, **{**HOW, "train": {"adapters": {"size": 5, "both": False}}})
    assert adapters_of(adapted) == {f"bert.encoder.layer.{layer}.output.dense": 5 for layer in range(2)}


def test_what_is_not_told_has_the_paper_s_size(toy: Task) -> None:
    assert set(adapters_of(cp.fine_tune(tiny_bert(), task=toy, **{**HOW, "train": "adapters"})).values()) == {64}


def test_adapters_that_are_there_learn_further(adapted: PreTrainedModel, toy: Task) -> None:
    further = cp.fine_tune(adapted, task=toy, **HOW)
    assert adapters_of(further) == adapters_of(adapted)
    assert not differences(stays(further), stays(adapted))
    with pytest.raises(InputError, match="adapters of size 3 already; train those, with this size"):
        cp.fine_tune(adapted, task=toy, **{**HOW, "train": "adapters"})


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "onnxruntime-cpu-int8"])
def test_a_file_answers_as_the_adapted_model(target: str, adapted: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    loose: dict[str, Any] = {"max_flips": 1.0, "max_relative_error": 1.0} if target.endswith("int8") else {}
    shipped = cp.export(adapted, tmp_path / "shipped", target=target, task=toy, **loose)
    names = [tensor.name for tensor in onnx.load(shipped.path / "model.onnx").graph.initializer]
    assert sum("adapter.down.weight_int8" in name for name in names) == (4 if target.endswith("int8") else 0)
    assert shipped.stages[-1].accepted


def test_what_is_trained_in_eight_bits_has_adapters_too(adapted: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    quantized = cp.quantize_aware(adapted, task=toy, epochs=1, batch_size=8)
    assert torch.equal(logits_of(cp.load(cp.save(quantized, tmp_path / "saved"))), logits_of(quantized))
    with pytest.raises(InputError, match="the model quantizes; train adapters before quantize_aware"):
        cp.fine_tune(quantized, task=toy, **HOW)


def test_layers_go_with_their_adapters(adapted: PreTrainedModel, toy: Task) -> None:
    dropped = cp.drop_layers(adapted, task=toy, keep=[1])
    assert len(adapters_of(dropped)) == 2
    assert not differences(encoder_layers(dropped)[0].state_dict(), encoder_layers(adapted)[1].state_dict())


@pytest.mark.parametrize(
    "cut",
    [
        lambda model, toy: cp.prune_heads(model, task=toy, fraction=0.5),
        lambda model, toy: cp.prune_ffn(model, task=toy, fraction=0.5),
        lambda model, toy: cp.low_rank(model, task=toy, rank=2),
        lambda model, toy: cp.share_layers(model, task=toy, group=2),
        lambda model, toy: cp.build_student(model, kind="bert", layers=1, task=toy),
    ],
)
def test_what_is_cut_has_to_be_cut_before(cut: Callable[..., Any], adapted: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(InputError, match=r"the model has adapters; .* before fine_tune"):
        cut(adapted, toy)


def test_several_tasks_adapters_share_one_model(toy: Task, tmp_path: Path) -> None:
    model = tiny_bert()
    other = replace(toy, labels=("no", "yes"))
    tuned = [cp.fine_tune(model, task=task, new_head=True, **HOW) for task in (toy, other)]
    folders = [cp.save_adapters(each, tmp_path / str(number)) for number, each in enumerate(tuned)]
    for each, folder in zip(tuned, folders, strict=True):
        loaded = cp.load_adapters(model, folder)
        assert torch.equal(logits_of(loaded), logits_of(each))
        assert loaded.config.id2label == each.config.id2label


def _described(folder: Path, **changes: Any) -> None:
    description = json.loads((folder / DESCRIPTION).read_text()) | changes
    (folder / DESCRIPTION).write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("model", "spoil", "message"),
    [
        (lambda: tiny_bert(seed=9), lambda _: None, "adapters of other weights than the model's"),
        (lambda: tiny_bert(layers=1), lambda _: None, "adapters of a model with other layers"),
        (lambda: tiny_of("electra"), lambda _: None, "adapters of bert for SequenceClassification, but the model is electra"),
        (tiny_bert, lambda folder: (folder / DESCRIPTION).unlink(), "holds no adapters: adapters.json is missing"),
        (tiny_bert, lambda folder: (folder / TENSORS).write_bytes(b"torn"), "its adapters are damaged"),
        (tiny_bert, lambda folder: _described(folder, schema=2), "of another version of this package"),
        (tiny_bert, lambda folder: _described(folder, sizes={"classifier": "3"}), "its adapters are damaged"),
        (tiny_bert, lambda folder: _described(folder, sizes={}), "adapters are damaged"),
        (tiny_bert, lambda folder: (folder / DESCRIPTION).write_text("[]"), "its adapters are damaged"),
    ],
)
def test_adapters_of_something_else_or_torn_ones_are_refused(
    model: Callable[[], Any], spoil: Callable[[Path], Any], message: str, adapted: PreTrainedModel, tmp_path: Path
) -> None:
    folder = cp.save_adapters(adapted, tmp_path / "alone")
    spoil(folder)
    with pytest.raises(InputError, match=message):
        cp.load_adapters(model(), folder)


def test_adapters_take_the_place_of_others(toy: Task, adapted: PreTrainedModel, tmp_path: Path) -> None:
    other = cp.fine_tune(tiny_bert(), task=toy, new_head=True, **{**HOW, "train": {"adapters": {"size": 5, "both": False}}})
    loaded = cp.load_adapters(adapted, cp.save_adapters(other, tmp_path / "alone"))
    assert torch.equal(logits_of(loaded), logits_of(other))
    assert adapters_of(loaded) == adapters_of(other)
    assert set(adapters_of(adapted).values()) == {3}


def test_a_head_alone_is_saved_and_put_back(toy: Task, tmp_path: Path) -> None:
    model = tiny_bert()
    tuned = cp.fine_tune(model, task=replace(toy, labels=("no", "yes")), new_head=True, **{**HOW, "train": "head"})
    loaded = cp.load_adapters(model, cp.save_adapters(tuned, tmp_path / "alone"))
    assert torch.equal(logits_of(loaded), logits_of(tuned))
    assert loaded.config.id2label == {0: "no", 1: "yes"}


def test_what_mixes_its_layers_is_not_told_by_its_head(toy: Task, tmp_path: Path) -> None:
    mixed = cp.fine_tune(tiny_bert(), task=toy, **{**HOW, "train": "layer_mix"})
    with pytest.raises(InputError, match="the model mixes its layers"):
        cp.save_adapters(mixed, tmp_path / "none")
    assert not (tmp_path / "none").exists()
