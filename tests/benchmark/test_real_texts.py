"""Real texts, one at a time: what is timed, what is told, and what gates make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from compress.benchmark import real_texts
from compress.benchmark.gates import judge
from compress.benchmark.measurement import measure
from compress.benchmark.real_texts import exits_of_subject, texts_of
from compress.benchmark.subjects import subject_of
from compress.errors import CompressError
from compress.models.checkpoint import save
from tests.leaving import exits_in, leaving, left
from tests.tiny_models import tiny_bert, toy_task


def test_texts_stand_one_behind_the_other() -> None:
    task = toy_task(others=6)
    encoded = task.encode(task.selection, tiny_bert().tokenizer)
    texts = texts_of(encoded)
    assert texts["lengths"].tolist() == list(encoded.lengths)
    assert texts["input_ids"].tolist() == [token for ids in encoded.input_ids for token in ids]
    assert set(texts["attention_mask"].tolist()) == {1}
    few = texts_of(encoded, 2)
    assert len(few["lengths"]) == 2


@pytest.mark.slow
@pytest.mark.matrix
def test_models_are_timed_on_texts_where_one_lets_them_leave() -> None:
    task, model, baseline = toy_task(), leaving(), tiny_bert(layers=3)
    baseline.label = "baseline"
    measured = measure([baseline, model], task=task, batch=[1], length=[8], rounds=2, samples=1).subjects
    encoded = task.encode(task.selection, model.tokenizer)
    where = left(model, **{name: torch.from_numpy(part) for name, part in encoded.batch(list(range(16))).items()})
    shares = (torch.bincount(where, minlength=3) / 16).tolist()
    assert measured[1]["exits"] == {
        "layers": [0, 1],
        "measure": "probability",
        "thresholds": exits_in(model).thresholds,
        "shares": pytest.approx(shares, abs=1e-6),
    }
    assert "exits" not in measured[0]
    (row,), (other,) = measured[1]["texts"], measured[0]["texts"]
    assert (row["device"], row["threads"], row["count"]) == ("cpu", 1, 16)
    assert row["mean_tokens"] == pytest.approx(np.mean(encoded.lengths), abs=0.01)
    assert row["mean_ms"] == pytest.approx(np.mean(row["samples"]), abs=1e-3)
    assert row["speedup"] == pytest.approx(other["mean_ms"] / row["mean_ms"], rel=1e-2)
    assert other["speedup"] == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        {"samples": [1.0], "exits": [0]},
        {"samples": [1.0, -1.0], "exits": [0, 0]},
        {"samples": [1.0, 1.0], "exits": [0, 3]},
        {"samples": [1.0, 1.0], "exits": []},
        {"samples": [1.0, 1.0]},
    ],
)
def test_answers_that_are_no_timings_are_refused(answer: dict[str, Any], tmp_path: Any, monkeypatch: Any) -> None:
    class Answering:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def ask(self, *_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            return answer, {}

        def end(self) -> None: ...

    monkeypatch.setattr(real_texts, "RuntimeProcess", Answering)
    subject = subject_of(save(leaving(), tmp_path / "saved"))
    assert exits_of_subject(subject)["layers"] == [0, 1]
    texts = {"input_ids": np.ones(6, dtype=np.int64), "lengths": np.array([4, 2])}
    with pytest.raises(CompressError, match="which are no timings"):
        real_texts.time_real_texts([subject], {subject.name: texts}, real_texts.Grid(rounds=1), baseline=subject.name)


def of_texts(name: str, target: str, mean: float, **changes: Any) -> dict[str, Any]:
    """A subject that random tokens are slow in."""
    row = {"device": "cpu", "threads": 1, "mean_ms": mean, "p95_ms": 3 * mean, "speedup": 8.0 / mean}
    slow = {"device": "cpu", "batch": 1, "length": 32, "threads": 1, "p50_ms": 10.0, "p95_ms": 20.0, "speedup": 0.5}
    return {"name": name, "target": target, "texts": [row], "latency": [slow], **changes}


def test_gates_of_what_leaves_early_are_those_of_real_texts() -> None:
    exits = {"layers": [0], "thresholds": [0.9], "shares": [0.5, 0.5]}
    subject = of_texts("exits", "onnxruntime-cpu-int8", 2.0, exits=exits)
    beside = [of_texts("float", "onnxruntime-cpu", 3.0), subject]
    judged = {gate["name"]: gate for gate in judge({"min_speedup": 3.0, "max_p95_ms": 7.0}, subject, beside)}
    assert judged["min_speedup"]["value"] == 4.0
    assert judged["max_p95_ms"]["value"] == 6.0
    assert judged["min_speedup_over_float"]["value"] == 1.5
    assert all(gate["passed"] for gate in judged.values())
    plain = of_texts("plain", "onnxruntime-cpu", 2.0)
    assert judge({"min_speedup": 3.0}, plain)[0]["value"] == 0.5
