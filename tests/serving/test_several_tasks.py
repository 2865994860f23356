"""A file of several tasks, served: each is a model of its own, and the file is held once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from compress.cli.serve import named_folders
from compress.errors import InputError
from compress.serving.hosting import Host
from tests.serving.folders import TASKS, make_folder, make_folder_of_tasks, table_for, tokenizer
from tests.serving.servers import Client, with_server

TEXT = "the film was very good"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose file answers two tasks."""
    return make_folder_of_tasks(tmp_path_factory.mktemp("folders") / "m")


def test_each_task_is_a_model_of_one_open_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **how: opened.append(args[0]) or real(*args, **how))

    async def ask(client: Client, _: Host) -> list[Any]:
        paths = [f"/models/m:{name}/predict" for name in TASKS]
        return [(await client.post(path, json={"inputs": TEXT, "raw_scores": True})).json() for path in paths]

    answers = with_server(named_folders([str(folder)]), ask)
    for seed, (labels, answer) in enumerate(zip(TASKS.values(), answers, strict=True)):
        logits = table_for("text-classification", seed)[tokenizer().encode(TEXT).ids].mean(axis=0)
        assert {each["label"]: each["score"] for each in answer} == pytest.approx(
            dict(zip(labels, logits, strict=True)), abs=1e-5
        )
    assert opened == [str(folder / "model.onnx")]


def test_folders_are_named_by_their_tasks(folder: Path, tmp_path: Path) -> None:
    single = make_folder(tmp_path / "one", "regression")
    every = {f"m:{name}": Path(f"{folder}:{name}") for name in TASKS}
    assert named_folders([str(folder), str(single)]) == {**every, "one": single}
    assert named_folders([f"{folder}:spam"]) == {"m:spam": every["m:spam"]}
    assert named_folders([f"junk={folder}:spam"]) == {"junk": every["m:spam"]}
    assert list(named_folders([f"a={folder}"])) == ["a:mood", "a:spam"]
    with pytest.raises(InputError, match="would both be called 'm:spam'"):
        named_folders([str(folder), f"{folder}:spam"])
    with pytest.raises(InputError, match="has no task 'topic'; it has mood, spam"):
        Host(named_folders([f"{folder}:topic"]), None)  # type: ignore[arg-type]
