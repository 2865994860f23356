"""How right a subject is on the evaluation part, and whether its answers depend on their batch mates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.benchmark.runners import Runner
from compress.benchmark.subjects import CONFIG, Subject, read_json
from compress.errors import CompressError, InputError
from compress.models.checkpoint.labels import names_in_folder
from compress.runtimes.answers import check_finite, check_shape
from compress.runtimes.runtime import ANSWERED
from compress.tasks.encoding import Encoded, Gathered, rows_of
from compress.tasks.labelled import Task
from compress.training.batches import sorted_batches

BATCH_SIZE = 32
INVARIANCE_EXAMPLES = 256
FEWER_EXAMPLES = 64
"""Where each token has an output for each piece of the vocabulary."""


@dataclass(frozen=True)
class Invariance:
    """What padding and batch mates do to the answers.

    Args:
        flips: Examples, or tokens, whose answer is another one.
        max_abs_error: Largest change of a logit.
        compared: Examples compared.
    """

    flips: int
    max_abs_error: float
    compared: int


def predict(runner: Runner, encoded: Encoded) -> np.ndarray:
    """Compute the answers to every example, in the examples' order: (examples, outputs), or a row for each word.

    Examples run in batches of like length, 32 or fewer long ones, which is fast; the rows are put back in order.

    Raises:
        InputError: There are no examples.
        CompressError: An answer is not finite, or there is not one for each example.
    """
    if not len(encoded):
        raise InputError("there are no examples to measure on; give an evaluation split with at least one row.")
    encoded = encoded.unwritten
    answers, width = Gathered(encoded), 0
    for indices in sorted_batches(encoded.lengths, BATCH_SIZE, tokens=encoded.tokens_at_once):
        logits = runner.run(_asked(encoded, indices))
        of_pieces = encoded.rules.head.of_pieces
        check_shape(logits.shape, 1 if of_pieces else len(indices), of_tokens=encoded.places is not None)
        width = width or logits.shape[-1]
        if logits.shape[-1] != width:
            raise CompressError(
                f"the model gives {width} logits to one example and {logits.shape[-1]} to another; each needs "
                "one for each label. Export or save it again."
            )
        if of_pieces:
            answers.put_rows(indices, logits[0])
        else:
            answers.put(indices, logits)
    assert answers.rows is not None
    check_finite(answers.rows)
    return answers.rows


def invariance(runner: Runner, encoded: Encoded, examples: int = INVARIANCE_EXAMPLES) -> Invariance:
    """Compare answers to examples one by one, unpadded, with answers to the same examples in padded batches.

    Up to `examples` examples, spread evenly over the split, run alone and then 32 (fewer long ones) at a time, padded to the
    longest of all of them. float32 gives differences around 1e-6 and no flips; an int8 file whose scales are taken anew from
    each batch gives more.
    """
    encoded = encoded.unwritten
    chosen = encoded.spread(examples if encoded.tokens_at_once is None else min(examples, FEWER_EXAMPLES))
    longest = int(np.asarray(encoded.lengths)[chosen].max())
    alone = np.concatenate([_rows(runner, encoded, np.array([index])) for index in chosen])
    batches = sorted_batches(np.full(len(chosen), longest), BATCH_SIZE, tokens=encoded.tokens_at_once)
    together = np.concatenate([_rows(runner, encoded, chosen[batch], pad_to=longest) for batch in batches])
    flips = int(encoded.rules.flips(alone, together, encoded.rows_together(chosen)).sum())
    return Invariance(flips, float(np.abs(alone - together).max()), len(chosen))


def _rows(runner: Runner, encoded: Encoded, indices: np.ndarray, pad_to: int | None = None) -> np.ndarray:
    batch = _asked(encoded, indices, pad_to)
    logits = runner.run(batch)
    return np.asarray(logits[0]) if encoded.rules.head.of_pieces else rows_of(logits, batch["attention_mask"])


def _asked(encoded: Encoded, indices: np.ndarray, pad_to: int | None = None) -> dict[str, np.ndarray]:
    """A batch; where outputs are pieces, it asks for those at the masked places alone, (1, places, pieces)."""
    batch = encoded.batch(indices.tolist(), pad_to=pad_to)
    if encoded.rules.head.of_pieces:
        batch[ANSWERED] = encoded.answered(indices, batch).astype(np.int64)
    return batch


def settled_for(runner: Runner, subject: Subject, task: Task) -> tuple[float, ...]:
    """What turns a subject's outputs into answers, such as thresholds: as its folder tells, else as its own answers to the
    selection part do; empty where nothing is to be chosen.

    Args:
        runner: The subject, open.
        subject: Whose folder may tell.
        task: As the subject reads it.
    """
    chosen = subject.facts().settled
    if not chosen and task.rules.settles(task.selection):
        selection = task.encode(task.selection.require("selection"), runner.tokenizer)
        chosen = task.rules.settle(predict(runner, selection), selection.labels)
    return chosen


def names_of(subject: Subject, outputs: int | None = None) -> list[str]:
    """What a subject's outputs are called, in their order; `outputs` as in `names_in_folder`."""
    if subject.of_task is not None:
        return list(subject.facts().labels)
    return names_in_folder(subject.path, read_json(subject.path / CONFIG), outputs)
