"""Run a subject over batches, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.benchmark.counts import WORKER
from compress.benchmark.subjects import CONFIG, Subject, input_limits, label_count
from compress.errors import InputError
from compress.log import libraries_silenced
from compress.runtimes.foreign_file import ForeignFile
from compress.runtimes.limits import TIME_LIMIT_SECONDS
from compress.runtimes.process import RuntimeProcess
from compress.runtimes.runtime import LOGITS
from compress.runtimes.table import RUNTIMES, load_runtime, settings_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
VOCABULARIES = ("tokenizer.json", "vocab.txt")


@dataclass(frozen=True)
class Runner:
    """A subject that is open. Used with `with`, it is closed at the end.

    Args:
        run: Turns a batch (input_ids, attention_mask and, where the tokenizer gives them, token_type_ids; each
            (batch, length)) into logits, (batch, labels), float32.
        tokenizer: The subject's own.
        model: The torch model, if it is one.
        process: Where a runtime has the file open, if one does.
    """

    run: Run
    tokenizer: Any
    model: PreTrainedModel | None = None
    process: RuntimeProcess | None = None

    def __enter__(self) -> Runner:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        if self.process is not None:
            self.process.end()


def check_device(device: str, kinds: set[str]) -> None:
    """Raise InputError unless every kind of subject can run on the device."""
    if device.partition(":")[0] not in ("cpu", "cuda") or not _is_device(device):
        raise InputError(f"device is {device!r}; allowed: cpu, cuda, cuda:N. Correct it.")
    for kind in sorted(kinds, key=list(RUNTIMES).index):
        load_runtime(kind).need_device(device)


def _is_device(device: str) -> bool:
    kind, colon, number = device.partition(":")
    return not colon or (kind == "cuda" and number.isdecimal())


def open_runner(subject: Subject, device: str = "cpu", *, time_limit: float = TIME_LIMIT_SECONDS) -> Runner:
    """Open a subject to run batches through it: a torch model here, any other file in a process of its own.

    Args:
        subject: What to open.
        device: cpu, cuda or cuda:N.
        time_limit: Seconds that opening a file, and its answer to a batch, may take each.

    Raises:
        InputError: It cannot be loaded.
        CompressError: The runtime crashed over it, or took too long.
    """
    limits = input_limits(subject)
    runtime = load_runtime(subject.kind)
    place, how = runtime.place(subject.path), {"device": device, **settings_of(runtime, subject.facts())}
    if runtime.file is None:
        session = runtime.open(place, **how)
        own = _within(limits, subject, lambda batch: session.run(batch)[LOGITS])
        return Runner(own, session.model.tokenizer, session.model)
    tokenizer, labels = load_tokenizer(subject.path), label_count(subject)
    file = ForeignFile(place, subject.kind, module=WORKER, time_limit=time_limit, **how)
    return Runner(_within(limits, subject, lambda batch: file.run(batch, labels)), tokenizer, process=file.process)


def _within(limits: tuple[int, int], subject: Subject, run: Run) -> Run:
    """Refuse batches that the model has no positions or no words for, since runtimes crash over them, or answer nonsense."""
    vocabulary, positions = limits

    def checked(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        ids = batch["input_ids"]
        if ids.shape[1] > positions:
            raise InputError(
                f"an example has {ids.shape[1]} tokens, but {subject.name!r} reads at most {positions} "
                f"({subject.path / CONFIG}); use a shorter max_length."
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
            wrong = int(ids.min() if ids.min() < 0 else ids.max())
            raise InputError(
                f"{subject.path}: the tokenizer gives token id {wrong}, but the vocabulary has {vocabulary} words, 0 to "
                f"{vocabulary - 1}; restore the tokenizer that belongs to the model."
            )
        return run(batch)

    return checked


def load_tokenizer(folder: Path) -> Any:
    """Load the fast tokenizer that lies in a folder.

    Raises:
        InputError: There is none.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):  # AutoTokenizer would make up an empty one
        raise InputError(f"{folder} has none of {', '.join(VOCABULARIES)}; add the model's tokenizer.json.")
    with libraries_silenced():
        from compress.models.checkpoint.tokenizer import open_tokenizer
    return open_tokenizer(folder)
