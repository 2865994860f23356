"""A shipped folder as it lies there: what it says of itself, and which file runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import InputError
from compress.facts import FACTS, Facts, folder_and_task, read_facts, read_json
from compress.runtimes.graph_files import ENCODER, PLAIN, file_in
from compress.runtimes.runtime import Session
from compress.runtimes.table import load_runtime, settings_of
from compress.runtimes.tokenizer_file import TOKENIZER
from compress.targets import runtime_of

CONFIG, EXPORTS = "config.json", "export"
LENGTH = 512
"""Tokens of a text where nothing tells."""


@dataclass(frozen=True)
class Folder:
    """What is known of a folder before its file is opened.

    Args:
        path: The folder.
        facts: bert_compress.json.
        config: config.json.
        runtime: What runs its file, see `compress.runtimes.table`.
    """

    path: Path
    facts: Facts
    config: Mapping[str, Any]
    runtime: str

    @property
    def kind(self) -> str:
        """Of the task that it is for."""
        assert self.facts.kind is not None
        return self.facts.kind

    @property
    def labels(self) -> tuple[str, ...]:
        """The outputs' names, in their order."""
        return self.facts.labels

    @property
    def max_length(self) -> int:
        """Tokens of the longest text that it was proved on."""
        return self.facts.max_length or LENGTH

    @property
    def padding(self) -> int:
        """The id of the token that fills batches up."""
        number = self.config.get("pad_token_id")
        return number if type(number) is int and number >= 0 else 0

    def open(self, threads: int = 0, opened: Session | None = None) -> Session:
        """Open its file.

        Args:
            threads: Of the runtime; 0 is one per core.
            opened: The same file, opened for another of its tasks, so that it is held once.

        Raises:
            InputError: The runtime is not installed, or cannot load the file.
        """
        if opened is not None and opened.of_task is not None and self.facts.task_number is not None:
            return opened.of_task(self.facts.task_number)
        runtime = load_runtime(self.runtime)
        runtime.need()
        return runtime.open(runtime.place(self.path), threads=threads, **settings_of(runtime, self.facts))


def read_folder(given: str | Path) -> Folder:
    """Look into a shipped folder.

    Args:
        given: Where it is; FOLDER:TASK names one task of a file of several.

    Raises:
        InputError: It is none, what it tells of itself is damaged, or it has no such task.
    """
    path, of_task = folder_and_task(given)
    if not path.is_dir():
        raise InputError(f"{path} is no folder; name a folder that bert-compress exported, such as runs/NAME/export/TARGET.")
    if not file_in(path).is_file():
        exports = sorted(place.parent for name in (PLAIN, ENCODER) for place in path.glob(f"{EXPORTS}/*/{name}"))
        cure = f"name {' or '.join(map(str, exports))}" if exports else "export the model, and name the folder that is written"
        raise InputError(f"{path} holds no {PLAIN}, and no {ENCODER} of a model that writes; {cure}.")
    facts = read_facts(path).of_task(of_task)
    if facts.path is None or facts.kind is None:
        raise InputError(f"{path} has no {FACTS} that says what its file is for; export the model again.")
    for name in (TOKENIZER, CONFIG):
        if not (path / name).is_file():
            raise InputError(f"{path} holds no {name}; restore the file, or export the model again.")
    return Folder(path, facts, read_json(path / CONFIG), runtime_of(facts.target or ""))
