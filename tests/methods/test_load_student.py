"""A checkpoint of another tokenizer learns from the teacher's answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError, NoEffect
from compress.methods.distill import distill
from compress.methods.load_student import load_student
from compress.models.heads import label_names
from compress.tasks.kind import load_kind
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.tiny_models import differences, state_of, tiny_bert, tiny_for, tiny_of, tiny_tokenizer

OTHERS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dull", "bad", "fine", "good", "film", "plot", "it")


def saved(folder: Path, model: PreTrainedModel, words: tuple[str, ...] = OTHERS) -> str:
    model.tokenizer = tiny_tokenizer(words)
    return str(cp.save(model, folder / "small"))


def test_the_student_is_the_checkpoint_with_the_teacher_s_labels(tmp_path: Path) -> None:
    small = tiny_bert(seed=9, hidden_size=8, vocab_size=len(OTHERS))
    student = load_student(tiny_bert(labels=("no", "yes")), checkpoint=saved(tmp_path, small))
    assert not differences(state_of(student), state_of(small))
    assert student.tokenizer.get_vocab() == {word: index for index, word in enumerate(OTHERS)}


def test_it_learns_from_answers_and_not_token_by_token(toy: Task, tmp_path: Path) -> None:
    toy = dataclasses.replace(toy, allow_unknown=True)  # the student knows other words
    teacher = tiny_bert()
    student = load_student(teacher, checkpoint=saved(tmp_path, tiny_bert(seed=9, vocab_size=len(OTHERS))))
    arguments: dict[str, Any] = {"teacher": teacher, "task": toy, "epochs": 30, "batch_size": 8, "learning_rate": 3e-3}
    trained = distill(student, objectives={"logits": 1.0}, **arguments)

    def apart(model: PreTrainedModel) -> float:
        said = []
        for network in (model, teacher):
            encoded = toy.encode(toy.train, network.tokenizer)
            batches = [{name: torch.from_numpy(rows) for name, rows in encoded.batch([row]).items()} for row in range(20)]
            with torch.no_grad():
                said.append(torch.cat([network(**batch).logits.softmax(-1) for batch in batches]))
        return float((said[0] - said[1]).abs().mean())

    assert apart(trained) < 0.5 * apart(student)
    with pytest.raises(InputError, match="different vocabularies"):
        distill(student, objectives={"hidden": 1.0}, **arguments)


def test_a_checkpoint_of_another_family_will_do(tmp_path: Path) -> None:
    path = str(cp.save(tiny_of("distilbert"), tmp_path / "small"))
    assert load_student(tiny_bert(), checkpoint=path).config.model_type == "distilbert"


def test_a_new_head_follows_the_seed(tmp_path: Path) -> None:
    model: Any = tiny_bert(seed=9)
    path = cp.save(model, tmp_path / "small")
    file = path / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if not name.startswith("classifier.")}, file)
    first, second, third = (load_student(tiny_bert(), checkpoint=str(path), run=StepContext(seed=seed)) for seed in (1, 1, 2))
    assert not differences(state_of(first), state_of(second))
    assert set(differences(state_of(first), state_of(third))) == {"classifier.weight"}


def test_a_head_for_other_labels_is_refused(tmp_path: Path) -> None:
    path = str(cp.save(tiny_bert(labels=("a", "b", "c")), tmp_path / "small"))
    with pytest.raises(InputError, match="has a head for 3 labels, but the task has 2"):
        load_student(tiny_bert(), checkpoint=path)


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_student(tiny_bert(), checkpoint=str(tmp_path / "nowhere"))


def test_the_model_itself_has_no_effect(tmp_path: Path) -> None:
    path = str(cp.save(tiny_bert(), tmp_path / "same"))
    with pytest.raises(NoEffect, match="the same as the model that comes in"):
        load_student(tiny_bert(), checkpoint=path)


@pytest.mark.parametrize("kind", ["text-classification", "multi-label-classification", "token-classification", "regression"])
def test_a_general_student_keeps_its_encoder_and_gets_the_head_of_the_task(kind: str, tmp_path: Path) -> None:
    """An embedder that was distilled before any task begins a student of another kind of task."""
    general = tiny_for(SimpleNamespace(labels=("0", "1"), rules=load_kind("sentence-embedding")), seed=9)  # type: ignore[arg-type]
    labels = ("score",) if kind == "regression" else ("O", "B-LOC", "I-LOC")
    teacher = tiny_for(SimpleNamespace(labels=labels, rules=load_kind(kind)))  # type: ignore[arg-type]
    student = load_student(teacher, checkpoint=str(cp.save(general, tmp_path / "general")))
    assert type(student) is type(teacher)
    assert label_names(student) == label_names(teacher)
    before, after = state_of(general), state_of(student)
    encoder = [name for name in after if name.startswith("bert.") and ".pooler." not in name]
    assert len(encoder) > 30
    assert all(after[name].equal(before[name]) for name in encoder)
    assert not any(after[name].equal(state_of(teacher)[name]) for name in encoder if name.endswith("query.weight"))
