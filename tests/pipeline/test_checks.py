"""What would fail at the end is refused before the first step."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.artifact.saving import write_model
from compress.cli import app
from compress.errors import InputError
from compress.pipeline import Surroundings, checks, running
from compress.pipeline.cache import Cache
from compress.pipeline.checks import rehearse
from compress.pipeline.steps import Stop, Walk, stops_ahead
from compress.recipe import read_recipe
from compress.tasks.text_classification import Task
from tests.models import tiny_bert
from tests.pipeline.conftest import write_recipe
from tests.pipeline.run_unmeasured import bare

Ahead = Callable[[str], tuple[Walk, Stop]]


@pytest.mark.parametrize("export", ["onnxruntime-cpu-int8: {activations: static}", "openvino-cpu-int8: {}"])
def test_too_few_sentences_to_calibrate_on_are_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: str
) -> None:
    monkeypatch.setattr(running, "walk_steps", lambda *_: pytest.fail("a step ran"))
    recipe = write_recipe(tmp_path, f"[{{{export}}}]")
    text = recipe.read_text(encoding="utf-8").replace("task: {data:", "task: {calibration: 0.05, data:")
    recipe.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(recipe), "--tiny", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.stderr
    assert "at least 16 are needed to find ranges" in result.stderr


def test_memory_without_segments_is_told_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "walk_steps", lambda *_: pytest.fail("a step ran"))
    recipe = write_recipe(tmp_path, "[{onnxruntime-cpu: {memory: true}}]")
    result = CliRunner().invoke(app, ["run", str(recipe), "--tiny", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.stderr
    assert "memory is true, but the model does not read segments" in result.stderr


@pytest.mark.parametrize("step", [
    "trim_vocabulary: {text: FILE}", "distill: {teacher: teacher, objectives: {logits: 1.0}, text: FILE}",
])  # fmt: skip
def test_texts_that_are_not_there_are_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(running, "walk_steps", lambda *_: pytest.fail("a step ran"))
    steps = f"\n  - fine_tune: {{epochs: 1}}\n    as: teacher\n  - {step.replace('FILE', str(tmp_path / 'no.txt'))}\n"
    result = CliRunner().invoke(
        app, ["run", str(write_recipe(tmp_path, steps=steps)), "--tiny", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 2, result.stderr
    assert f"{step.partition(':')[0]}.text: data file {tmp_path / 'no.txt'} does not exist" in result.stderr


def test_a_file_of_texts_is_read_once_by_the_step_that_learns_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the steps its beginning is looked at; a rehearsal does not read it."""
    module = importlib.import_module("compress.methods.distill")
    read, times = module.read_unlabelled, list[str]()
    monkeypatch.setattr(module, "read_unlabelled", lambda file, **how: (times.append(file), read(file, **how))[1])
    path = tmp_path / "more.txt"
    path.write_text("".join(f"a {('good', 'bad')[row % 2]} film number {row}\n" for row in range(80)), encoding="utf-8")
    distilled = f"{{teacher: model, objectives: {{logits: 1.0}}, epochs: 1, text: {path}}}"
    steps = f"\n  - drop_layers: {{keep: [0]}}\n  - distill: {distilled}\n"
    monkeypatch.setattr(running, "measure_run", bare)
    result = CliRunner().invoke(
        app, ["run", str(write_recipe(tmp_path, steps=steps)), "--tiny", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.stderr
    assert times == [str(path)]


TRAINED = "\n  - fine_tune: {epochs: 1}\n    as: teacher\n"
DISTILLED = "  - distill: {teacher: teacher, objectives: {logits: 1.0}}\n"


@pytest.fixture
def ahead(tmp_path: Path, toy: Task) -> Ahead:
    """From steps to a walk that stands before the first of them, with a saved model of 4 layers, 4 heads and width 16."""
    (tmp_path / "model").mkdir()
    write_model(tiny_bert(layers=4, labels=("0", "1")), tmp_path / "model")

    def made(steps: str) -> tuple[Walk, Stop]:
        plan = read_recipe(write_recipe(tmp_path, steps=steps), [f"model={tmp_path / 'model'}", "task.max_length=24"])
        walk = Walk(plan, toy, Cache(tmp_path / "cache"), "cpu", lambda *_, **__: None, None, (), 60.0)
        return walk, Stop("model", "key", tmp_path / "model")

    return made


@pytest.mark.parametrize(("steps", "said"), [
    ("  - build_student: {width: 8, heads: 2}\n  - distill: {teacher: teacher, objectives: {attention_scores: 1.0}}\n",
     "the student has 2 heads in layer 1 and the teacher 4"),
    ("  - build_student: {width: 10, heads: 4}\n" + DISTILLED, r"heads is 4, which does not divide width 10"),
    ("  - build_student: {width: 32, initial: random}\n"
     "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, project: false}\n", "32 .student. with 16 .teacher."),
    ("  - build_student: {kind: static, embedding: 8}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}}\n",
     "finds no layer to compare"),
    ("  - build_student: {layers: 2}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [2, 9]}\n",
     "asks for layer 9 of a teacher with layers 1 to 4"),
    ("  - drop_layers: {layers: 2, by: contribution}\n"
     "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [1, 2, 4]}\n",
     "names 3 layers, but the student has 2"),
    ("  - drop_layers: {keep: [0, 4]}\n" + DISTILLED, "drop_layers.keep names layer 4, but the model has 0 to 3"),
    ("  - theseus: {modules: 3}\n" + DISTILLED, "theseus.modules is 3, which does not divide the model's 4 layers"),
    ("  - build_student: {layers: 2}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}, patience: 1}\n",
     "these objectives do not teach the logits"),
    ("  - distill: {teacher: teacher, objectives: {relations: 1.0}, relation_heads: 3}\n" + DISTILLED,
     "relation_heads is 3, which does not divide the width 16"),
    ("  - build_student: {layers: 2}\n  - distill: {teacher: teacher, objectives: {masked_words: 1.0}}\n",
     "needs a head for masked words"),
    ("  - swap_attention: {kind: longformer, window: 8}\n  - swap_attention: {kind: longformer, window: 8}\n",
     "the model's attention is longformer already"),
])  # fmt: skip
def test_what_does_not_fit_is_told_before_the_teacher_trains(
    tmp_path: Path, ahead: Ahead, monkeypatch: pytest.MonkeyPatch, steps: str, said: str
) -> None:
    monkeypatch.setattr(running, "walk_steps", lambda *_: pytest.fail("a step ran"))
    plan = ahead(TRAINED + steps)[0].plan
    with pytest.raises(InputError, match=said):
        running.run(plan, Surroundings(out=tmp_path / "out", device="cpu"))


RIGHT = ("  - build_student: {width: 8, heads: 4}\n  - distill: {teacher: teacher, objectives: {attention_scores: 1.0, "
         "hidden: 1.0}, augment: {kind: masking}}\n  - load_student: {checkpoint: MODEL}\n"
         "  - swap_attention: {kind: reformer}\n  - load_student: {checkpoint: MODEL}\n"
         "  - build_student: {kind: static, embedding: 8}\n" + DISTILLED)  # fmt: skip


def test_a_teacher_that_reads_less_than_the_task_s_texts_is_told_where_its_states_are_compared(ahead: Ahead) -> None:
    steps = ("\n  - fine_tune: {epochs: 1, max_length: 24}\n    as: teacher\n"
             "  - swap_attention: {kind: longformer, window: 8, max_length: 40}\n"
             "  - distill: {teacher: teacher, objectives: {ONE: 1.0}, epochs: 1}\n")  # fmt: skip
    for objective, told in (("hidden", "reads 24 tokens at most; give distill max_length: 24"), ("logits", None)):
        walk, start = ahead(steps.replace("ONE", objective))
        walk.task = dataclasses.replace(walk.task, max_length=40)
        with pytest.raises(InputError, match=told) if told else contextlib.nullcontext():
            rehearse(walk, start)


@pytest.mark.parametrize("work", ["train.loop._prepare", "methods.distill.augmented", "methods.build_student.seen_by",
                                  "train.teaching.fitted_projection", "methods.swap_attention._seen"])  # fmt: skip
def test_what_fits_passes_and_is_not_worked_on(
    ahead: Ahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, work: str
) -> None:
    monkeypatch.setattr(f"compress.{work}", lambda *_, **__: pytest.fail("it was"))
    walk, start = ahead(TRAINED + RIGHT.replace("MODEL", str(tmp_path / "model")))
    with caplog.at_level(logging.INFO, "compress"):
        rehearse(walk, start)
    assert not caplog.records
    assert not walk.records
    assert not list(walk.cache.root.glob("*/*"))


def test_nothing_is_said_of_a_model_whose_shape_only_the_work_tells(ahead: Ahead) -> None:
    walk, start = ahead(TRAINED + "  - prune_weights: {fraction: 0.5, shape: head_row}\n"
                        "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [9, 9]}\n")  # fmt: skip
    rehearse(walk, start)


def test_steps_that_the_cache_holds_are_taken_from_it(ahead: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    walk, start = ahead(TRAINED + "  - drop_layers: {layers: 2}\n"
                        "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [2, 9]}\n")  # fmt: skip
    for stop in list(stops_ahead(walk, start).stops.values())[1:3]:
        write_model(tiny_bert(), walk.cache.partial("steps", stop.key))
        walk.cache.finish("steps", stop.key, {})
    monkeypatch.setattr(checks, "call_of", lambda *_: pytest.fail("the step that is left tells at once itself"))
    rehearse(walk, start)


def test_a_disk_without_room_for_the_answers_is_told_before_the_teacher_trains(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil._ntuple_diskusage(100, 90, 10)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    taught = "  - drop_layers: {layers: 2}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}WHERE}\n"
    with pytest.raises(InputError, match=r"the teacher's answers need .* GB, but the disk of .* has 0\.00 GB free"):
        rehearse(*ahead(TRAINED + taught.replace("WHERE", "")))
    rehearse(*ahead(TRAINED + taught.replace("WHERE", ", teacher_cache_bytes: 0")))
