"""Which labels and which answers count more in the loss on labels: class weights and the focal loss.

Source: weights: scikit-learn's class_weight="balanced", after King and Zeng 2001, "Logistic regression in rare events data";
focal: Lin et al. 2017, arXiv 1708.02002, equations 4 and 5.
Differs: with weights the mean is over the sum of the weights, as torch's cross_entropy has it, and not over the examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compress.errors import InputError
from compress.tasks.labels import names_shown

if TYPE_CHECKING:
    import torch

    from compress.tasks.kind import Reduction
    from compress.tasks.labelled import Task

BALANCED = "balanced"
NEARLY_RIGHT = 1e-6
"""How far a probability is from 1 at least, so that the power of a small gamma has a gradient there."""


@dataclass(frozen=True)
class Emphasis:
    """What counts more in the loss on labels.

    Args:
        weights: Of each label, in their order; empty where all count alike.
        focal: Gamma: an answer counts by how far its probability is from 1, to this power; 0 lets all count alike.
    """

    weights: tuple[float, ...] = ()
    focal: float = 0.0


EVEN = Emphasis()


def emphasis_of(method: str, class_weights: str | Mapping[str, float] | None, focal: float, task: Task) -> Emphasis:
    """Turn what a step asks for into what a task's loss is told.

    Args:
        method: The step's, for messages.
        class_weights: "balanced", which the training part's counts tell, or a weight by label, 1 for those that are left out.
        focal: Gamma.
        task: Has the labels.

    Raises:
        InputError: The task has no labels to weigh, or not those that are named.
    """
    if class_weights is None and not focal:
        return EVEN
    balanced = task.rules.balanced(task.train, task.labels)
    if not len(balanced):
        key = "focal" if class_weights is None else "class_weights"
        raise InputError(f"{method}.{key} weighs labels, but a task of {task.kind} has none; leave it out.")
    if class_weights == BALANCED:
        return Emphasis(tuple(balanced.tolist()), focal)
    given = class_weights if isinstance(class_weights, Mapping) else {}
    unknown = [name for name in given if name not in task.labels]
    if unknown:
        raise InputError(f"{method}.class_weights names {names_shown(unknown)}; the labels are {names_shown(task.labels)}.")
    return Emphasis(tuple(float(given.get(name, 1.0)) for name in task.labels) if given else (), focal)


def balanced(counts: np.ndarray) -> np.ndarray:
    """Weigh labels so that each that there is counts as much as any other, and an answer 1 on average, (labels,).

    Args:
        counts: How often each is true; one that never is gets 1.
    """
    there = counts > 0
    return np.where(there, counts.sum() / np.maximum(counts * there.sum(), 1), 1.0)


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, reduction: Reduction, emphasis: Emphasis, ignored: int = -100
) -> torch.Tensor:
    """Cross-entropy with the label that is true, or with the labels' probabilities.

    A label's term is its weight times (1 - p) to the power of gamma times -log p; of probabilities it counts by its own.

    Args:
        logits: (rows, labels).
        targets: Ids, (rows,), or probabilities, (rows, labels).
        reduction: The mean over the rows, over the sum of their weights where there are such; or the sum.
        emphasis: Which count more.
        ignored: The id of rows that count for nothing.
    """
    import torch
    from torch.nn import functional

    logits = logits.float()
    if emphasis == EVEN:
        return functional.cross_entropy(logits, targets, ignore_index=ignored, reduction=reduction)
    if targets.is_floating_point():
        shares = targets.float()
    else:
        counts = targets != ignored
        shares = functional.one_hot(targets.where(counts, 0), logits.shape[-1]).float() * counts[:, None]
    if emphasis.weights:
        shares = shares * torch.tensor(emphasis.weights, device=logits.device)
    logs = logits.log_softmax(-1)
    total = -(shares * _far_from_right(logs, emphasis) * logs).sum()
    return total / shares.sum() if reduction == "mean" else total


def binary_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, reduction: Reduction, emphasis: Emphasis
) -> torch.Tensor:
    """Binary cross-entropy of each label, mean over the labels; a label's weight is that of the rows where it stands.

    Args:
        logits: (rows, labels).
        targets: Marks or probabilities, (rows, labels).
        reduction: The mean over the rows, or the sum.
        emphasis: Which count more.
    """
    import torch
    from torch.nn import functional

    logits = logits.float()
    if emphasis == EVEN:
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)
    else:
        weights = torch.tensor(emphasis.weights or [1.0], device=logits.device)
        standing, absent = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        terms = weights * targets * _far_from_right(standing, emphasis) * standing
        losses = -(terms + (1 - targets) * _far_from_right(absent, emphasis) * absent).mean(-1)
    return losses.mean() if reduction == "mean" else losses.sum()


def _far_from_right(logs: torch.Tensor, emphasis: Emphasis) -> torch.Tensor | float:
    return (-logs.expm1()).clamp(min=NEARLY_RIGHT) ** emphasis.focal if emphasis.focal else 1.0
