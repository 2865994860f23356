"""Training in eight bits on texts without labels, which a teacher answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.methods.quantize_aware import quantize_aware
from compress.tasks.labelled import Task
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, without_dropout

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}


def test_a_text_without_labels_is_learned_from_by_the_teacher_s_answers(toy: Task, tmp_path: Path) -> None:
    texts = [f"the {word} film was {other}" for word in ("very", "fine", "dull") for other in ("it", "plot")]
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in texts))
    teacher, student = tiny_bert(seed=8), tiny_bert(**without_dropout())
    how = {**QUICK, "teacher": teacher, "task": toy, "text": str(path), "epochs": 40}
    taught = quantize_aware(student, **how)
    assert not differences(state_of(taught), state_of(quantize_aware(student, objectives={"logits": 1.0}, **how)))
    batch = dict(student.tokenizer(texts, padding=True, return_tensors="pt"))
    wanted, before, after = (logits_of(model, **batch).softmax(-1) for model in (teacher, student, taught))
    assert (after - wanted).norm() < 0.8 * (before - wanted).norm()  # the epoch that selects best is kept, not the last


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "text has no labels, and no teacher answers it; give one, most often the model as it is"),
        ({"teacher": "own", "objectives": {"logits": 0.9, "labels": 0.1}}, "names 'labels', but quantize_aware.text has none"),
    ],
)
def test_a_text_that_nobody_answers_is_refused(
    options: dict[str, Any], message: str, model: PreTrainedModel, toy: Task, tmp_path: Path
) -> None:
    given = {**options, "teacher": model} if "teacher" in options else options
    with pytest.raises(InputError, match=message):
        quantize_aware(forbid_forward_passes(model), task=toy, text=str(tmp_path / "texts.txt"), **given)
