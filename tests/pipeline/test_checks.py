"""What would fail at the end is refused before the first step."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compress.cli import app
from compress.errors import InputError
from compress.models.checkpoint.saving import write_model
from compress.pipeline import RunOptions, checks, running
from compress.pipeline import steps as step_module
from compress.pipeline.cache import Cache
from compress.pipeline.checks import rehearse
from compress.pipeline.steps import Execution, StepOutput, execute_steps, stops_ahead
from compress.recipe import read_recipe
from compress.tasks.labelled import Task
from tests.pipeline.conftest import write_recipe
from tests.pipeline.run_unmeasured import bare
from tests.tiny_models import tiny_bert

Ahead = Callable[[str], tuple[Execution, StepOutput]]


@pytest.mark.parametrize("export", ["onnxruntime-cpu-int8: {activations: static}", "openvino-cpu-int8: {}"])
def test_too_few_sentences_to_calibrate_on_are_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: str
) -> None:
    monkeypatch.setattr(running, "execute_steps", lambda *_: pytest.fail("a step ran"))
    recipe = write_recipe(tmp_path, f"[{{{export}}}]")
    text = recipe.read_text(encoding="utf-8").replace("task: {data:", "task: {calibration: 0.05, data:")
    recipe.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(recipe), "--tiny", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.stderr
    assert "at least 16 are needed to find ranges" in result.stderr


def test_memory_without_segments_is_told_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "execute_steps", lambda *_: pytest.fail("a step ran"))
    recipe = write_recipe(tmp_path, "[{onnxruntime-cpu: {memory: true}}]")
    result = CliRunner().invoke(app, ["run", str(recipe), "--tiny", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.stderr
    assert "memory is true, but the model does not read segments" in result.stderr


@pytest.mark.parametrize(
    "step",
    [
        "trim_vocabulary: {text: FILE}",
        "distill: {teacher: teacher, objectives: {logits: 1.0}, text: FILE}",
        "quantize_aware: {teacher: teacher, text: FILE}",
    ],
)
def test_texts_that_are_not_there_are_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(running, "execute_steps", lambda *_: pytest.fail("a step ran"))
    steps = f"\n  - fine_tune: {{epochs: 1}}\n    as: teacher\n  - {step.replace('FILE', str(tmp_path / 'no.txt'))}\n"
    result = CliRunner().invoke(
        app, ["run", str(write_recipe(tmp_path, steps=steps)), "--tiny", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 2, result.stderr
    assert f"{step.partition(':')[0]}.text: data file {tmp_path / 'no.txt'} does not exist" in result.stderr


def test_a_file_of_texts_is_read_once_by_the_step_that_learns_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the steps its beginning is looked at; a rehearsal does not read it."""
    module = importlib.import_module("compress.training.unlabelled")
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

    def made(steps: str) -> tuple[Execution, StepOutput]:
        overrides = [f"model={tmp_path / 'model'}", "task.max_length=24", "benchmark.length=[8]"]
        plan = read_recipe(write_recipe(tmp_path, steps=steps), overrides)
        execution = Execution(plan, toy, Cache(tmp_path / "cache"), RunOptions(device="cpu"))
        return execution, StepOutput("model", "key", tmp_path / "model")

    return made


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            "  - build_student: {width: 8, heads: 2}\n  - distill: {teacher: teacher, objectives: {attention_scores: 1.0}}\n",
            "the student has 2 heads in layer 1 and the teacher 4",
        ),
        ("  - build_student: {width: 10, heads: 4}\n" + DISTILLED, r"heads is 4, which does not divide width 10"),
        (
            "  - build_student: {width: 32, initial: random}\n"
            "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, project: false}\n",
            "32 .student. with 16 .teacher.",
        ),
        (
            "  - build_student: {kind: static, embedding: 8}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}}\n",
            "finds no layer to compare",
        ),
        (
            "  - build_student: {layers: 2}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [2, 9]}\n",
            "asks for layer 9 of a teacher with layers 1 to 4",
        ),
        (
            "  - drop_layers: {layers: 2, by: contribution}\n"
            "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [1, 2, 4]}\n",
            "names 3 layers, but the student has 2",
        ),
        ("  - drop_layers: {keep: [0, 4]}\n" + DISTILLED, "drop_layers.keep names layer 4, but the model has 0 to 3"),
        ("  - theseus: {modules: 3}\n" + DISTILLED, "theseus.modules is 3, which does not divide the model's 4 layers"),
        (
            "  - build_student: {layers: 2}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}, patience: 1}\n",
            "these objectives do not teach the logits",
        ),
        (
            "  - distill: {teacher: teacher, objectives: {relations: 1.0}, relation_heads: 3}\n" + DISTILLED,
            "relation_heads is 3, which does not divide the width 16",
        ),
        (
            "  - build_student: {layers: 2}\n  - distill: {teacher: teacher, objectives: {masked_words: 1.0}}\n",
            "needs a head for masked words",
        ),
        (
            "  - swap_attention: {kind: longformer, window: 8}\n  - swap_attention: {kind: longformer, window: 8}\n",
            "the model's attention is longformer already",
        ),
        (
            "  - prune_width: {width: 8, multiple_of: 4}\n"
            "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, project: false}\n",
            "8 .student. with 16 .teacher.",
        ),
        (
            "  - prune_width: {width: 8, multiple_of: 4}\n  - prune_width: {width: 12, multiple_of: 4}\n",
            "prune_width.width is 12, but the model is 8 wide",
        ),
        (
            "  - drop_layers: {keep: [0, 1]}\n  - drop_layers: {keep: [0, 3]}\n",
            "drop_layers.keep names layer 3, but the model has 0 to 1",
        ),
        (
            "  - prune_heads: {fraction: 0.5}\n  - distill: {teacher: teacher, objectives: {attention_scores: 1.0}}\n",
            "which compares head with head",
        ),
        (
            "  - prune_heads: {fraction: 0.95}\n  - distill: {teacher: teacher, objectives: {attention_scores: 1.0}}\n",
            "of the student has no attention heads",
        ),
        ("  - prune_heads: {fraction: 0.25}\n  - prune_heads: {fraction: 0.5, at_least: 4}\n", "0 can go"),
        ("  - prune_heads: {fraction: 0.4}\n  - share_layers: {group: 2}\n" + DISTILLED, "differ in their heads or neurons"),
        ("  - prune_ffn: {fraction: 0.4, multiple_of: 4}\n  - share_layers: {group: 4}\n", "differ in their heads or neurons"),
        (
            "  - prune_ffn: {fraction: 0.5, multiple_of: 4}\n  - build_student: {layers: 2}\n",
            "the teacher's layers are of other",
        ),
        (
            "  - prune_weights: {fraction: 0.5}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [9, 9]}\n",
            "names 2 layers, but the student has 4",
        ),
        ("  - prune_weights: {fraction: 0.5, shape: block, block: [5, 5]}\n", "block 5 x 5 does not divide"),
        ("  - prune_weights: {fraction: 0.5, objectives: {logits: 1.0}}\n", "which looks at a teacher; give teacher"),
        (
            "  - prune_after_training: {macs: 0.5, multiple_of: 99}\n" + DISTILLED,
            "multiple_of is 99, but no layer has more than",
        ),
        ("  - prune_cofi: {teacher: teacher, fraction: 0.99}\n", "heads and neurons are only"),
        (
            "  - prune_cofi: {teacher: teacher, fraction: 0.5}\n  - prune_cofi: {teacher: teacher, fraction: 0.5, "
            "teacher_layers: [5]}\n",
            "teacher_layers is .5.; layers 1 to 4",
        ),
        ("  - low_rank: {rank: 9}\n" + DISTILLED, "is no smaller or faster above 7"),
        ("  - low_rank: {macs: 0.01}\n" + DISTILLED, "stay at the smallest ranks"),
        ("  - low_rank: {energy: 0.9}\n  - prune_heads: {fraction: 0.5}\n", "has Linears of low rank"),
        ("  - share_layers: {groups: [1, 2]}\n", "the model has 4"),
        ("  - share_layers: {group: 2}\n  - share_layers: {group: 2}\n", "share these weights already"),
        ("  - factorize_embedding: {rank: 4}\n  - factorize_embedding: {rank: 6}\n", "the table has 4 columns already"),
        ("  - factorize_embedding: {energy: 0.9}\n  - prune_width: {width: 8, multiple_of: 4}\n", "word table is factorized"),
        (
            "  - trim_vocabulary: {}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}}\n",
            "have different vocabularies",
        ),
        ("  - trim_vocabulary: {}\n  - trim_vocabulary: {}\n", "pieces stay; raise min_count"),
        ("  - quantize_aware: {start_step: 99}\n", "start_step is 99, but an epoch has"),
        ("  - quantize_aware: {epochs: 1}\n  - quantize_aware: {epochs: 1}\n", "the model is quantized already"),
        ("  - quantize_aware: {epochs: 1}\n  - prune_ffn: {fraction: 0.5}\n", "the model quantizes; prune it"),
        (
            "  - distill: {teacher: teacher, objectives: {logits: 1.0}, augment: {kind: masking, probability: 0.9, "
            "mask: 0.9}}\n",
            "keep their sum at 1 or below",
        ),
        ("  - load_student: {checkpoint: MODEL}\n  - drop_layers: {keep: [7]}\n", "names layer 7"),
    ],
)
def test_what_does_not_fit_is_told_before_the_teacher_trains(
    tmp_path: Path, ahead: Ahead, monkeypatch: pytest.MonkeyPatch, steps: str, said: str
) -> None:
    monkeypatch.setattr(running, "execute_steps", lambda *_: pytest.fail("a step ran"))
    plan = ahead(TRAINED + steps.replace("MODEL", str(tmp_path / "model")))[0].plan
    with pytest.raises(InputError, match=said):
        running.run(plan, RunOptions(out=tmp_path / "out", device="cpu"))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("  - prune_to_latency: {speedup: 2, length: 8}\n  - drop_layers: {keep: [0, 4]}\n", "names layer 4, but"),
        ("  - prune_to_latency: {speedup: 2, length: 99}\n", "prune_to_latency.length is 99"),
        (
            "  - prune_to_latency: {speedup: 2, length: 9}\n  - prune_to_latency: {speedup: 2, length: 99}\n",
            "prune_to_latency.length is 99",
        ),
        (
            "  - prune_to_latency: {speedup: 4, schedule: [2], length: 8, teacher: model}\n  - theseus: {modules: 7}\n",
            "theseus.modules is 7, which does not divide",
        ),
    ],
)
def test_what_no_time_makes_fit_is_told_before_anything_is_timed(ahead: Ahead, steps: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rehearse(*ahead(TRAINED + steps))


def test_what_is_refused_for_every_guess_is_said_to_be_an_example(ahead: Ahead) -> None:
    steps = "  - prune_heads: {fraction: 0.5}\n  - distill: {teacher: teacher, objectives: {attention_scores: 1.0}}\n"
    with pytest.raises(InputError, match=r"head with head.*the numbers are those of one example"):
        rehearse(*ahead(TRAINED + steps))
    steps = "  - prune_heads: {fraction: 0.5}\n  - drop_layers: {keep: [9]}\n"
    with pytest.raises(InputError, match=r"names layer 9.*name some of these\.$"):
        rehearse(*ahead(TRAINED + steps))


RIGHT = (
    "  - build_student: {width: 8, heads: 4}\n  - distill: {teacher: teacher, objectives: {attention_scores: 1.0, "
    "hidden: 1.0}, augment: {kind: masking}}\n  - load_student: {checkpoint: MODEL}\n"
    "  - swap_attention: {kind: reformer}\n  - load_student: {checkpoint: MODEL}\n"
    "  - build_student: {kind: static, embedding: 8}\n" + DISTILLED
)


def test_a_teacher_that_reads_less_than_the_task_s_texts_is_told_where_its_states_are_compared(ahead: Ahead) -> None:
    steps = (
        "\n  - fine_tune: {epochs: 1, max_length: 24}\n    as: teacher\n"
        "  - swap_attention: {kind: longformer, window: 8, max_length: 40}\n"
        "  - distill: {teacher: teacher, objectives: {ONE: 1.0}, epochs: 1}\n"
    )
    for objective, message in (("hidden", "reads 24 tokens at most; give distill max_length: 24"), ("logits", None)):
        execution, start = ahead(steps.replace("ONE", objective))
        execution.task = dataclasses.replace(execution.task, max_length=40)
        with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
            rehearse(execution, start)


@pytest.mark.parametrize(
    "work",
    [
        "training.loop._prepare",
        "methods.distill.augmented",
        "methods.build_student.seen_by",
        "training.teaching.fitted_projection",
        "methods.swap_attention._seen",
    ],
)
def test_what_fits_passes_and_is_not_worked_on(
    ahead: Ahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, work: str
) -> None:
    monkeypatch.setattr(f"compress.{work}", lambda *_, **__: pytest.fail("it was"))
    execution, start = ahead(TRAINED + RIGHT.replace("MODEL", str(tmp_path / "model")))
    with caplog.at_level(logging.INFO, "compress"):
        rehearse(execution, start)
    assert not caplog.records
    assert not execution.records
    assert not list(execution.cache.root.glob("*/*"))


@pytest.mark.parametrize(
    "steps",
    [
        "  - prune_heads: {fraction: 0.25}\n"
        "  - distill: {teacher: teacher, objectives: {attention_scores: 1.0}, layers: last}\n",  # the last layer may keep all
        "  - prune_heads: {fraction: 0.75}\n  - distill: {teacher: teacher, objectives: {relations: 1.0}, layers: last}\n",
        "  - prune_heads: {fraction: 0.25, at_least: 3}\n  - share_layers: {group: 4}\n",  # each layer loses one
        "  - prune_heads: {fraction: 0.06}\n  - share_layers: {groups: [1, 3]}\n",
        "  - prune_to_latency: {speedup: 2, length: 8}\n  - theseus: {modules: 1}\n",
        "  - prune_to_latency: {speedup: 3, length: 8}\n  - drop_layers: {keep: [0, 2]}\n",
        "  - prune_to_latency: {p50_ms: 2, length: 8}\n"
        "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [1, 2, 4]}\n",
        "  - prune_weights: {fraction: 0.5, shape: block, block: [4, 4]}\n  - prune_ffn: {fraction: 0.3, multiple_of: 8}\n",
        "  - prune_cofi: {teacher: teacher, fraction: 0.5, width: true}\n"
        "  - distill: {teacher: teacher, objectives: {hidden: 1.0}, project: false}\n",
        "  - prune_after_training: {speedup: 1.5, length: 8}\n  - prune_ffn: {fraction: 0.5, multiple_of: 8}\n",
        "  - low_rank: {energy: 0.9}\n  - factorize_embedding: {energy: 0.9}\n",
    ],
)
def test_nothing_is_refused_that_may_fit_what_the_work_finds(ahead: Ahead, steps: str) -> None:
    rehearse(*ahead(TRAINED + steps + DISTILLED))


def test_steps_that_the_cache_holds_are_taken_from_it(ahead: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    execution, start = ahead(
        TRAINED + "  - drop_layers: {layers: 2}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}, layers: [2, 9]}\n"
    )
    for stop in list(stops_ahead(execution, start).stops.values())[1:3]:
        write_model(tiny_bert(), execution.cache.partial("steps", stop.key))
        execution.cache.finish("steps", stop.key, {})
    rehearsed: list[str] = []
    monkeypatch.setattr(checks, "call_of", lambda execution, step, run: rehearsed.append(step.name) or (lambda model: model))
    rehearse(execution, start)
    assert rehearsed == ["distill"]


def test_a_disk_without_room_for_the_answers_is_told_before_the_teacher_trains(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil._ntuple_diskusage(100, 90, 10)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    taught = "  - drop_layers: {layers: 2}\n  - distill: {teacher: teacher, objectives: {hidden: 1.0}WHERE}\n"
    with pytest.raises(InputError, match=r"the teacher's answers need .* GB, but the disk of .* has 0\.00 GB free"):
        rehearse(*ahead(TRAINED + taught.replace("WHERE", "")))
    rehearse(*ahead(TRAINED + taught.replace("WHERE", ", teacher_cache_bytes: 0")))


def test_keys_are_worked_out_once_in_a_run(ahead: Ahead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a rehearsal goes through the steps many times."""
    counts: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(step_module, name)

        def counted(*given: Any) -> Any:
            counts[name] += 1
            return original(*given)

        counted.__name__ = name
        return counted

    for name in ("_key", "source_digest", "_file_digest", "folder_digest"):
        monkeypatch.setattr(step_module, name, counting(name))
    (tmp_path / "texts.txt").write_text("a good film\nthe plot\n", encoding="utf-8")
    texts = f"text: {tmp_path / 'texts.txt'}"
    execution, start = ahead(
        TRAINED + f"  - load_student: {{checkpoint: {tmp_path / 'model'}}}\n  - prune_heads: {{fraction: 0.5}}\n"
        f"  - distill: {{teacher: teacher, objectives: {{attention_scores: 1.0}}, {texts}}}\n"
        f"  - distill: {{teacher: teacher, objectives: {{logits: 1.0}}, {texts}}}\n"
    )
    with pytest.raises(InputError, match="head with head"):
        rehearse(execution, start)
    keys = {name: stop.key for name, stop in stops_ahead(execution, start).stops.items()}
    assert counts == {"_key": 5, "source_digest": 5, "_file_digest": 1, "folder_digest": 1}
    monkeypatch.setattr(step_module, "_make_step", lambda execution, step, before, key: pytest.fail(key))
    with pytest.raises(pytest.fail.Exception, match=keys["teacher"]):
        execute_steps(execution, start)
    assert counts["_key"] == 5
    execution.keys.clear()
    assert {name: stop.key for name, stop in stops_ahead(execution, start).stops.items()} == keys


def test_a_damaged_file_of_vectors_is_told_before_the_first_step_and_is_exit_code_2(tmp_path: Path, ahead: Ahead) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("a 1 2 3\nfilm 4 5 6\ngood 7 8\n", encoding="utf-8")
    build = f"\n  - build_student: {{kind: static, vectors: {path}}}\n"
    said = f"build_student.vectors: {path}, line 3: it has 2 numbers, but the vectors are 3 wide"
    with pytest.raises(InputError, match=re.escape(said)):
        rehearse(*ahead(TRAINED + build.lstrip("\n") + DISTILLED))
    recipe = write_recipe(tmp_path, steps=f"{build}  - fine_tune: {{epochs: 1}}\n")
    result = CliRunner().invoke(app, ["run", str(recipe), "--tiny", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.stderr
    assert said in result.stderr
    assert not list((tmp_path / "out").rglob("*.safetensors"))
