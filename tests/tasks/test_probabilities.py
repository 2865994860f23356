"""Labels that are another model's probabilities: an LLM's, an API's, a zero-shot model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from torch.nn import functional

import compress as cp
from compress.errors import InputError
from compress.tasks import task
from compress.tasks.kind import load_kind
from compress.training.step_context import StepContext
from tests.tiny_models import LONGEST, tiny_for

ONE, SEVERAL = "text-classification", "multi-label-classification"


def texts(count: int = 60) -> list[str]:
    return [" ".join(f"w{row}x{place}" for place in range(9)) for row in range(count)]


def written(folder: Path, *labels: Any, name: str = "train.jsonl") -> str:
    path = folder / name
    rows = [{"text": text, "label": labels[row % len(labels)]} for row, text in enumerate(texts())]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def test_probabilities_are_targets_and_the_likeliest_is_the_label(tmp_path: Path) -> None:
    read = task({"train": written(tmp_path, {"good": 0.75, "bad": 0.25}, {"bad": 1.0})}, kind=ONE)
    assert read.labels == ("bad", "good")
    assert set(map(tuple, read.train.labels.tolist())) == {(0.25, 0.75), (1.0, 0.0)}
    counts = read.describe()["splits"]["train"]["per_label"]
    assert sum(counts) == len(read.train)
    assert min(counts) > 0
    assert (
        read.rules.score(np.array([[0.0, 1.0], [0.0, 1.0]]), read.train.labels[:2] * 0 + [0.4, 0.6], "accuracy")["accuracy"]
        == 1
    )


def test_the_loss_is_the_cross_entropy_with_the_probabilities() -> None:
    outputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))
    wanted = torch.tensor([[0.5, 0.25, 0.25], [1, 0, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.6]])
    rules = load_kind(ONE)
    by_hand = -(wanted * outputs.log_softmax(1)).sum(1)
    assert torch.allclose(rules.loss(outputs, wanted), by_hand.mean())
    assert torch.allclose(rules.loss(outputs, wanted, "sum"), by_hand.sum())
    several = load_kind(SEVERAL).loss(outputs, wanted)
    assert torch.allclose(several, functional.binary_cross_entropy(outputs.sigmoid(), wanted), atol=1e-6)


def test_certain_probabilities_teach_as_labels_do(tmp_path: Path) -> None:
    data = {
        "soft": written(tmp_path, {"good": 1.0}, {"bad": 1}, name="soft.jsonl"),
        "hard": written(tmp_path, "good", "bad", name="hard.jsonl"),
    }
    made = {}
    for how, path in data.items():
        read = task({"train": path}, kind=ONE, labels=["bad", "good"], max_length=LONGEST, allow_unknown=True)
        model = tiny_for(read)
        made[how] = cp.fine_tune(model, task=read, epochs=1, batch_size=8, learning_rate=1e-3, run=StepContext(device="cpu"))
    for soft, hard in zip(made["soft"].parameters(), made["hard"].parameters(), strict=True):
        assert torch.allclose(soft, hard, atol=1e-6)


def test_the_measured_part_may_have_labels(tmp_path: Path) -> None:
    train = written(tmp_path, {"good": 0.75, "bad": 0.25}, {"bad": 1.0})
    path = tmp_path / "validation.tsv"
    path.write_text("text\tlabel\na film\tgood\na plot\tbad\n", encoding="utf-8")
    read = task({"train": train, "validation": str(path)}, kind=ONE, allow_unknown=True)
    assert read.evaluation.labels.tolist() == [1, 0]


def test_several_labels_have_a_probability_each(tmp_path: Path) -> None:
    read = task({"train": written(tmp_path, {"joy": 0.9, "love": 0.8}, {"love": 0.2, "joy": 0.4})}, kind=SEVERAL)
    assert read.labels == ("joy", "love")
    assert {tuple(np.round(row, 3)) for row in read.train.labels.tolist()} == {(0.9, 0.8), (0.4, 0.2)}
    assert read.describe()["splits"]["train"]["per_label"][0] < len(read.train)


def test_texts_that_hold_objects_and_structs_of_parquet_are_read(tmp_path: Path) -> None:
    csv = tmp_path / "train.csv"
    cells = ['"{""good"": 0.6, ""bad"": 0.4}"', '"{""bad"": 0.9, ""good"": 0.1}"']
    csv.write_text(
        "text,label\n" + "\n".join(f"{text},{cells[row % 2]}" for row, text in enumerate(texts())), encoding="utf-8"
    )
    labels = [{"good": 0.6, "bad": 0.4} if row % 2 else {"good": None, "bad": 1.0} for row in range(60)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts(), "label": labels}), tmp_path / "train.parquet")
    for name in ("train.csv", "train.parquet"):
        assert task({"train": str(tmp_path / name)}, kind=ONE).train.labels.shape[1] == 2


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"good": 0.5, "bad": 0.2}, "probabilities that sum to 0.7, not to 1"),
        ({"good": 1.5, "bad": -0.5}, "gives 'good' 1.5, which is no probability"),
        ({"good": True}, "gives 'good' True, which is no probability"),
        ({"good": "1"}, "gives 'good' '1', which is no probability"),
        ({"": 1.0}, "a name that is none"),
        ({}, "is no object of probabilities, as others are"),
        ("good", "is no object of probabilities, as others are: 'good'"),
        (["good"], "is no object of probabilities, as others are"),
        ('{"good": ', "is no object of probabilities, as others are"),
        (None, "is no object of probabilities, as others are"),
    ],
)
def test_what_is_no_probability_is_refused_with_its_line(label: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"rows that cannot be used[\s\S]*line 2, column 'label' .*{said}"):
        task({"train": written(tmp_path, {"good": 0.5, "bad": 0.5}, label)}, kind=ONE)


def test_names_that_are_not_the_tasks_and_one_label_alone_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"good": 0.75, "fine": 0.25}, {"bad": 1.0})
    with pytest.raises(InputError, match=r"labels that are unknown; allowed: bad, good[\s\S]*line 1, column 'label': 'fine'"):
        task({"train": path}, kind=ONE, labels=["bad", "good"])
    with pytest.raises(InputError, match="every row has the label 'good'"):
        task({"train": written(tmp_path, {"good": 0.75, "bad": 0.25}, {"good": 1.0})}, kind=ONE)


@pytest.mark.parametrize("kind", [ONE, SEVERAL])
def test_a_model_learns_what_the_file_says(kind: str, tmp_path: Path) -> None:
    rows = [
        json.dumps({"text": f"the film was {word} n{row}", "label": {"up": high, "down": 1 - high}})
        for row in range(400)
        for word, high in (("good", 0.8), ("dull", 0.3))
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    read = task({"train": str(path)}, kind=kind, max_length=LONGEST, allow_unknown=True)
    how: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 5e-3}
    model = cp.fine_tune(tiny_for(read), task=read, run=StepContext(device="cpu"), **how)
    inputs = model.tokenizer(["the film was good", "the film was dull"], return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
    said = logits.sigmoid() if kind == SEVERAL else logits.softmax(1)
    up = said[:, read.labels.index("up")]
    assert up.tolist() == pytest.approx([0.8, 0.3], abs=0.1)
