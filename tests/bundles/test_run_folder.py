"""A finished run tells its model, its task and what it exported; what is no such run is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.bundles.run_folder import finished_run as looked_into
from compress.bundles.variants import VARIANTS
from compress.errors import InputError
from compress.facts import FACTS
from compress.marks import state_of, write_mark
from tests.bundles.runs import STEP, finished_run
from tests.tiny_models import tiny_bert, tokens


def _changed(run: Path, **changes: Any) -> None:
    path = run / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_it_gives_the_last_model_in_the_order_of_the_task_s_labels(tmp_path: Path) -> None:
    model = tiny_bert(labels=("good", "bad"))
    finished = looked_into(finished_run(tmp_path, model=model))
    task = finished.task()
    assert task.labels == ("bad", "good")
    loaded = finished.model(task)
    with torch.no_grad():
        given, expected = loaded(**tokens()).logits, model(**tokens()).logits.flip(-1)
    assert torch.allclose(given, expected, atol=1e-6)
    assert finished.source == "org/base"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": {"model": "m"}}, "tells no task"),
        ({"recipe": {"task": {"data": "sst2", "kinds": "x"}}}, "is no task"),
        ({"data": {"fingerprint": "0"}}, "is not what the run was made with"),
    ],
)
def test_a_task_that_is_not_the_run_s_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    run = finished_run(tmp_path)
    _changed(run, **changes)
    with pytest.raises(InputError, match=said):
        looked_into(run).task()


def test_a_model_that_went_away_or_was_never_told_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    task = looked_into(run).task()
    (run / "steps" / STEP).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is not there any more"):
        looked_into(run).model(task)
    _changed(run, subjects=[])
    with pytest.raises(InputError, match="tells no model"):
        looked_into(run).model(task)


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no run.json"):
        looked_into(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        looked_into(tmp_path / "nowhere")


def test_an_exported_folder_is_taken_as_long_as_it_is_as_the_run_wrote_it(tmp_path: Path) -> None:
    folder = tmp_path / "export" / "onnxruntime-cpu"
    folder.mkdir(parents=True)
    (folder / FACTS).write_text('{"schema": 1, "target": "onnxruntime-cpu"}', encoding="utf-8")
    (folder / "model.onnx").write_text("graph", encoding="utf-8")
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    finished, fp32 = looked_into(tmp_path), VARIANTS["fp32"]
    assert finished.exported(fp32) is None, "nobody tells who wrote it"
    names = [f"export/onnxruntime-cpu/{name}" for name in (FACTS, "model.onnx")]
    write_mark(tmp_path, "run", wrote={name: [state_of(tmp_path, name)] for name in names})
    assert finished.exported(fp32) == folder
    assert finished.exported(VARIANTS["q4"]) is None
    (folder / "model.onnx").write_text("other", encoding="utf-8")
    assert finished.exported(fp32) is None
