"""Every kind of task goes the whole way: trained, distilled, pruned, quantized, exported, measured, reported, opened."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compress as cp
from compress.benchmark.measurement import evaluate
from compress.cli.results import scores_text
from compress.errors import InputError
from compress.objectives.labels import labels
from compress.objectives.logit_mse import logit_mse
from compress.objectives.logits import logits
from compress.objectives.outputs import Batch, Outputs
from compress.pipeline import RunOptions, run
from compress.recipe import read_recipe_text
from compress.tasks import TASKS, evaluation_task, metrics_of, task
from compress.tasks.encoding import answered_mask
from compress.tasks.kind import kind_for, load_kind
from compress.tasks.per_example import unpacked
from compress.tasks.scores import drop_over_seeds
from compress.training.step_context import StepContext
from tests.cli.calling import call
from tests.tasks.kinds import ROWS
from tests.tiers import mostly_matrix
from tests.tiny_models import LONGEST, tiny_for, tiny_tokenizer
from tools.reference.run_record import KEYS, unknown_keys

ROOT = Path(__file__).parents[2]
RECIPE = """
name: tiny
model: any
task: {{kind: {kind}, data: {{train: {path}}}, max_length: 24, evaluation: {{from_train: 50}}}}
steps:
  - fine_tune: {{epochs: 1, batch_size: 16}}
    as: teacher
  - prune_ffn: {{fraction: 0.5}}
  - distill: {{teacher: teacher, objectives: {{logits: 0.9, labels: 0.1}}, epochs: 1, batch_size: 16}}
  - quantize_aware: {{epochs: 1, batch_size: 16}}
export:
  - onnxruntime-cpu: {{}}
  - onnxruntime-cpu-int8: {{}}
