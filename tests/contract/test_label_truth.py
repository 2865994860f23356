"""What a folder says that its outputs are called is what they are: for every method, and every path into a folder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

import compress as cp
from compress.cli import app
from compress.errors import InputError
from compress.methods import METHODS
from compress.models.heads import aligned, label_names
from compress.pipeline import RunOptions, run
from compress.recipe import read_recipe_text
from compress.recipe.signatures import load_function
from compress.training.step_context import StepContext
from tests.contract.test_methods import EXAMPLES, HERE
from tests.pruning.times import stand_in_for_timing
from tests.tiny_models import LABELS, logits_of, tiny_bert, toy_task

TASKED = [name for name in HERE if "task" in inspect.signature(load_function(METHODS, name)).parameters]
LEAVES_LABELS = {"build_student", "trim_vocabulary", "share_layers", "factorize_embedding", "spell_words", "swap_attention"}
"""Methods that read a task's text alone: a head for other labels passes through them, under its own names."""
TEACHES_THE_HEAD = ("fine_tune", "distill")


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table stands in for what a method times here."""
    stand_in_for_timing(monkeypatch)


def changed_by(name: str, model: PreTrainedModel, **more: Any) -> PreTrainedModel:
    """What a method makes of a model."""
    teacher = {"teacher": tiny_bert(seed=8)} if name in ("distill", "prune_cofi") else {}
    arguments = EXAMPLES[name] | teacher | more
    task = toy_task(max_length=EXAMPLES[name].get("max_length", 24))
    changed: PreTrainedModel = load_function(METHODS, name)(model, task=task, run=StepContext(device="cpu"), **arguments)
    return changed


def by_name(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The logits of each name."""
    return dict(zip(map(str.casefold, label_names(model)), logits_of(model).T, strict=True))


def renamed(model: PreTrainedModel, *names: str) -> PreTrainedModel:
    """The same model, whose outputs are called otherwise."""
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}
    return model


@pytest.mark.parametrize("name", TASKED)
def test_a_head_in_another_order_gives_the_same_answers_by_name(name: str) -> None:
    before = by_name(changed_by(name, tiny_bert()))
    turned = renamed(aligned(tiny_bert(), LABELS[::-1]), *(label.upper() for label in LABELS[::-1]))
    changed = changed_by(name, turned)
    assert name in LEAVES_LABELS or label_names(changed) == list(LABELS)
    after = by_name(changed)
    assert sorted(after) == sorted(before)
    assert all(torch.equal(values, before[label]) for label, values in after.items())


@pytest.mark.parametrize("name", [name for name in TASKED if name not in LEAVES_LABELS])
def test_a_head_for_other_labels_is_refused_or_takes_the_task_s(name: str) -> None:
    spam = renamed(tiny_bert(), "spam", "ham")
    if name not in TEACHES_THE_HEAD:
        with pytest.raises(InputError, match=r"the model has 2 labels, but the task has others \(bad, good\)"):
            changed_by(name, spam)
        return
    changed = changed_by(name, spam)
    assert label_names(changed) == list(LABELS)
    assert changed.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("name", ["distill", "prune_cofi", "quantize_aware"])
def test_a_teacher_in_another_order_teaches_the_same(name: str) -> None:
    teacher = tiny_bert(seed=8)
    more = {"objectives": {"logits": 1.0}} if name != "prune_cofi" else {}
    before, after = (
        logits_of(changed_by(name, tiny_bert(), teacher=source, **more))
        for source in (teacher, aligned(teacher, LABELS[::-1]))
    )
    assert torch.equal(before, after)


def right_by_name(folder: Path, texts: Sequence[str], names: Sequence[str], max_length: int) -> float:
    """The accuracy of a folder as a stranger finds it: transformers for names and tokens, onnxruntime or torch for answers."""
    called = AutoConfig.from_pretrained(folder).id2label
    read = AutoTokenizer.from_pretrained(folder)(
        list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="np"
    )
    if (folder / "model.onnx").is_file():
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        logits = session.run(["logits"], {node.name: read[node.name].astype(np.int64) for node in session.get_inputs()})[0]
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(values) for name, values in read.items()}).logits.numpy()
    return float(np.mean([called[answer] == name for answer, name in zip(logits.argmax(1).tolist(), names, strict=True)]))


HEADS = {
    "in another order": LABELS[::-1],
    "of other labels": ("spam", "ham"),
    "without names": ("LABEL_0", "LABEL_1"),
    "in capitals": tuple(label.upper() for label in LABELS[::-1]),
}
STEPS = {
    "fine_tuned": "  - fine_tune: {epochs: 3, learning_rate: 3e-3, batch_size: 8}\n",
    "distilled": "  - fine_tune: {epochs: 3, learning_rate: 3e-3, batch_size: 8}\n    as: teacher\n"
    "  - drop_layers: {keep: [1]}\n  - distill: {teacher: teacher, objectives: {logits: 1.0}, epochs: 6,\n"
    "            learning_rate: 3e-3, batch_size: 8}\n",
}


