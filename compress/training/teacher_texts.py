"""What a teacher writes for the training texts, to be learned in the place of the data's: sequence-level distillation.

Source: Kim and Rush 2016, arXiv 1606.07947, section 3.2.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from compress.disk import lock_of, write_lasting
from compress.models.checkpoint.fingerprint import fingerprint
from compress.models.encoder_decoder import search_with
from compress.tasks.written import as_targets
from compress.training.device import has_fast_bf16, pick_device
from compress.training.predict import predict
from compress.training.step_context import StepContext

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)


def taught_texts(task: Task, teacher: PreTrainedModel, beams: int, run: StepContext) -> Task:
    """The same task, whose training texts to write are the teacher's.

    Args:
        task: Its training part is read.
        teacher: Writes; stays as it is.
        beams: Texts that it follows at once.
        run: Device, progress, and the folder where what it has written is kept for other runs.
    """
    encoded = task.read_by(teacher).encode(task.train.require("train"), teacher.tokenizer).unwritten
    known = None if run.answers is None else run.answers / f"{_key(teacher, encoded, beams)}.json"
    texts = None if known is None else _kept(known, len(encoded))
    if texts is None:
        logger.info("the teacher writes %d texts, %d beams", len(encoded), beams)
        texts = _written(task, teacher, encoded, beams, run)
        if known is not None:
            known.parent.mkdir(parents=True, exist_ok=True)
            with lock_of(known.with_suffix(".lock")):
                write_lasting(known, json.dumps(texts, ensure_ascii=False).encode())
    return replace(task, train=replace(task.train, labels=as_targets(texts)))


def _written(task: Task, teacher: PreTrainedModel, encoded: Encoded, beams: int, run: StepContext) -> list[str]:
    device = pick_device(run.device)
    teacher.to(device)
    try:
        bf16 = has_fast_bf16(device)
        ids = predict(teacher, encoded, device, bf16=bf16, progress=run.progress, what="teacher", beams=beams)
    finally:
        teacher.cpu()
    said: list[str] = encoded.labels.said(ids)
    return said


def _key(teacher: PreTrainedModel, encoded: Encoded, beams: int) -> str:
    total = hashlib.sha256(f"{fingerprint(teacher)} {search_with(teacher, beams)}".encode())
    total.update(teacher.tokenizer.writer.backend_tokenizer.to_str().encode())
    total.update(json.dumps(encoded.input_ids).encode())
    return total.hexdigest()[:24]


def _kept(path: Path, count: int) -> list[str] | None:
    """Texts that were written before; None where there are none, or where they are damaged."""
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_whole = isinstance(texts, list) and len(texts) == count and all(isinstance(text, str) for text in texts)
    return texts if is_whole else None