"""


@pytest.fixture(scope="module", params=mostly_matrix(TASKS, always=["question-answering"]))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path, dict[str, Any]]:
    """A kind, its rows, and a run of a tiny model on them."""
    kind, folder = str(request.param), tmp_path_factory.mktemp(str(request.param))
    path = ROWS[kind](folder, 240)
    plan = read_recipe_text(RECIPE.format(kind=kind, path=path))
    return kind, path, folder / "out", run(plan, RunOptions(out=folder / "out", device="cpu", tiny=True))


def test_every_kind_has_rows_a_recipe_and_a_page() -> None:
    assert all(metrics_of(kind) == load_kind(kind).metrics for kind in TASKS)
    assert ROWS.keys() == TASKS.keys()
    recipes = [path.read_text(encoding="utf-8") for path in (ROOT / "recipes").rglob("*.yaml")]
    for kind in TASKS:
        assert any(f"kind: {kind}" in text for text in recipes), kind


@pytest.mark.slow
def test_a_kind_is_measured_by_its_first_metric_and_reads_back(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    kind, _, out, record = made
    rules = load_kind(kind)
    assert [entry["target"] for entry in record["subjects"]] == ["torch", "torch", "onnxruntime-cpu", "onnxruntime-cpu-int8"]
    for subject in record["subjects"]:
        assert next(iter(subject["metrics"])) == rules.metrics[0]
        for name, (low, high) in subject["metrics_ci95"].items():
            assert low - 1e-9 <= subject["metrics"][name] <= high + 1e-9
        if subject["kind"] != "torch":
            assert subject["read_back"][rules.metrics[0]] == pytest.approx(subject["metrics"][rules.metrics[0]], abs=0.02)
    assert record["subjects"][2]["parity"]["label_flips"] == 0
    assert record["subjects"][2]["agreement"] <= 1
    assert record["data"]["kind"] == kind
    for name in ("report.html", "README.md"):
        assert rules.metrics[0] in (out / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_kind_s_examples_add_up_to_its_score_and_its_drop(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    kind, _, _, record = made
    rules = load_kind(kind)
    metric = rules.metrics[0]
    baseline = unpacked(record["subjects"][0], metric)
    assert baseline is not None
    for number, subject in enumerate(record["subjects"]):
        statistics = unpacked(subject, metric)
        assert statistics is not None
        assert float(rules.score_of(metric)(statistics.sum(0))) == pytest.approx(subject["metrics"][metric], abs=1e-9)
        again = drop_over_seeds(rules.score_of(metric), [baseline], [statistics], metric=metric)
        assert again["value"] == pytest.approx(subject["drop"]["value"], abs=1e-9)
        assert again["ci95"] == pytest.approx(subject["drop"]["ci95"], abs=0.05)
        assert ("p_holm" in subject["drop"]) == (number > 0)


@pytest.mark.slow
def test_a_kind_is_measured_on_further_rows_beside_the_others(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    kind, _, out, record = made
    metric, splits = load_kind(kind).metrics[0], record["data"]["splits"]
    assert list(splits) == ["train", "selection", "calibration", "evaluation", "further"]
    assert all(splits[role]["leak"] == 0.0 for role in list(splits)[1:])
    assert 20 < splits["further"]["examples"] <= 64 + 4
    for number, subject in enumerate(record["subjects"]):
        further = subject["further"]
        classes = ["by_label"] if load_kind(kind).classes(tuple(record["data"]["labels"])) else []
        always = ["examples", "metrics", "metrics_ci95", *classes, "drop", "agreement"]
        assert list(further)[: len(always)] == always
        assert set(list(further)[len(always) :]) <= {"likeness", "baseline_documents"}  # of vectors
        assert further["examples"] == splits["further"]["examples"]
        assert list(further["metrics"]) == list(subject["metrics"])
        low, high = further["metrics_ci95"][metric]
        assert low - 1e-9 <= further["metrics"][metric] <= high + 1e-9
        before = record["subjects"][0]["further"]["metrics"][metric]
        after = further["metrics"][metric]
        lost = after / before - 1 if metric.endswith("perplexity") else before - after
        assert further["drop"]["value"] == pytest.approx(lost, abs=1e-6)
        assert number or further["agreement"] == 1.0
    facts = {key for step in record["steps"] for key in step if f"steps[].{key}" not in KEYS}
    assert {key for key in unknown_keys(record, frozenset(facts)) if "further" in key or "leak" in key} == set()
    assert f"On {further['examples']} further rows, kept apart" in (out / "README.md").read_text(encoding="utf-8")
    assert f"Quality on {further['examples']} further rows" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_shipped_folder_tells_everyone_what_it_is_for(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    kind, path, out, _ = made
    folder = out / "export" / "onnxruntime-cpu"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    head = load_kind(kind).head
    plain = f"BertFor{head.architecture}" if not head.gives_vectors else "BertModel"
    assert config["architectures"] == ["EncoderDecoderModel" if head.writes else plain]
    config = config.get("encoder", config)
    assert config.get("problem_type") == head.problem_type
    assert kind_for(head) == kind
    named = config.get("id2label", {})
    assert bool(named) == head.is_named
    names = [named[str(index)] for index in range(len(named))]
    scores = evaluate(folder, task=evaluation_task(path, labels=names, max_length=24, kind=kind, allow_unknown=True))
    assert scores["examples"] == 240
    assert load_kind(kind).metrics[0] in scores_text(scores)


@pytest.mark.slow
def test_the_example_on_the_card_runs_as_printed(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    _, _, out, _ = made
    code = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    ended = subprocess.run([sys.executable, "-c", code[0]], cwd=out, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()


@pytest.mark.parametrize("kind", TASKS)
def test_losses_are_small_where_outputs_are_the_teachers_and_have_gradients(kind: str, tmp_path: Path) -> None:
    read = task({"train": str(ROWS[kind](tmp_path, 120))}, kind=kind, max_length=24)
    tokenizer = tiny_tokenizer()
    encoded, rules = read.encode(read.train, tokenizer), read.rules
    rows, random = np.arange(6), torch.Generator().manual_seed(3)
    batch = encoded.batch(rows)
    mask = torch.from_numpy(answered_mask(batch))
    of_pieces = rules.head.writes or rules.head.of_pieces
    outputs_of_one = len(tokenizer) if of_pieces else len(read.labels) if rules.head.is_named else 8
    shape = (6, *([mask.shape[1]] if rules.head.reads_tokens else []), outputs_of_one)
    outputs = torch.randn(shape, generator=random, requires_grad=True)
    targets = rules.collate(encoded, rows, batch["input_ids"].shape[1])
    groups = None if encoded.groups is None else torch.from_numpy(encoded.groups[rows])
    seen = Batch(targets, mask, rules=rules, groups=groups)
    for objective in (logits, logit_mse):
        assert abs(objective(Outputs(outputs), Outputs(outputs.detach()), seen).item()) < 1e-6
    other = Outputs(torch.randn(shape, generator=random))
    total = sum(objective(Outputs(outputs), other, seen) for objective in (labels, logits, logit_mse))
    assert isinstance(total, torch.Tensor)
    (gradient,) = torch.autograd.grad(total, outputs)
    assert total.item() > 0
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    changed = outputs.detach().clone()
    if rules.head.reads_tokens:
        changed[mask == 0] = 99.0  # padding counts for nothing
        assert rules.loss(changed, targets) == rules.loss(outputs, targets)
        assert rules.divergence(changed, other.logits, mask, 2.0) == rules.divergence(outputs, other.logits, mask, 2.0)
    assert rules.loss(outputs, targets, "sum") > rules.loss(outputs, targets)


@pytest.mark.parametrize("kind", TASKS)
def test_every_label_is_kept_among_a_few_examples_and_parts_are_apart(kind: str, tmp_path: Path) -> None:
    read = task({"train": str(ROWS[kind](tmp_path, 120))}, kind=kind, max_length=24)
    few = read.capped(8)
    assert len(few.train) <= 8 + len(read.labels)
    assert not set(read.train.texts) & set(read.evaluation.texts)
    assert few.fingerprint != read.fingerprint
    assert read.describe()["kind"] == kind


@pytest.mark.slow
def test_eval_reads_the_kind_off_the_folder(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    kind, path, out, _ = made
    ended = call("eval", str(out / "export" / "onnxruntime-cpu"), "--data", str(path), "--allow-unknown", "--json")
    assert ended.exit_code == 0, ended.stderr
    scores = json.loads(ended.stdout)
    assert next(iter(scores["metrics"])) == load_kind(kind).metrics[0]
    assert scores["examples"] == 240


@pytest.mark.parametrize("kind", TASKS)
def test_a_gate_on_a_score_that_a_kind_does_not_have_is_told_at_once(kind: str) -> None:
    text = f"model: a\ntask: {{kind: {kind}, data: {{train: a.tsv}}}}\nsteps: [fine_tune]\ngates: {{min_accuracy: 0.5}}\n"
    if "accuracy" in metrics_of(kind):
        assert read_recipe_text(text).gates.min_accuracy == 0.5
        return
    with pytest.raises(InputError, match=rf"gates\.min_accuracy: a task of {kind} has no accuracy, but .*; use max_drop"):
        read_recipe_text(text)


def test_a_metric_of_another_kind_is_told_with_its_line() -> None:
    with pytest.raises(InputError, match=r':2: task\.metric: "pearson" is not allowed; allowed: accuracy or f1'):
        read_recipe_text("model: a\ntask: {data: sst2, metric: pearson}\nsteps: [fine_tune]\n")


@pytest.mark.parametrize("kind", TASKS)
def test_answering_tokens_are_only_compared_where_there_are_such(kind: str, tmp_path: Path) -> None:
    read = task({"train": str(ROWS[kind](tmp_path, 120))}, kind=kind, max_length=LONGEST, allow_unknown=True).capped(16)
    teacher, student = (tiny_for(read, seed=seed) for seed in (3, 4))
    how: dict[str, Any] = {"objectives": {"logits": 1.0}, "logit_tokens": "answering", "epochs": 1, "batch_size": 8}
    if load_kind(kind).head.reads_tokens:
        learned = cp.distill(student, teacher=teacher, task=read, run=StepContext(device="cpu"), **how)
        assert any((before != after).any() for before, after in zip(student.parameters(), learned.parameters(), strict=True))
        return
    with pytest.raises(InputError, match=f"tokens have no outputs in {kind}; leave it out"):
        cp.distill(student, teacher=teacher, task=read, run=StepContext(device="cpu"), **how)


@pytest.mark.parametrize("kind", TASKS)
def test_a_gate_names_a_label_that_there_is(kind: str, tmp_path: Path) -> None:
    path = ROWS[kind](tmp_path, 240)
    text = RECIPE.format(kind=kind, path=path) + "gates: {min_recall: {nobody: 0.5}}\n"
    with pytest.raises(InputError, match=r"gates\.min_recall names 'nobody'; allowed: "):
        run(read_recipe_text(text), RunOptions(out=tmp_path / "out", device="cpu"))