def write_data(folder: Path) -> None:
    """Rows whose label is told by one word, for training and for measuring; no two of them alike enough to be kin."""
    for name, count in (("train", 160), ("dev", 48)):
        rows = [
            f"the film {('plot', 'was', 'very')[index % 3]} {LABELS[index % 2]} a it and the {'a ' * (index % 7)}"
            f"{index} x{index} y{index} z{index}"
            f"\t{LABELS[index % 2]}"
            for index in range(count)
        ]
        (folder / f"{name}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "steps"),
    [*((head, "fine_tuned") for head in HEADS), ("in another order", "distilled")],
)
def test_a_run_ships_what_it_reports(tmp_path: Path, head: str, steps: str) -> None:
    write_data(tmp_path)
    model = renamed(tiny_bert(), *HEADS[head])
    cp.save(model, tmp_path / "model")
    plan = read_recipe_text(f"""
name: told
model: {tmp_path / "model"}
task: {{data: {{train: {tmp_path / "train.tsv"}, validation: {tmp_path / "dev.tsv"}}}, max_length: 24}}
steps:
{STEPS[steps]}
export: [onnxruntime-cpu, onnxruntime-cpu-int8: {{max_flips: 1.0, max_relative_error: 10.0}}]
benchmark: {{batch: [1], length: [8], threads: [1], rounds: 1, seconds: 0.02}}
gates: {{allow_slower: true, max_drop: 1.0}}
""")
    record = run(plan, RunOptions(out=tmp_path / "out", device="cpu"))
    rows = [line.split("\t") for line in (tmp_path / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    assert record["subjects"][-1]["metrics"]["accuracy"] > 0.7  # names in another order would give the rest
    for subject in record["subjects"]:
        folder = tmp_path / "out" / subject["path"]
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert config["id2label"] == {"0": "bad", "1": "good"}
        assert config["label2id"] == {"bad": 0, "good": 1}
        assert config["problem_type"] == "single_label_classification"
        accuracy = right_by_name(folder, [row[0] for row in rows], [row[1] for row in rows], 24)
        most = 4.01 / len(rows) if "int8" in subject["name"] else 1e-9  # whose answers may move with their batch
        assert accuracy == pytest.approx(subject["metrics"]["accuracy"], abs=most)
        if subject["kind"] != "torch":
            assert subject["read_back"] == {"accuracy": subject["metrics"]["accuracy"], "examples": len(rows)}
    assert "spam" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    from typer.testing import CliRunner

    ended = CliRunner().invoke(
        app, ["eval", str(tmp_path / "out" / "export" / "onnxruntime-cpu"), "--data", str(tmp_path / "dev.tsv"), "--json"]
    )
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["metrics"] == record["subjects"][1]["metrics"]


@pytest.mark.matrix
@pytest.mark.parametrize("names", [LABELS[::-1], tuple(label.upper() for label in LABELS)])
def test_measure_reads_each_model_by_its_own_names(names: tuple[str, ...]) -> None:
    model = tiny_bert()
    turned = renamed(aligned(model, LABELS if names[0].lower() == LABELS[0] else LABELS[::-1]), *names)
    turned.label = "turned"
    first, second = cp.measure([model, turned], task=toy_task(), length=[8], rounds=1, seconds=0.02).subjects
    assert first["metrics"] == second["metrics"]
    assert second["agreement"] == 1.0


def test_a_model_of_other_labels_cannot_be_measured_on_a_task() -> None:
    with pytest.raises(InputError, match=r"'tiny' has 2 labels, but the task has others \(bad, good\); they are spam, ham"):
        cp.measure([renamed(tiny_bert(), "spam", "ham")], task=toy_task(), length=[8])


@pytest.mark.slow
def test_an_export_names_its_outputs_as_the_model_does(tmp_path: Path) -> None:
    for number, (names, expected) in enumerate(
        [(LABELS[::-1], LABELS), (("LABEL_0", "LABEL_1"), LABELS), (("spam", "ham"),) * 2]
    ):
        model = renamed(tiny_bert(), *names)
        folder = cp.export(model, tmp_path / str(number), target="onnxruntime-cpu", task=toy_task()).path
        assert tuple(AutoConfig.from_pretrained(folder).id2label.values()) == expected
        answers = right_by_name(folder, ["a good film", "bad"], list(_names_of(model, expected)), 24)
        assert answers == 1.0


def _names_of(model: PreTrainedModel, labels: Sequence[str]) -> list[str]:
    """What the torch model calls its answers to two sentences; outputs without names are the task's, in order."""
    read = model.tokenizer(["a good film", "bad"], padding=True, return_tensors="pt")
    answers = logits_of(model, **read).argmax(1).tolist()
    own = label_names(model)
    return [labels[answer] if own[0].startswith("LABEL_") else own[answer] for answer in answers]
