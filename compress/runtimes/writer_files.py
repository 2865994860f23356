"""The two files of a model that writes: one that reads a text, and one that scores the next token. Imports no torch.

encoder.onnx takes the inputs of any encoder, and gives `cross.N.key` and `cross.N.value`, which layer N of the decoder attends
to, (batch, heads, length, head size). decoder.onnx takes `decoder_input_ids`, (batch, tokens), the text's
`attention_mask`, those, and `past.N.key` and `past.N.value` of the tokens before, (batch, heads, tokens before, head size),
none at first; it gives `logits`, (batch, tokens, vocabulary), and `present.N.key` and `present.N.value` with the new tokens.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError, shown
from compress.facts import read_json
from compress.run_errors import refuse_run
from compress.runtimes.graph_files import DECODER, ENCODER, PAST, PRESENT, graph_files
from compress.runtimes.runtime import INPUTS, LOGITS, Dimensions, Kernels, Session
from compress.runtimes.writing import GIVEN, Batch, Search, State, forced, write, write_exactly

SETTINGS = "generation_config.json"
MASK, CROSS = "attention_mask", "cross."
MOST_BEAMS, MOST_TOKENS = 64, 1 << 16
COUNTS = {
    "decoder_start_token_id": (0, 1 << 31),
    "eos_token_id": (0, 1 << 31),
    "pad_token_id": (0, 1 << 31),
    "max_length": (2, MOST_TOKENS),
    "num_beams": (1, MOST_BEAMS),
}
"""What transformers calls the numbers of a search, and between which they are."""


def settings_of_search(search: Search) -> dict[str, Any]:
    """What generation_config.json says of a search, as transformers' `generate` reads it."""
    return {
        "decoder_start_token_id": search.begin,
        "eos_token_id": search.end,
        "pad_token_id": search.padding,
        "max_length": search.longest + 1,  # the token that begins counts there
        "num_beams": search.beams,
        "length_penalty": search.length_penalty,
        "early_stopping": False,
        "do_sample": False,
    }


def read_search(folder: Path, instead: Mapping[str, Any] | None = None) -> Search:
    """Read how a folder's model writes.

    Args:
        folder: Has generation_config.json.
        instead: What stands for numbers that the file does not tell; None where it has to tell them.

    Raises:
        InputError: The file is damaged, or a number is missing or cannot be.
    """
    path = folder / SETTINGS
    values = {**(instead or {}), **(read_json(path) if path.is_file() else {})}
    for key, (least, most) in COUNTS.items():
        value = values.get(key)
        if isinstance(value, list) and len(value) == 1:
            values[key] = value = value[0]
        if type(value) is not int or not least <= value < most:
            raise InputError(
                f"{path}: {key} is {shown(value)}; allowed: a whole number from {least} to {most - 1}. Restore the file."
            )
    penalty = values.get("length_penalty", 1.0)
    if type(penalty) not in (int, float) or not math.isfinite(penalty) or abs(penalty) > 10:
        raise InputError(f"{path}: length_penalty is {shown(penalty)}; allowed: a number from -10 to 10. Restore the file.")
    numbers = [values[key] for key in COUNTS]
    return Search(numbers[0], numbers[1], numbers[2], numbers[3] - 1, numbers[4], float(penalty))


@dataclass(frozen=True)
class WriterFiles:
    """Both files, open; see `compress.runtimes.writing.Writer`."""

    encoder: Session
    decoder: Session
    path: Path = Path(ENCODER)

    def read(self, batch: Batch) -> State:
        """Read texts.

        Raises:
            InputError: The runtime cannot, because there are too many tokens for instance.
        """
        ids = batch["input_ids"]
        given = {
            name: np.ascontiguousarray(batch.get(name, np.zeros_like(ids)), dtype=np.int64) for name in self.encoder.inputs
        }
        state: State = {MASK: np.ascontiguousarray(batch[MASK], dtype=np.int64)}
        for name, shape in self.decoder.inputs.items():
            if name.startswith(PAST):
                state[name] = np.zeros((len(ids), shape[1] or 0, 0, shape[3] or 0), dtype=np.float32)
        return state | dict(self._ran(self.encoder, given, batch))

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Score what follows the next tokens."""
        given = {GIVEN: np.ascontiguousarray(ids, dtype=np.int64), **state}
        outputs = dict(self._ran(self.decoder, {name: given[name] for name in self.decoder.inputs}, {"input_ids": ids}))
        present = {PAST + name.removeprefix(PRESENT): values for name, values in outputs.items() if name.startswith(PRESENT)}
        return outputs[LOGITS], {**state, **present}

    def _ran(self, session: Session, given: Batch, batch: Batch) -> Mapping[str, np.ndarray]:
        try:
            return session.run(given)
        except Exception as err:  # the runtimes' errors have no common class of their own
            refuse_run(err, self.path, batch)


def given_of(inputs: Mapping[str, Dimensions], ids: np.ndarray) -> dict[str, np.ndarray]:
    """Something to give to either file: ids for what is read or written, and states of as many tokens, none before them."""
    count, length = ids.shape
    return {
        name: ids
        if len(shape) == 2
        else np.zeros((count, shape[1] or 1, 0 if name.startswith(PAST) else length, shape[3] or 1), dtype=np.float32)
        for name, shape in inputs.items()
    }


def check_ends(files: WriterFiles) -> None:
    """Raise InputError where two files do not belong together, or are no such files."""
    reads, writes = files.encoder, files.decoder
    cross = {name for name in writes.inputs if name.startswith(CROSS)}
    past = {name.removeprefix(PAST) for name in writes.inputs if name.startswith(PAST)}
    present = {name.removeprefix(PRESENT) for name in writes.outputs if name.startswith(PRESENT)}
    wrong = {*reads.inputs} - {*INPUTS} or cross ^ {*reads.outputs} or past ^ present
    others = {*writes.inputs} - cross - {PAST + name for name in past}
    if wrong or not cross or {GIVEN} > others or others - {GIVEN, MASK} or LOGITS not in writes.outputs:
        raise InputError(f"{files.path} and {DECODER} beside it do not belong together; export the model again.")


def open_writer(path: Path, opened: Callable[[Path], Session]) -> Session:
    """Open the two files of a model that writes as one that answers batches, see `compress.runtimes.writing.answers`.

    What is timed writes as many tokens as a text has.

    Args:
        path: encoder.onnx, beside which decoder.onnx and generation_config.json lie; the latter is read when a text is to be
            written.
        opened: Opens a file of any ends, see `Runtime.open_graph`.

    Raises:
        InputError: A file cannot be loaded, or they do not belong together.
    """
    encoder, decoder = (opened(file) for file in graph_files(path))
    files = WriterFiles(encoder, decoder, path)
    check_ends(files)
    search = functools.cache(partial(read_search, path.parent))

    def run(batch: Batch) -> dict[str, np.ndarray]:
        return {LOGITS: forced(files, batch) if GIVEN in batch else write(files, batch, search()).astype(np.float32)}

    def kernels() -> Kernels:
        both = [session.kernels() for session in (files.encoder, files.decoder)]
        floats = tuple(name for each in both for name in each.stayed_float)
        return Kernels(sum(each.integer_ops for each in both), sum(each.fused_ops for each in both), floats)

    return Session(
        run,
        files.encoder.inputs,
        kernels=kernels,
        prepare=lambda batch: partial(write_exactly, files, batch, search()),
    )
