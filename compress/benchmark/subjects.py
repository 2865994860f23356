"""What is measured: a folder with a torch model, or a folder with an ONNX file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compress.errors import InputError, shown
from compress.facts import Facts, folder_and_task, read_facts
from compress.facts import read_json as read_json
from compress.runtimes.graph_files import PLAIN, file_in
from compress.runtimes.table import DEFAULT, TRAINED, is_exported
from compress.targets import runtime_of

WEIGHTS, CONFIG = "model.safetensors", "config.json"
AFTER_PADDING = (
    "roberta",
    "xlm-roberta",
    "camembert",
    "xlm-roberta-xl",
    "longformer",
    "mpnet",
    "data2vec-text",
    "roberta-prelayernorm",
)
"""Kinds of models whose positions are counted from the padding's number on."""
MOST = 2**31 - 1


@dataclass(frozen=True)
class Subject:
    """A folder that is measured.

    Args:
        name: What it is called in tables; no two are called alike.
        kind: What runs it, of `compress.runtimes.table`: "torch", "onnx" (onnxruntime), "openvino", ...
        target: What it was exported for; "torch" for a torch model, "onnx" where nothing tells.
        path: The folder.
        in_memory: The folder is only there for the time of measuring.
        of_task: Which of several tasks its file is asked for; None for the only one, or the first.
    """

    name: str
    kind: str
    target: str
    path: Path
    in_memory: bool = False
    of_task: str | None = None

    def facts(self) -> Facts:
        """What the folder tells of itself, and of the task."""
        return read_facts(self.path).of_task(self.of_task)

    @property
    def file(self) -> Path | None:
        """The ONNX file that was exported, the first of two of a model that writes; None of a torch model."""
        return file_in(self.path) if is_exported(self.kind) else None


def subject_of(folder: str | Path, name: str | None = None) -> Subject:
    """Look into a folder: with model.onnx it is an ONNX file, with config.json and model.safetensors a torch model.

    Args:
        folder: Where it is; FOLDER:TASK names one task of a file of several.
        name: What it is called; the folder's name, and the task's, if None.

    Raises:
        InputError: It is neither, or has no such task.
    """
    path, of_task = folder_and_task(Path(folder).expanduser())
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give a folder with {PLAIN}, or with {CONFIG} and {WEIGHTS}.")
    called = name or Path(os.path.abspath(path)).name + ("" if of_task is None else f":{of_task}")
    file = file_in(path)
    if file.is_file():
        _need_config(path, file.name)
        target = read_facts(path).of_task(of_task).target or DEFAULT
        return Subject(called, runtime_of(target), target, path, of_task=of_task)
    if weight_files(path):
        _need_config(path, WEIGHTS)
        Facts(path / CONFIG).of_task(of_task)
        return Subject(called, TRAINED, TRAINED, path)
    contents = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    raise InputError(
        f"{path} holds {contents}; a folder with {PLAIN}, or with {CONFIG} and {WEIGHTS}, can be measured. "
        "Name the folder of one model, such as runs/NAME/export/TARGET."
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a torch model: one, or the shards that an index names."""
    index = folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        names = {Path(str(name)).name for name in shards.values()} if isinstance(shards, dict) else set()
        return [folder / name for name in sorted(names)]
    return [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else []


@contextlib.contextmanager
def subjects_on_disk(given: Sequence[Any]) -> Iterator[list[Subject]]:
    """Turn folders, exports and models in memory into subjects with different names; models are saved for the time.

    Raises:
        InputError: Nothing is given, something cannot be measured, or two Subjects have one name.
    """
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        what = "an empty list" if isinstance(given, list | tuple) else f"a {type(given).__name__}"
        raise InputError(f"subjects is {what}; a list of models or folders is needed: put at least one into a list.")
    with tempfile.TemporaryDirectory(prefix="compress-measure-") as rooms:
        subjects: list[Subject] = []
        for index, source in enumerate(given):
            subject = _subject(source, Path(rooms) / str(index))
            taken = {other.name for other in subjects}
            if subject.name in taken:
                if isinstance(source, Subject):
                    raise InputError(f"two subjects are called {subject.name!r}; give each a name of its own.")
                subject = replace(subject, name=free_name(subject.name, taken))
            subjects.append(subject)
        yield subjects


def _subject(source: Any, room: Path) -> Subject:
    if isinstance(source, Subject):
        checked = subject_of(source.path, source.name)
        if checked.kind != source.kind:
            raise InputError(f"subject {source.name!r} is said to be {source.kind}, but {source.path} holds {checked.kind}.")
        return source
    if isinstance(source, str | Path):
        return subject_of(source)
    if isinstance(getattr(source, "path", None), Path):  # what compress.export gives
        return subject_of(source.path, getattr(source, "name", None))
    if hasattr(source, "state_dict") and hasattr(source, "config"):
        from compress.models.checkpoint import save

        if not hasattr(source, "tokenizer"):
            raise InputError(
                f"the {type(source).__name__} to measure has no tokenizer; load it with compress.load, or set model.tokenizer."
            )
        save(source, room)
        label = str(getattr(source, "label", "") or "model")
        return Subject(label, TRAINED, TRAINED, room, in_memory=True)
    raise InputError(f"{type(source).__name__} cannot be measured; give a model, a folder or what compress.export returned.")


def free_name(name: str, taken: Collection[str]) -> str:
    """The name itself, or with the first number behind it that makes it one of its own."""
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def _need_config(folder: Path, beside: str) -> None:
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} has {beside} but no {CONFIG}; copy it from the model that the file was made of.")


def input_limits(subject: Subject) -> tuple[int, int]:
    """Read the size of the vocabulary and the longest length off config.json: of what reads, if another part writes.

    Raises:
        InputError: config.json does not tell them.
    """
    config = read_json(subject.path / CONFIG)
    config = config["encoder"] if isinstance(config.get("encoder"), dict) else config
    vocabulary, positions = (_count(subject, config, key) for key in ("vocab_size", "max_position_embeddings"))
    if config.get("model_type") not in AFTER_PADDING:
        return vocabulary, positions
    padding = config.get("pad_token_id", 1)
    used = padding + 1 if type(padding) is int and 0 <= padding < positions - 1 else 0
    return vocabulary, positions - used


def label_count(subject: Subject) -> int | None:
    """Read off config.json, or what is told of the task, how many labels there are; None where nothing names them.

    Raises:
        InputError: What should name them does not.
    """
    if subject.of_task is not None and (labels := subject.facts().labels):
        return len(labels)
    names = read_json(subject.path / CONFIG).get("id2label")
    if names is None:
        return None
    if not isinstance(names, dict) or not names:
        raise InputError(
            f"{subject.path / CONFIG}: id2label is {shown(names)}; an object of one label or more is needed: restore it."
        )
    return len(names)


def _count(subject: Subject, config: dict[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or not 1 <= value <= MOST:
        raise InputError(
            f"{subject.path / CONFIG}: {key} is {shown(value)}; a whole number from 1 to {MOST} is needed: restore the file."
        )
    return value
