"""Notice a model whose labels stand in another order than the task's, or that never learned the task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.errors import InputError

MOST_LABELS_SHOWN = 12


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, count: int) -> np.ndarray:
    """Count examples by true label (row) and predicted label (column), (count, count)."""
    pairs = np.asarray(labels, dtype=np.int64) * count + np.asarray(predictions, dtype=np.int64)
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def best_order(confusion: np.ndarray) -> tuple[list[int], float]:
    """Find which label each output would have to mean for the accuracy to be highest.

    The assignment problem, solved exactly (Kuhn 1955, in scipy's variant).

    Returns:
        For each output the index of a label, a permutation; and the accuracy, a fraction.
    """
    from scipy.optimize import linear_sum_assignment

    truths, outputs = linear_sum_assignment(confusion, maximize=True)
    meaning = [0] * len(confusion)
    for truth, output in zip(truths, outputs, strict=True):
        meaning[output] = int(truth)
    return meaning, float(confusion[truths, outputs].sum() / confusion.sum())


def confusion_text(confusion: np.ndarray, names: Sequence[str]) -> str:
    """Lay a confusion matrix out as aligned text: one row per true label, one column per predicted label."""
    shown = min(len(names), MOST_LABELS_SHOWN)
    head = ["true \\ predicted", *(str(name) for name in names[:shown])]
    rows = [head] + [[str(names[row]), *map(str, confusion[row, :shown])] for row in range(shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(shown + 1)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells))
    if shown < len(names):
        lines.append(f"  (the first {shown} of {len(names)} labels)")
    return "\n".join(lines)


def assert_better_than_chance(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    """Check that a model beats the answer that is most often right.

    Args:
        logits: (examples, labels).
        labels: True label of each example, (examples,).
        names: The task's label names in the order of their ids.

    Raises:
        InputError: The accuracy is at or below the share of the largest class. The message shows the confusion matrix
            and the order of the labels that would give the best accuracy.
    """
    count = len(names)
    if logits.ndim != 2 or logits.shape[1] != count or len(logits) != len(labels) or not len(labels):
        raise InputError(
            f"the model gives answers of shape {logits.shape} for {len(labels)} examples of {count} labels "
            f"({_listed(names)}); a model with {count} outputs is needed: use a checkpoint of this task."
        )
    confusion = confusion_matrix(labels, logits.argmax(axis=1), count)
    largest = int(confusion.sum(axis=1).argmax())
    chance = confusion[largest].sum() / len(labels)
    accuracy = np.trace(confusion) / len(labels)
    if accuracy > chance:
        return
    meaning, best = best_order(confusion)
    if best > chance and meaning != list(range(count)):
        ordered = [names[index] for index in meaning]
        diagnosis = f"Read in the order {_listed(ordered)}, the model's outputs would be {best:.1%} accurate. "
        advice = "Give the task's labels in that order, or make the order of config.json's id2label the task's."
    else:
        diagnosis = f"No other order of the labels does better than {best:.1%}. "
        advice = "The model was not trained for this task: begin with fine_tune, or use a checkpoint of this task."
    raise InputError(
        f"the model's accuracy is {accuracy:.1%} on {len(labels)} examples; more than {chance:.1%} is needed, which "
        f"always answering {names[largest]!r} gives.\n{confusion_text(confusion, names)}\n{diagnosis}{advice}"
    )


def assert_not_in_another_order(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    """Check that a model's outputs do not clearly stand for the task's labels in another order than the task's.

    Clearly: in the best order for them they are right more often than the largest class is there, and as they stand they are
    right more rarely, both by three standard errors. What is merely untrained passes.

    Args:
        logits: (examples, labels).
        labels: True label of each example, (examples,).
        names: The task's label names in the order of their ids.

    Raises:
        InputError: They do; the message shows that order.
    """
    confusion = confusion_matrix(labels, logits.argmax(axis=1), len(names))
    chance = float(confusion.sum(axis=1).max() / confusion.sum())
    margin = 3 * float(np.sqrt(chance * (1 - chance) / confusion.sum()))
    if np.trace(confusion) / confusion.sum() < chance - margin and best_order(confusion)[1] > chance + margin:
        assert_better_than_chance(logits, labels, names)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:MOST_LABELS_SHOWN]))
    return f"[{shown}{', ...' if len(names) > MOST_LABELS_SHOWN else ''}]"
