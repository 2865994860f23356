"""How right a subject is on the evaluation part, and whether its answers depend on their batch mates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import CompressError, InputError
from compress.measure.runners import Runner
from compress.runtimes.answers import check_finite, check_shape
from compress.statistics import (
    f1_resamples,
    mcnemar_p,
    middle_95,
    paired_counts,
    paired_drop_interval,
    wilson_interval,
)
from compress.train.batches import sorted_batches

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded
    from compress.tasks.labelled import Task

BATCH_SIZE = 32
INVARIANCE_EXAMPLES = 256


@dataclass(frozen=True)
class Invariance:
    """What padding and batch mates do to the answers.

    Args:
        flips: Examples whose label changes.
        max_abs_error: Largest change of a logit.
        compared: Examples compared.
    """

    flips: int
    max_abs_error: float
    compared: int


def predict(runner: Runner, encoded: Encoded) -> np.ndarray:
    """Compute the logits of every example, in the examples' order, (examples, labels).

    Examples run in batches of like length, 32 or fewer long ones, which is fast; the rows are put back in order.

    Raises:
        InputError: There are no examples.
        CompressError: An answer is not finite, or there is not one for each example.
    """
    if not len(encoded):
        raise InputError("there are no examples to measure on; give an evaluation split with at least one row.")
    rows: np.ndarray | None = None
    for indices in sorted_batches(encoded.lengths, BATCH_SIZE):
        found = runner.run(encoded.batch(indices.tolist()))
        check_shape(found.shape, len(indices))
        if rows is None:
            rows = np.zeros((len(encoded), found.shape[1]), dtype=np.float32)
        if found.shape[1] != rows.shape[1]:
            raise CompressError(
                f"the model gives {rows.shape[1]} logits to one example and {found.shape[1]} to another; each needs one for "
                "each label. Export or save it again."
            )
        rows[indices] = found
    assert rows is not None
    check_finite(rows)
    return rows


def invariance(runner: Runner, encoded: Encoded, examples: int = INVARIANCE_EXAMPLES) -> Invariance:
    """Compare answers to examples one by one, unpadded, with answers to the same examples in padded batches.

    Up to `examples` examples, spread evenly over the split, run alone and then 32 (fewer long ones) at a time, padded to the
    longest of all of them. float32 gives differences around 1e-6 and no flips; an int8 file whose scales are taken anew from
    each batch gives more.
    """
    chosen = np.linspace(0, len(encoded) - 1, min(examples, len(encoded))).round().astype(int)
    longest = int(np.asarray(encoded.lengths)[chosen].max())
    alone = np.concatenate([runner.run(encoded.batch([int(index)])) for index in chosen])
    batches = sorted_batches(np.full(len(chosen), longest), BATCH_SIZE)
    together = np.concatenate([runner.run(encoded.batch(chosen[batch].tolist(), pad_to=longest)) for batch in batches])
    flips = int((alone.argmax(axis=1) != together.argmax(axis=1)).sum())
    return Invariance(flips, float(np.abs(alone - together).max()), len(chosen))


def judge_answers(task: Task, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compute `metrics`, which are the task's, and `metrics_ci95` (Wilson of the accuracy, bootstrap of F1) of the answers."""
    answers = logits.argmax(axis=1)
    intervals = {"accuracy": list(wilson_interval(int((answers == labels).sum()), len(labels)))}
    if task.metric == "f1":
        intervals["f1"] = list(middle_95(f1_resamples(labels, answers)))
    return {"metrics": task.score(logits, labels), "metrics_ci95": intervals}


def compare_answers(task: Task, baseline: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compute `drop` and `agreement` of the answers against the baseline's to the same examples.

    The drop is what the baseline scores in the task's metric less what these answers do: positive is worse. `ci95` is its
    paired bootstrap interval; `p` is McNemar's, exact, of how often each is right. Agreement is the share of examples with
    the same label.
    """
    told, found = baseline.argmax(axis=1), logits.argmax(axis=1)
    lost, won, total = paired_counts(told == labels, found == labels)
    if task.metric == "f1":
        value = task.score(baseline, labels)["f1"] - task.score(logits, labels)["f1"]
        before, after = f1_resamples(labels, told, found)
        interval = middle_95(before - after)
    else:
        value, interval = (lost - won) / total, paired_drop_interval(lost, won, total)
    return {
        "drop": {"value": value, "ci95": list(interval), "p": mcnemar_p(lost, won)},
        "agreement": float((told == found).mean()),
    }
