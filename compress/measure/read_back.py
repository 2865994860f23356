"""Open a shipped folder as a stranger would: by its own files and names alone, without the task that it was made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compress.errors import CompressError
from compress.log import libraries_silenced
from compress.measure.accuracy import BATCH_SIZE
from compress.measure.runners import open_runner
from compress.measure.subjects import CONFIG, Subject, read_json
from compress.train.batches import sorted_batches

ROUNDING = 0.001  # of the examples, whose two best answers may be as good as equal


def names_told(subject: Subject, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[str]:
    """The name that a folder's own config.json gives to the answer to each text.

    Args:
        subject: A folder with a file or a torch model.
        texts: The first text of each example.
        pairs: The second ones.
        max_length: Tokens of an example that are read.
    """
    names = _names_as_transformers_reads_them(subject)
    with open_runner(subject) as runner:
        read = runner.tokenizer(
            [text.strip() for text in texts],
            None if pairs is None else [text.strip() for text in pairs],
            truncation=True,
            max_length=max_length,
        )
        told = np.empty(len(texts), dtype=np.int64)
        for batch in sorted_batches(np.array([len(ids) for ids in read["input_ids"]]), BATCH_SIZE):
            rows = runner.tokenizer.pad({key: [read[key][index] for index in batch] for key in read}, return_tensors="np")
            told[batch] = runner.run({key: np.asarray(values, dtype=np.int64) for key, values in rows.items()}).argmax(axis=1)
    return [names[answer] for answer in told.tolist()]


def _names_as_transformers_reads_them(subject: Subject) -> dict[int, str]:
    from transformers import AutoConfig

    from compress.bert.families import PLAIN

    values = read_json(subject.path / CONFIG)
    if values.get("model_type") in PLAIN:  # whose classes transformers does not have
        return {int(index): name for index, name in values["id2label"].items()}
    with libraries_silenced():
        names: dict[int, str] = AutoConfig.from_pretrained(subject.path, local_files_only=True).id2label
    return names


def check_read_back(
    subject: Subject,
    accuracy: float,
    *,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    names: Sequence[str],
    max_length: int,
) -> dict[str, Any]:
    """Check that a shipped folder scores by its own names what was measured of it.

    Args:
        subject: The folder.
        accuracy: What was measured, a fraction.
        texts: The first text of each evaluation example.
        pairs: The second ones.
        names: The true label of each, as the data names it.
        max_length: Tokens of an example that are read.

    Returns:
        `accuracy` and `examples`, for run.json.

    Raises:
        CompressError: It scores otherwise.
    """
    told = names_told(subject, texts, pairs, max_length)
    right = sum(one == name for one, name in zip(told, names, strict=True))
    if abs(right - accuracy * len(names)) > max(1.0, ROUNDING * len(names)):
        raise CompressError(
            f"{subject.path}: read by its own config.json the folder is right on {right / len(names):.1%} of {len(names)} "
            f"examples, but {accuracy:.1%} was measured; its names ({CONFIG}), tokenizer or file are not those that were "
            "measured. Nothing of it should be shipped: run again, with a new --out."
        )
    return {"accuracy": right / len(names), "examples": len(names)}
