"""Keep a teacher's answers on disk, so that it reads each training example once for all epochs and for all runs of a sweep.

`<folder>/<key>/` holds one file for the logits (float32) and one for each state (float16), with a note beside each that is
written last: a file without its note, or one that does not match it, is made again. The key is made of the teacher's weights
and tokenizer, and of every text (augmented ones included) and how long it may be; states of other layers join the same folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.disk import lock_of, put, remove, sync, write_lasting
from compress.errors import InputError
from compress.log import Progress
from compress.models.checkpoint.fingerprint import fingerprint
from compress.models.states import State
from compress.tasks.encoding import Encoded
from compress.training.answers import KnownAnswers, Stored, answered
from compress.training.batches import sorted_batches
from compress.training.device import has_fast_bf16, pick_device
from compress.training.predict import BATCH_SIZE, on_device, precision, predict
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

LOGITS = "logits"
BLOCK = 1 << 24


@dataclass(frozen=True)
class _File:
    """One array of the cache: where it lies, of what type and shape."""

    path: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def note(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def partial(self) -> Path:
        return self.path.with_suffix(".partial")

    def is_whole(self) -> bool:
        """Whether the file is there as its note says."""
        if not os.path.lexists(self.note):
            return False  # it was never finished
        try:
            description = json.loads(self.note.read_text(encoding="utf-8"))
            linked = self.path.is_symlink() or self.note.is_symlink()
            sound = not linked and self.path.stat().st_size == self.size_bytes and description == self.described(self.path)
        except (OSError, ValueError, RecursionError):
            sound = False
        if not sound:
            logger.warning("%s is torn or damaged; the teacher answers again.", self.path)
        return sound

    def described(self, path: Path) -> dict[str, Any]:
        total = 0
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                total = zlib.crc32(block, total)
        return {"dtype": self.dtype, "shape": list(self.shape), "crc32": total}

    def opened(self) -> np.ndarray:
        return np.memmap(self.path, dtype=self.dtype, mode="r", shape=self.shape)

    def started(self) -> np.ndarray:
        """An empty array in a file beside; nobody else's file is written into, and no link is followed."""
        remove(self.partial)
        return np.memmap(self.partial, dtype=self.dtype, mode="w+", shape=self.shape)

    def finished(self) -> None:
        """Let the file take its name, and note what is in it once it is on the disk."""
        sync(self.partial)
        put(self.partial, self.path.parent, self.path.name)
        write_lasting(self.note, json.dumps(self.described(self.path)).encode())


def known_answers(
    teacher: PreTrainedModel,
    encoded: Encoded,
    wanted: Collection[State],
    *,
    folder: Path,
    limit_bytes: int,
    device: str,
    bf16: bool,
    progress: Progress,
    what: str = "the teacher's answers",
) -> KnownAnswers | None:
    """The teacher's answers to all examples, read from the cache or written into it.

    Args:
        teacher: Answers without dropout.
        encoded: Whole word-piece ids, as its tokenizer gives them.
        wanted: States to keep beside the logits.
        folder: The cache.
        limit_bytes: Largest size of what this call asks for; it is told before anything is written.
        device: Where the teacher computes.
        bf16: Whether it multiplies in bfloat16.
        progress: Told after each batch.
        what: The words for them in the log.

    Returns:
        None where they would be larger than the limit.

    Raises:
        InputError: The disk has no room for them.
    """
    place = folder / _key(teacher, encoded, device, bf16)
    files = _files(place, teacher, encoded, wanted)
    size_bytes = _size_bytes(files.values())
    if size_bytes > limit_bytes:
        logger.info(
            "%s would be %.2f GB, more than the %.2f GB that are kept at most, and will be computed in every step.",
            what,
            size_bytes / 1e9,
            limit_bytes / 1e9,
        )
        return None
    place.mkdir(parents=True, exist_ok=True)
    with lock_of(place / "lock"):
        missing = {state: file for state, file in files.items() if not file.is_whole()}
        if missing:
            _check_room(place, missing.values())
            logger.info(
                "writing %s to %d files, %.2f GB of %.2f GB, in %s",
                what,
                len(missing),
                _size_bytes(missing.values()) / 1e9,
                size_bytes / 1e9,
                place,
            )
            _write(teacher, encoded, missing, device, bf16, progress)
    arrays = {state: file.opened() for state, file in files.items()}
    logits = np.array(arrays.pop((LOGITS, 0)))
    starts = _starts("tokens", encoded.lengths, 0) if encoded.places is not None else None
    return KnownAnswers(logits, {state: _stored(state, array, encoded) for state, array in arrays.items()}, starts)


def kept_answers(
    teacher: PreTrainedModel, encoded: Encoded, wanted: Collection[State], run: StepContext, limit_bytes: int
) -> KnownAnswers | None:
    """The teacher's answers as `known_answers` keeps them, where a step keeps any and they are not too large; else None."""
    if run.answers is None or not limit_bytes:
        return None
    device = pick_device(run.device)
    return known_answers(
        teacher,
        encoded,
        wanted,
        folder=run.answers,
        limit_bytes=limit_bytes,
        device=device,
        bf16=has_fast_bf16(device),
        progress=run.progress,
    )


def computed_logits(teacher: PreTrainedModel, encoded: Encoded, run: StepContext) -> np.ndarray:
    """The teacher's logits, (examples, outputs), kept nowhere."""
    device = pick_device(run.device)
    teacher.to(device)
    try:
        return predict(teacher, encoded, device, bf16=has_fast_bf16(device), progress=run.progress, what="teacher")
    finally:
        teacher.cpu()


