"""Exported folders of every kind of task, served, against what their files say when they are run directly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from transformers import AutoTokenizer

import compress as cp
from compress.facts import read_facts
from compress.runtimes.runtime import LOGITS, VECTORS
from compress.tasks import TASKS, task
from compress.tasks.tags import entities
from tests.serving.servers import posted
from tests.tasks.kinds import ROWS
from tests.tiers import mostly_matrix
from tests.tiny_models import LONGEST, tiny_of
from tests.written_texts import tiny_writer, writing_task

TEXT, PAIR = "the film was very good and it was fine", "the plot was dull and bad"
PAIRED = ("reranking", "question-answering")
MASKED = "the [MASK] was very good"


def export(kind: str, room: Path) -> Path:
    """Export a tiny model of a kind."""
    if kind == "sequence-to-sequence":
        read = writing_task()
        model = tiny_writer(read)
    else:
        rows = {"train": str(ROWS[kind](room, 120))}
        read = task(rows, kind=kind, max_length=LONGEST, calibration=0.3, allow_unknown=True)
        model = tiny_of("bert", task=read)
    return cp.export(model, room / "file", target="onnxruntime-cpu", task=read).path


def outputs(folder: Path, *texts: str) -> np.ndarray:
    """What the file says of a text or a pair alone, tokenized by transformers."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    encoded = AutoTokenizer.from_pretrained(folder)(*texts, return_tensors="np")
    given = {node.name: encoded[node.name].astype(np.int64) for node in session.get_inputs()}
    names = [node.name for node in session.get_outputs()]
    return np.asarray(session.run([next(name for name in (LOGITS, VECTORS) if name in names)], given)[0][0])


def expected(kind: str, folder: Path) -> Any:
    """What `compared` should find, by hand."""
    facts = read_facts(folder)
    if kind == "sequence-to-sequence":
        return cp.TextWriter(folder).write([TEXT])[0]
    if kind == "question-answering":
        answer = cp.QuestionReader(folder).answer(TEXT, PAIR)
        return None if answer is None else answer.text
    said = outputs(folder, *([TEXT, PAIR] if kind in PAIRED else [MASKED if kind == "masked-words" else TEXT]))
    if kind == "text-classification":
        return facts.labels[said.argmax()]
    if kind == "multi-label-classification":
        return [
            name
            for name, logit, least in zip(facts.labels, said, facts.settled, strict=True)
            if 1 / (1 + np.exp(-logit)) > least
        ]
    if kind == "token-classification":
        tags, words = [facts.labels[number] for number in said[1:-1].argmax(1)], TEXT.split()  # each word is a piece
        return [(label, " ".join(words[first:end])) for label, first, end in sorted(entities(tags), key=lambda span: span[1])]
    if kind == "masked-words":
        return AutoTokenizer.from_pretrained(folder).convert_ids_to_tokens(int(said[2].argmax()))
    if kind == "sentence-embedding":
        return pytest.approx(said.tolist(), abs=1e-5)
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("sentence_transformers", {})
    is_sigmoid = stated.get("activation_fn", "").endswith("Sigmoid")
    return pytest.approx(1 / (1 + math.exp(-said[0])) if is_sigmoid else float(said[0]), abs=1e-5)


def compared(kind: str, answer: Any) -> Any:
    """The part of an answer that is compared."""
    if kind == "token-classification":
        return [(span["label"], span["text"]) for span in answer["spans"]]
    if kind == "masked-words":
        return answer["masks"][0]["pieces"][0]["piece"]
    keys = ("label", "labels", "text", "answer", "score", "vector")
    return next(answer[key] for key in keys if key in answer)


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_matrix(TASKS, always=["sequence-to-sequence"]))
def test_the_server_says_what_the_file_says(kind: str, tmp_path: Path) -> None:
    folder = export(kind, tmp_path)
    item = {"text": TEXT, "pair": PAIR} if kind in PAIRED else MASKED if kind == "masked-words" else TEXT
    status, body = posted({"m": folder}, "/models/m/answers", {"inputs": [item, item]})
    assert status == 200, body
    wanted = expected(kind, folder)
    assert [compared(kind, answer) for answer in body["answers"]] == [wanted, wanted]
