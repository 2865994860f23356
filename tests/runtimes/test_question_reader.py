"""A folder that answers questions, opened without torch."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import compress as cp
from compress.errors import InputError
from compress.tasks import task
from compress.tasks.labelled import Task
from compress.tasks.span_answers import said_of
from compress.training.predict import predict, settled_by
from tests.tasks.kinds import ROWS
from tests.tiny_models import LONGEST, tiny_of

KIND = "question-answering"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = ROWS[KIND](tmp_path_factory.mktemp("rows"), 120)
    return task({"train": str(path)}, kind=KIND, max_length=LONGEST, calibration=0.3, allow_unknown=True)


@pytest.fixture(scope="module")
def folder(asked: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("exported") / "file"
    cp.export(tiny_of("bert", task=asked), place, target="onnxruntime-cpu", task=asked)
    return place


@pytest.mark.slow
def test_the_reader_answers_as_the_task_does(folder: Path, asked: Task) -> None:
    model = tiny_of("bert", task=asked)
    encoded = asked.encode(asked.evaluation, model.tokenizer)
    chosen = settled_by(model, asked)
    assert chosen
    answers = asked.rules.settled(predict(model, encoded), chosen, encoded.labels)
    expected = said_of(answers, encoded.labels)
    reader = cp.QuestionReader(folder)
    for question, text, wanted in zip(asked.evaluation.texts, asked.evaluation.pairs or (), expected, strict=True):
        answer = reader.answer(question, text)
        assert (answer.text if answer else "") == wanted
        assert answer is None or text[answer.start : answer.end] == answer.text
        best = reader.best(question, text, count=3)
        assert all(first.score >= second.score for first, second in pairwise(best))
        assert answer is None or best[0] == answer


@pytest.mark.slow
def test_a_long_text_is_read_to_its_end(folder: Path) -> None:
    text = "the film was dull " * 60 + "the plot was good"
    spans = cp.QuestionReader(folder).best("how was it ?", text, count=200)
    assert min(span.start for span in spans) < 40
    assert max(span.end for span in spans) > len(text) - 40
    ends = sorted((span.start, span.end) for span in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(ends))


@pytest.mark.slow
@pytest.mark.parametrize(("question", "text"), [("", "a film"), ("how ?", "  "), ("how ?", None)])
def test_nothing_to_read_is_refused(question: str, text: str, folder: Path) -> None:
    with pytest.raises(InputError, match=r"the (question|text) is .*; give a text that is not empty"):
        cp.QuestionReader(folder).answer(question, text)


@pytest.mark.slow
def test_folders_of_other_tasks_are_refused(folder: Path, tmp_path: Path) -> None:
    facts = (folder / "bert_compress.json").read_text(encoding="utf-8")
    (tmp_path / "bert_compress.json").write_text(facts.replace(KIND, "regression"), encoding="utf-8")
    with pytest.raises(InputError, match="holds no model for question-answering, but for regression"):
        cp.QuestionReader(tmp_path)
    with pytest.raises(InputError, match="count is 0; ask for 1 answer or more"):
        cp.QuestionReader(folder).best("how ?", "a film", count=0)


@pytest.mark.slow
def test_it_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys, compress\n"
        f"print(compress.QuestionReader({str(folder)!r}).best('how was it ?', 'the film was good', 1))\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "Answer(text=" in ended.stdout
