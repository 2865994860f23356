"""Heads on the way: what each answers, who leaves where, and that they stay with the model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import compress as cp
from compress.errors import InputError
from compress.models.exits import NEVER, confidence, exit_layers
from compress.models.states import recorded
from compress.models.surgery import keep_layers
from compress.tasks.labelled import Task
from tests.leaving import every_answer, exits_in, leaving, left, some_tokens
from tests.tiers import mostly_matrix
from tests.tiny_models import STRUCTURES, logits_of, tiny_bert, tiny_of, tokens

CUT = [kind for kind in STRUCTURES if kind != "albert"]
"""Families whose lowest layers are a model of their own."""


@pytest.mark.parametrize("kind", mostly_matrix(CUT, ["bert", "modernbert"]))
def test_an_exit_answers_from_what_the_model_cut_off_there_computes(kind: str) -> None:
    model = leaving(kind)
    answers = every_answer(model, **some_tokens())
    for number in (0, 1):
        cut = keep_layers(tiny_of(kind, layers=3), range(number + 1))
        with torch.no_grad(), recorded(cut, [("hidden", number + 1)]) as states:
            cut(**some_tokens())
        exits_in(model).thresholds = [NEVER] * number + [0.0] * (2 - number)
        own = exits_in(model).heads[number](states["hidden", number + 1])
        torch.testing.assert_close(answers[:, number], own, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits_of(model, **some_tokens()), own, atol=1e-4, rtol=1e-4)
        assert left(model, **some_tokens()).tolist() == [number] * 12


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "albert"]))
def test_exits_that_let_none_leave_change_no_answer(kind: str) -> None:
    model = leaving(kind)
    exits_in(model).thresholds = [NEVER, NEVER]
    assert torch.equal(logits_of(model, **some_tokens()), logits_of(tiny_of(kind, layers=3), **some_tokens()))
    assert left(model, **some_tokens()).tolist() == [2] * 12


@pytest.mark.parametrize("measure", ["probability", "entropy"])
def test_each_text_leaves_at_the_first_exit_that_is_sure(measure: Any) -> None:
    model = leaving(measure=measure)
    answers, where = every_answer(model, **some_tokens()), left(model, **some_tokens())
    assert set(where.tolist()) == {0, 1, 2}
    for row, (logits, exit) in enumerate(zip(answers, where.tolist(), strict=True)):
        limits = exits_in(model).thresholds
        sure = [float(confidence(part, measure)) > limit for part, limit in zip(logits[:2], limits, strict=True)]
        assert exit == next((number for number, is_sure in enumerate(sure) if is_sure), 2)
        torch.testing.assert_close(logits_of(model, **some_tokens())[row], logits[exit])


def test_texts_of_a_batch_leave_where_each_leaves_alone() -> None:
    model, batch = leaving(), some_tokens()
    together, where = logits_of(model, **batch), left(model, **batch)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        alone = {name: values[row : row + 1, :length] for name, values in batch.items()}
        assert left(model, **alone).tolist() == [int(where[row])]
        torch.testing.assert_close(logits_of(model, **alone)[0], together[row], atol=1e-4, rtol=1e-4)


def test_confidence_is_what_the_papers_say() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0], [-60.0, 60.0]])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    torch.testing.assert_close(confidence(logits, "probability"), torch.tensor([0.75, 0.5, 1.0]))
    torch.testing.assert_close(confidence(logits, "entropy"), torch.tensor([1 - entropy, 0.0, 1.0]), atol=1e-6, rtol=0)
    three = torch.tensor([[0.0, 0.0, math.log(2.0)]])  # a quarter, a quarter, a half
    torch.testing.assert_close(confidence(three, "entropy"), torch.tensor([1 - 1.5 * math.log(2) / math.log(3)]))


@pytest.mark.parametrize("kind", mostly_matrix(STRUCTURES, ["bert", "modernbert"]))
def test_they_stay_with_the_model_wherever_that_goes(kind: str, tmp_path: Path) -> None:
    model = leaving(kind)
    answers = logits_of(model, **some_tokens())
    again = cp.load(cp.save(model, tmp_path / "saved"))
    assert torch.equal(logits_of(again, **some_tokens()), answers)
    assert left(again, **some_tokens()).tolist() == left(model, **some_tokens()).tolist()
    assert torch.equal(logits_of(copy.deepcopy(model), **some_tokens()), answers)
    assert exits_in(copy.deepcopy(model)) is not exits_in(model)


def test_the_labels_of_exits_are_put_in_order_as_the_heads_are(tmp_path: Path) -> None:
    model = leaving()
    turned = cp.load(cp.save(model, tmp_path / "saved"), labels=("good", "bad"))
    torch.testing.assert_close(logits_of(turned, **some_tokens()), logits_of(model, **some_tokens()).flip(1))


def test_a_pass_that_was_broken_off_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model = leaving()
    answers = logits_of(model)
    with monkeypatch.context() as patch:
        patch.setattr(model.bert.encoder.layer[1], "forward", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logits_of(model)
    assert torch.equal(logits_of(model), answers)


def test_words_that_no_text_has_can_go(toy: Task) -> None:
    model = leaving()
    texts = ["a good film", "plot was dull"]
    few = replace(toy, train=replace(toy.train, texts=tuple(texts) * 20))
    trimmed = cp.trim_vocabulary(model, task=few)
    assert len(trimmed.tokenizer) < len(model.tokenizer)
    whole, few_words = (reader.tokenizer(texts, padding=True, return_tensors="pt") for reader in (model, trimmed))
    assert torch.equal(logits_of(trimmed, **few_words), logits_of(model, **whole))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, toy: cp.drop_layers(model, task=toy, keep=[0]), "exits behind some of its layers; drop layers before"),
        (lambda model, toy: cp.theseus(model, task=toy, modules=1, epochs=1), "exits behind some of its layers"),
        (lambda model, toy: cp.prune_heads(model, task=toy, fraction=0.5), "has exits; prune it before early_exit"),
        (lambda model, toy: cp.prune_width(model, task=toy, width=8), "has exits; prune it before early_exit"),
        (lambda model, toy: cp.share_layers(model, task=toy, group=2), "has exits; share its layers before early_exit"),
        (lambda model, toy: cp.low_rank(model, task=toy, rank=2), "has exits; write its Linears so before early_exit"),
        (
            lambda model, toy: cp.factorize_embedding(model, task=toy, rank=2),
            "has exits; factorize its table before early_exit",
        ),
        (
            lambda model, toy: cp.swap_attention(model, task=toy, kind="longformer", window=4),
            "has exits; swap its attention before early_exit",
        ),
        (lambda model, toy: cp.fine_tune(model, task=toy, epochs=1), "train it before early_exit"),
        (lambda model, toy: cp.fine_tune(model, task=toy, new_head=True), "has exits, which are heads for the same labels"),
        (
            lambda model, toy: cp.distill(model, teacher=tiny_bert(), task=toy, objectives={"logits": 1.0}),
            "train it before early_exit",
        ),
        (lambda model, toy: cp.quantize_aware(model, task=toy, epochs=1), "train it before early_exit"),
        (lambda model, toy: cp.calibrate(model, task=toy), "has exits; calibrate it before early_exit"),
        (lambda model, toy: cp.early_exit(model, task=toy), "has exits already; name all of their layers in one early_exit"),
    ],
)
def test_what_comes_behind_them_is_refused_by_name(change: Callable[..., Any], message: str, toy: Task) -> None:
    with pytest.raises(InputError, match=message):
        change(leaving(), toy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"measure": "probability"', '"measure": "mood"', "exits must give the numbers of layers"),
        ('"measure": "probability"', '"measure": null', "exits must give the numbers of layers"),
        ('"layers": [\n   0,\n   1\n  ]', '"layers": [1, 0]', "exits.layers must rise"),
        ('"layers": [\n   0,\n   1\n  ]', '"layers": [0]', "a threshold from 0 to 1 for each"),
        ('"layers": [\n   0,\n   1\n  ]', '"layers": [0, 2]', "names 2, which is the last one"),
        ('"layers": [\n   0,\n   1\n  ]', '"layers": []', "exits must give the numbers of layers"),
        ('"thresholds": [', '"thresholds": [7, ', "a threshold from 0 to 1 for each"),
    ],
)
def test_a_structure_that_tells_something_else_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = cp.save(leaving(), tmp_path / "saved") / "structure.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        cp.load(tmp_path / "saved")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([2], "names 2, which is the last one, where all texts leave anyway; allowed: 0 to 1"),
        ([0, 7], "names 7, which does not exist; allowed: 0 to 1"),
    ],
)
def test_layers_that_cannot_have_an_exit_are_refused(layers: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        exit_layers(tiny_bert(layers=3), layers)


def test_a_model_of_one_layer_has_none_to_leave_behind() -> None:
    with pytest.raises(InputError, match="1 layers has no layer to leave behind before the last"):
        exit_layers(tiny_bert(layers=1), "all")


def test_all_stands_for_every_layer_but_the_last() -> None:
    assert exit_layers(tiny_bert(layers=3), "all") == [0, 1]
    assert exit_layers(tiny_bert(layers=3), [1, 0, 1]) == [0, 1]


def test_models_whose_layers_cannot_be_left_are_refused(toy: Task) -> None:
    mixing = cp.fine_tune(tiny_bert(), task=toy, train="layer_mix", epochs=1)
    with pytest.raises(InputError, match="mixes its layers, so that its head needs all of them"):
        exit_layers(mixing, "all")
    chunks = cp.swap_attention(tiny_bert(), task=toy, kind="chunk_and_pool", segment=10)
    with pytest.raises(InputError, match="reads texts in segments"):
        exit_layers(chunks, "all")
    with pytest.raises(InputError, match="of 0 layers has no layer"):
        exit_layers(cp.build_student(tiny_bert(), kind="static", task=toy), "all")


def test_the_batch_of_a_teacher_is_answered_as_its_texts_leave(toy: Task) -> None:
    model = leaving()
    exits_in(model).thresholds = [0.0, 0.0]
    student = cp.distill(tiny_bert(), teacher=model, task=toy, objectives={"logits": 1.0}, epochs=1)
    assert not torch.equal(logits_of(student), logits_of(tiny_bert()))
    assert torch.equal(logits_of(model, **tokens()), every_answer(model, **tokens())[:, 0])