def logits_for(teacher: PreTrainedModel, encoded: Encoded, run: StepContext, limit_bytes: int) -> np.ndarray:
    """The teacher's logits, (examples, outputs), as they are kept, or computed."""
    known = kept_answers(teacher, encoded, (), run, limit_bytes)
    return computed_logits(teacher, encoded, run) if known is None else known.logits


def check_room_for_answers(
    teacher: PreTrainedModel, encoded: Encoded, wanted: Collection[State], *, folder: Path, limit_bytes: int
) -> None:
    """Refuse what `known_answers` would refuse to write into an empty cache; a teacher of the same shape will do.

    Raises:
        InputError: The disk has no room for the answers.
    """
    files = _files(folder, teacher, encoded, wanted)
    if _size_bytes(files.values()) <= limit_bytes:
        _check_room(next(path for path in (folder, *folder.parents) if path.exists()), files.values())


def _key(teacher: PreTrainedModel, encoded: Encoded, device: str, bf16: bool) -> str:
    total = hashlib.sha256(f"{fingerprint(teacher)} {torch.device(device).type} {bf16}".encode())
    for ids, types in zip(encoded.input_ids, encoded.token_type_ids or encoded.input_ids, strict=True):
        total.update(np.asarray([*ids, -1, *types, -2], dtype=np.int64).tobytes())
    return total.hexdigest()[:24]


def _shapes(teacher: PreTrainedModel, encoded: Encoded, wanted: Collection[State]) -> dict[Any, tuple[int, ...]]:
    """The whole arrays' shapes, from what the teacher answers to the shortest example."""
    shortest = encoded.batch([int(encoded.lengths.argmin())])
    logits, states = answered(teacher, on_device(shortest, teacher.device), wanted)
    rows_of_logits = len(encoded) if encoded.places is None else int(encoded.lengths.sum())
    shapes: dict[Any, tuple[int, ...]] = {(LOGITS, 0): (rows_of_logits, logits.shape[-1])}
    for kind, layer in sorted(wanted):
        width = states[kind, layer].shape[-1] if kind != "scores" else states[kind, layer].shape[1]
        rows = int(_starts(kind, encoded.lengths, width)[-1])
        shapes[kind, layer] = (rows,) if kind == "scores" else (rows, width)
    return shapes


def _files(place: Path, teacher: PreTrainedModel, encoded: Encoded, wanted: Collection[State]) -> dict[Any, _File]:
    return {state: _file(place, state, shape) for state, shape in _shapes(teacher, encoded, wanted).items()}


def _size_bytes(files: Iterable[_File]) -> int:
    return sum(file.size_bytes for file in files)


def _starts(kind: str, lengths: np.ndarray, heads: int) -> np.ndarray:
    rows = {"first": np.ones_like(lengths), "scores": heads * lengths**2}.get(kind, lengths)
    return np.concatenate([[0], np.cumsum(rows)])


def _file(place: Path, state: tuple[str, int], shape: tuple[int, ...]) -> _File:
    kind, layer = state
    return _File(place / (LOGITS if kind == LOGITS else f"{kind}_{layer}"), "f4" if kind == LOGITS else "f2", shape)


def _stored(state: State, array: np.ndarray, encoded: Encoded) -> Stored:
    kind = state[0]
    heads = len(array) // int((encoded.lengths**2).sum()) if kind == "scores" else 0
    return Stored(kind, array, _starts(kind, encoded.lengths, heads), encoded.lengths)


def _check_room(place: Path, missing: Iterable[_File]) -> None:
    needed, free = _size_bytes(missing), shutil.disk_usage(place).free
    if needed > free:
        raise InputError(
            f"the teacher's answers need {needed / 1e9:.2f} GB, but the disk of {place} has {free / 1e9:.2f} GB free; free "
            "some space, choose another --cache, or set teacher_cache_bytes to 0, and the teacher answers in every step."
        )


def _write(
    teacher: PreTrainedModel, encoded: Encoded, files: dict[Any, _File], device: str, bf16: bool, progress: Progress
) -> None:
    arrays = {state: file.started() for state, file in files.items()}
    wanted = [state for state in arrays if state[0] != LOGITS]
    batches = sorted_batches(encoded.lengths, BATCH_SIZE)
    teacher.to(device).eval()
    stored = {state: _stored(state, arrays[state], encoded) for state in wanted}
    with precision(device, bf16=bf16):
        for done, indices in enumerate(batches, 1):
            logits, states = answered(teacher, on_device(encoded.batch(indices), device), wanted)
            if (LOGITS, 0) in arrays:
                _put_logits(arrays[LOGITS, 0], encoded, indices, logits.float().cpu().numpy())
            for state in wanted:
                _put(stored[state], indices, _halved(states[state]))
            progress("teacher", done, len(batches))
    teacher.cpu()
    for state, file in files.items():
        arrays[state].flush()  # type: ignore[attr-defined]
        file.finished()


def _put_logits(array: np.ndarray, encoded: Encoded, indices: np.ndarray, logits: np.ndarray) -> None:
    if encoded.places is None:
        array[indices] = logits
        return
    starts = _starts("tokens", encoded.lengths, 0)
    for row, index in enumerate(indices):
        array[starts[index] : starts[index + 1]] = logits[row, : encoded.lengths[index]]


def _halved(values: torch.Tensor) -> np.ndarray:
    most = torch.finfo(torch.float16).max
    return values.float().clamp(-most, most).half().cpu().numpy()


def _put(stored: Stored, indices: np.ndarray, values: np.ndarray) -> None:
    for row, index in enumerate(indices):
        tokens = int(stored.lengths[index])
        part = values[row, :, :tokens, :tokens].reshape(-1) if stored.kind == "scores" else values[row, :tokens]
        stored.rows[stored.starts[index] : stored.starts[index + 1]] = part
