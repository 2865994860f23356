"""LoRA: what learns, and that a plain model comes out."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.adapters import lora_of
from compress.models.checkpoint.adapters import DESCRIPTION
from compress.models.first_token import first_token_only
from compress.models.lora import insert_lora, merge_lora, without_lora
from compress.runtimes.onnxruntime import open_classifier
from compress.tasks.labelled import Task
from tests.models.test_adapters import adapted
from tests.tiers import mostly_matrix
from tests.tiny_models import STRUCTURES, logits_of, state_of, tiny_bert, tiny_of

HOW: dict[str, Any] = {"train": {"lora": {"rank": 2}}, "epochs": 3, "batch_size": 8, "learning_rate": 1e-2}
KEPT: dict[str, Any] = {**HOW, "train": {"lora": {"rank": 2, "keep": True}}}
__all__ = ["adapted"]


@pytest.fixture
def kept(toy: Task) -> PreTrainedModel:
    return cp.fine_tune(tiny_bert(), task=toy, **KEPT)


def changed(model: PreTrainedModel, tuned: PreTrainedModel) -> list[str]:
    """Names of the weights that are others; all have the names that they had."""
    before, after = state_of(model), state_of(tuned)
    assert before.keys() == after.keys()
    return [name for name in before if not torch.equal(before[name], after[name])]


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert", "albert"]))
def test_queries_values_and_the_head_are_others_by_a_low_rank(kind: str, toy: Task) -> None:
    model = tiny_of(kind)
    tuned = cp.fine_tune(model, task=toy, **HOW)
    assert type(tuned) is type(model)
    assert all(type(module).__module__.partition(".")[0] != "peft" for module in tuned.modules())
    base = f"{model.base_model_prefix}."
    inner = [name for name in changed(model, tuned) if name.startswith(base) and "pooler" not in name]
    assert len(inner) in (2, 4)  # ALBERT's layers are one
    for name in inner:
        difference = tuned.get_parameter(name) - model.get_parameter(name)
        assert torch.linalg.matrix_rank(difference, atol=1e-5) <= 2


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert", "deberta-v2"]))
@pytest.mark.parametrize("places", [["query", "key", "value"], ["context", "neurons"]], ids="-".join)
def test_new_matrices_leave_the_answers_and_merging_keeps_them(kind: str, places: Any) -> None:
    model = tiny_of(kind)
    answers = logits_of(model)
    names = insert_lora(model, rank=3, alpha=6.0, places=places, seed=5)
    assert torch.equal(logits_of(model), answers)
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).normal_(generator=torch.Generator().manual_seed(len(name)))
    with first_token_only(model):
        learned = logits_of(model)
    assert not torch.allclose(learned, answers, atol=1e-2)
    merged = merge_lora(model)
    torch.testing.assert_close(logits_of(merged), learned, rtol=0, atol=1e-4)
    assert all(type(module) is nn.Linear for module in merged.modules() if isinstance(module, nn.Linear))


def test_the_same_seed_gives_the_same_weights(toy: Task) -> None:
    model = tiny_bert()
    first, again = (cp.fine_tune(model, task=toy, **HOW) for _ in range(2))
    assert not changed(first, again)


def test_what_is_no_plain_linear_takes_none(adapted: PreTrainedModel, toy: Task) -> None:
    places = {"train": {"lora": {"places": ["context"]}}}
    with pytest.raises(InputError, match="is no plain Linear, but a AdaptedLinear; train: lora has to come before"):
        cp.fine_tune(adapted, task=toy, **{**HOW, **places})
    quantized = cp.quantize_aware(tiny_bert(), task=toy, epochs=1, batch_size=8)
    with pytest.raises(InputError, match="the model quantizes; train adapters before quantize_aware"):
        cp.fine_tune(quantized, task=toy, **HOW)
    with pytest.raises(InputError, match="has no layers to put low-rank matrices in"):
        cp.fine_tune(cp.build_student(tiny_bert(), kind="static", task=toy), task=toy, **HOW)


def test_a_missing_package_is_named_with_its_extra(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"train: lora needs the package peft; run: pip install 'bert-compress\[peft\]'"):
        cp.fine_tune(tiny_bert(), task=toy, **HOW)


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert", "albert"]))
def test_kept_matrices_are_those_that_would_be_added(kind: str, toy: Task, tmp_path: Path) -> None:
    model = tiny_of(kind)
    added, kept = (cp.fine_tune(model, task=toy, **how) for how in (HOW, KEPT))
    assert set(lora_of(kept).values()) == {2}
    assert not lora_of(added)
    assert all(type(module).__module__.partition(".")[0] != "peft" for module in kept.modules())
    torch.testing.assert_close(logits_of(kept), logits_of(added), rtol=0, atol=1e-4)
    merged = without_lora(kept)
    assert not lora_of(merged)
    assert lora_of(kept)
    for name, tensor in state_of(added).items():
        torch.testing.assert_close(state_of(merged)[name], tensor, rtol=0, atol=1e-6)
    again = cp.load(cp.save(kept, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(kept))
    alone = cp.load_adapters(model, cp.save_adapters(kept, tmp_path / "alone"))
    assert torch.equal(logits_of(alone), logits_of(kept))
    assert lora_of(alone) == lora_of(kept)


def test_several_are_put_into_one_base_and_take_each_others_place(toy: Task, tmp_path: Path) -> None:
    base, other = tiny_bert(), replace(toy, labels=("no", "yes"))
    wide = {**KEPT, "train": {"lora": {"rank": 4, "keep": True, "places": ["key", "neurons"]}}}
    tuned = [cp.fine_tune(base, task=toy, **KEPT), cp.fine_tune(base, task=other, new_head=True, **wide)]
    folders = [cp.save_adapters(each, tmp_path / str(number)) for number, each in enumerate(tuned)]
    loaded = base
    for each, folder in zip(tuned, folders, strict=True):
        loaded = cp.load_adapters(loaded, folder)
        assert torch.equal(logits_of(loaded), logits_of(each))
        assert lora_of(loaded) == lora_of(each)
    with pytest.raises(InputError, match="adapters of other weights than the model's"):
        cp.load_adapters(tiny_bert(seed=9), folders[0])


@pytest.mark.parametrize("ranks", [{"classifier": "3"}, {"classifier": 0}, 3, {}])
def test_ranks_that_cannot_be_are_refused(ranks: Any, kept: PreTrainedModel, tmp_path: Path) -> None:
    folder = cp.save_adapters(kept, tmp_path / "alone")
    description = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**description, "ranks": ranks}))
    with pytest.raises(InputError, match="its adapters are damaged"):
        cp.load_adapters(tiny_bert(), folder)


def test_a_structure_that_cannot_be_is_refused(kept: PreTrainedModel, tmp_path: Path) -> None:
    folder = cp.save(kept, tmp_path / "saved")
    structure = json.loads((folder / "structure.json").read_text())
    (folder / "structure.json").write_text(json.dumps({**structure, "lora": {"nowhere": 2}}))
    with pytest.raises(InputError, match=r"structure.json: lora must give whole numbers above 0 to names"):
        cp.load(folder)


def test_an_export_adds_them(toy: Task, tmp_path: Path) -> None:
    kept = cp.fine_tune(tiny_bert(), task=toy, **{**KEPT, "train": {"lora": {"rank": 5, "keep": True}}})
    path = cp.export(kept, tmp_path / "out", target="onnxruntime-cpu", task=toy).path / "model.onnx"
    assert all(5 not in tensor.dims for tensor in onnx.load(path).graph.initializer)
    ids = np.arange(1, 9)[None]
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    expected = kept(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.detach().numpy()
    np.testing.assert_allclose(open_classifier(path).run(batch)["logits"], expected, atol=1e-5)
    assert lora_of(kept)


def test_kept_matrices_learn_from_a_teacher_and_stay(kept: PreTrainedModel, toy: Task) -> None:
    student = cp.drop_layers(kept, keep=[0])
    assert len(lora_of(student)) == 2
    how = {key: value for key, value in KEPT.items() if key != "train"}
    taught = cp.distill(student, teacher=kept, task=toy, objectives={"logits": 1.0}, **how)
    assert lora_of(taught) == lora_of(student)
    assert len(changed(student, taught)) > len(lora_of(student))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, task: cp.fine_tune(model, task=task, **KEPT), "the model keeps low-rank matrices already"),
        (lambda model, task: cp.fine_tune(model, task=task, train="adapters"), "the model keeps low-rank matrices already"),
        (lambda model, task: cp.quantize_aware(model, task=task, epochs=1), "which would be rounded apart; leave keep out"),
        (
            lambda model, task: cp.prune_ffn(model, task=task, fraction=0.5),
            r"keeps low-rank matrices \(lora\); prune it before fine_tune",
        ),
        (
            lambda model, task: cp.prune_heads(model, task=task, fraction=0.5),
            r"keeps low-rank matrices \(lora\); prune it before",
        ),
    ],
)
def test_what_has_to_come_before_is_refused_by_name(change: Any, message: str, kept: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(InputError, match=message):
        change(kept, toy)
