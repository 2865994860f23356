"""Does a graph say what the torch model says, on the user's own sentences?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.models.heads import logits_of
from compress.targets.onnx.graph import Session
from compress.tasks.encoding import Encoded, rows_of
from compress.training.batches import sorted_batches

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

SENTENCES = 128
FEWER_SENTENCES = 16
"""Where each token has an output for each piece of the vocabulary."""
SINGLES = 8
BATCH_SIZE = 16


@dataclass(frozen=True)
class ParityCheck:
    """What became of one step from torch to the deployed file.

    Args:
        name: "export", "int8", ...
        max_abs_error: Largest difference of a logit from the torch model's.
        relative_error: Root mean square of the differences over that of the answers; see the task's kind.
        label_flips: Answers that are another one, such as another label.
        compared: Answers compared; of tokens each has one.
        fused_ops: Operators in the running graph that do the work of several.
        integer_ops: Operators in the running graph that multiply integers.
        stayed_float: Names of the products with constant weights that do not multiply integers, where there are integers.
        accepted: Whether the stage may be shipped.
        why: What decided.
    """

    name: str
    max_abs_error: float
    relative_error: float
    label_flips: int
    compared: int
    fused_ops: int
    integer_ops: int
    accepted: bool
    why: str
    stayed_float: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For bert_compress.json."""
        return asdict(self)


def real_batches(encoded: Encoded, max_length: int) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Batches to compare on, each with its examples: the shortest and the longest one, some single ones, batches with padding,
    and one padded to the longest length allowed."""
    order = np.argsort(encoded.lengths, kind="stable")
    spread = np.linspace(0, len(order) - 1, min(SINGLES, len(order))).round().astype(int)
    for index in dict.fromkeys(order[spread].tolist()):
        yield np.array([index]), encoded.batch([index])
    for batch in sorted_batches(np.full(len(encoded), max(encoded.lengths)), BATCH_SIZE):
        yield batch, encoded.batch(batch.tolist())
    yield order[[0, -1]], encoded.batch(order[[0, -1]].tolist(), pad_to=max_length)


class Reference:
    """The torch model's answers, computed once and compared with each stage."""

    def __init__(self, model: PreTrainedModel, task: Task) -> None:
        task = task.read_by(model)
        of_pieces = task.rules.head.of_pieces
        split = task.calibration.require("calibration").take(FEWER_SENTENCES if of_pieces else SENTENCES)
        self.rules = task.rules
        encoded = task.encode(split, model.tokenizer)
        examples, self.batches = zip(*real_batches(encoded, task.max_length), strict=True)
        self.lengths = encoded.rows_together(np.concatenate(examples))
        self.counted = [encoded.answered(indices, batch) for indices, batch in zip(examples, self.batches, strict=True)]
        with torch.inference_mode():
            outputs = [
                rows_of(
                    logits_of(model(**{name: torch.from_numpy(values) for name, values in batch.items()})).float().numpy(),
                    counted,
                )
                for batch, counted in zip(self.batches, self.counted, strict=True)
            ]
        self.answers = outputs

    def judge(self, name: str, opened: Session, *, max_relative_error: float, max_flips: float) -> ParityCheck:
        """Run a stage's file over the same batches and compare.

        Args:
            name: The stage's.
            opened: Its file.
            max_relative_error: Above it the stage is rejected.
            max_flips: The fraction of labels that may change.
        """
        answers = [rows_of(opened.run(batch), counted) for batch, counted in zip(self.batches, self.counted, strict=True)]
        expected, actual = np.concatenate(self.answers), np.concatenate(answers)
        errors, relative = actual - expected, self.rules.relative_error(expected, actual)
        flipped = self.rules.flips(expected, actual, self.lengths)
        flips = int(flipped.sum())
        accepted = bool(np.isfinite(actual).all()) and relative <= max_relative_error and flips <= max_flips * len(flipped)
        why = (
            f"relative error {relative:.2g} (allowed {max_relative_error:g}), {flips} of {len(flipped)} labels flipped "
            f"(allowed {max_flips:.0%})"
        )
        return ParityCheck(
            name,
            float(np.abs(errors).max()),
            relative,
            flips,
            len(flipped),
            opened.fused_ops,
            opened.integer_ops,
            accepted,
            why,
            opened.stayed_float if opened.integer_ops else (),
        )
