"""Read texts of any length in constant memory, with a file that reads one segment and hands on what it remembers.

Imports no torch.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError
from compress.facts import read_facts
from compress.run_errors import refuse_run
from compress.runtimes.graph_files import PAST, PRESENT
from compress.runtimes.runtime import INPUTS, Dimensions
from compress.runtimes.table import load_runtime, settings_of
from compress.runtimes.tokenizer_file import TOKENIZER, read_tokenizer, unreadable

SEGMENT_FILE = "segment.onnx"
PIECE = 1 << 14
"""Characters that are cut into tokens at once."""

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class SegmentFile:
    """An opened segment.onnx.

    Args:
        inputs: What it asks for: names and shapes, None for sizes that are free.
        run: Turns named arrays into named arrays.
        path: The file, for messages.
    """

    inputs: Mapping[str, Dimensions]
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
    path: Path = Path(SEGMENT_FILE)

    def start(self, batch: int) -> State:
        """What reading `batch` texts begins with."""
        return {
            name: np.zeros((batch, *(size or 0 for size in shape[1:])), dtype=np.float32)
            for name, shape in self.inputs.items()
            if name.startswith(PAST)
        }

    def read(self, tokens: Mapping[str, np.ndarray], state: State, *, segment: int | None = None) -> tuple[np.ndarray, State]:
        """Read a segment.

        Args:
            tokens: input_ids and attention_mask, (batch, tokens): the text's first token, and the segment's.
            state: Of the segment before.
            segment: Tokens that it reads at most, for messages.

        Returns:
            The logits for the text so far, (batch, labels), and what to go on with.

        Raises:
            InputError: The runtime cannot run it, because there are too many tokens for instance.
        """
        ids = tokens["input_ids"]
        given = {
            name: np.ascontiguousarray(tokens.get(name, np.zeros_like(ids)), dtype=np.int64)
            for name in self.inputs
            if name in INPUTS
        }
        try:
            outputs = self.run(given | state)
        except Exception as err:  # the runtimes' errors have no common class of their own
            refuse_run(err, self.path, tokens, most=segment)
        return outputs["logits"], {
            PAST + name.removeprefix(PRESENT): value for name, value in outputs.items() if name.startswith(PRESENT)
        }

    def read_batch(self, batch: Mapping[str, np.ndarray], segment: int) -> np.ndarray:
        """Read whole texts, (batch, length), segment by segment; the logits, (batch, labels)."""
        count, length = batch["input_ids"].shape
        state, logits = self.start(count), np.empty(0)
        for start in range(1, max(length, 2), segment - 1):
            part = {
                name: np.concatenate([values[:, :1], values[:, start : start + segment - 1]], 1)
                for name, values in batch.items()
            }
            logits, state = self.read(part, state, segment=segment)
        return np.asarray(logits, dtype=np.float32)


def open_segment_file(path: Path, *, runtime: str = "onnxruntime", threads: int = 0, **options: Any) -> SegmentFile:
    """Open a segment.onnx.

    Args:
        path: The file.
        runtime: What runs it, on the CPU; see `compress.runtimes.table`.
        threads: Threads inside an operator; 0 is one per core.
        options: The runtime's own.

    Raises:
        InputError: It cannot be loaded.
    """
    session = load_runtime(runtime).graph(path, threads=threads, **options)
    return SegmentFile(session.inputs, session.run, path)


class SegmentReader:
    """Answers for texts of any length, in memory that does not grow with them.

    Args:
        folder: That a model with `swap_attention: {kind: transformer_xl}` was exported to, with `memory: true`.
        runtime: "onnxruntime", "openvino", or another that reads such files; see `bert-compress list runtimes`.
        threads: Of the runtime; 0 is one per core.

    Raises:
        InputError: The folder holds no such file, or what it tells of itself or its tokenizer is damaged.
    """

    def __init__(self, folder: str | Path, *, runtime: str = "onnxruntime", threads: int = 0) -> None:
        folder = Path(folder)
        facts = read_facts(folder)
        if facts.segment is None or not facts.labels or not (folder / SEGMENT_FILE).is_file():
            raise InputError(
                f"{folder} holds no model that reads segments; export one that has swap_attention's "
                "transformer_xl or chunk_and_pool, with memory: true."
            )
        self.segment, self.labels = facts.segment.tokens, facts.labels
        settings = settings_of(load_runtime(runtime), facts)
        self._file = open_segment_file(folder / SEGMENT_FILE, runtime=runtime, threads=threads, **settings)
        path = folder / TOKENIZER
        self._tokenizer = read_tokenizer(path)
        try:
            self._first, self._last = self._tokenizer.encode("").ids
        except ValueError as err:
            raise unreadable(path, err, "a tokenizer that puts a token before and behind a text") from err

    def read(self, text: str | Iterable[str]) -> np.ndarray:
        """The logits for a text, (labels,).

        Args:
            text: Whole, or its parts in turn, of a file's lines for instance; only a part is held at once.
        """
        return self.read_ids(self._ids([text] if isinstance(text, str) else text))

    def read_ids(self, ids: Iterable[int]) -> np.ndarray:
        """The logits for the tokens of a text, (labels,), [CLS] and [SEP] not among them."""
        return deque(self.follow_ids(ids), maxlen=1).pop()

    def follow_ids(self, ids: Iterable[int]) -> Iterator[np.ndarray]:
        """The logits for the text so far, (labels,), after each segment."""
        state, rest = self._file.start(1), _closed(ids, self._last)
        while part := list(islice(rest, self.segment - 1)):
            tokens = np.array([[self._first, *part]], dtype=np.int64)
            given = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
            logits, state = self._file.read(given, state, segment=self.segment)
            yield logits[0]

    def _ids(self, parts: Iterable[str]) -> Iterator[int]:
        for piece in _whole_words(parts):
            yield from self._tokenizer.encode(piece, add_special_tokens=False).ids


def _closed(ids: Iterable[int], last: int) -> Iterator[int]:
    yield from ids
    yield last


def _whole_words(parts: Iterable[str]) -> Iterator[str]:
    """The text in pieces that end where a word does, so that they are cut into tokens as the whole text is."""
    buffer = ""
    for part in parts:
        for start in range(0, len(part), PIECE):
            buffer += part[start : start + PIECE]
            words = re.match(r".*\s", buffer, re.DOTALL) if len(buffer) >= PIECE else None
            if words:
                yield words[0]
                buffer = buffer[words.end() :]
    if buffer:
        yield buffer
