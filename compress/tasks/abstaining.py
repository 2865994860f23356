"""Text classification that may answer none: where no label is probable enough, or a text is of none of the labels.

The threshold of the largest probability is chosen on the selection part and shipped with the file (`settled` in
bert_compress.json). Accuracy stays what it is without: of all texts in scope, whether they would be answered or not.

Source: Geifman and El-Yaniv 2017, "Selective classification for deep neural networks", arXiv 1705.08500 (risk and coverage,
section 2); the area under their curve: Geifman et al. 2019, arXiv 1805.08206; out-of-scope texts: Larson et al. 2019, arXiv
1909.02027; the largest probability as what tells: Hendrycks and Gimpel 2017, arXiv 1610.02136.
Differs: the threshold for a risk is that of the selection part, without the bound that would hold it for other texts too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, shown
from compress.statistics import wilson_interval
from compress.tasks.data.distributions import are_probabilities
from compress.tasks.data.rows import Rows
from compress.tasks.reliability import Confidence, confidence_in_labels
from compress.tasks.split import Role, Split
from compress.tasks.text_classification import TextClassification

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded

logger = logging.getLogger(__name__)

NONE = -1
"""The id of texts that are of none of the labels."""
FAR = 1e4
"""By so much all logits of a text are lower that is not answered; a softmax does not see it."""
LEARNED = ("train", "calibration")
"""Parts of which texts out of scope are left out."""


@dataclass(frozen=True)
class Abstention:
    """What the threshold is chosen for.

    Args:
        coverage: Share of the texts in scope that is to be answered, at least.
        max_risk: Share of the answers that may be wrong.
        label: What texts out of scope are labelled as; with neither of the others, the threshold is that with the fewest
            mistakes, where answering such a text is one, and not answering another.
    """

    coverage: float | None = None
    max_risk: float | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        given = {"coverage": self.coverage, "max_risk": self.max_risk, "label": self.label}
        named: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        shares = [named[key] for key in ("coverage", "max_risk") if key in named]
        is_label = self.label is None or (isinstance(self.label, str) and bool(self.label.strip()))
        are_shares = all(type(share) in (int, float) and 0 <= share <= 1 for share in shares) and self.coverage != 0
        if not named or len(shares) > 1 or not is_label or not are_shares:
            raise InputError(
                f"task.abstain is {shown(named)}; allowed: coverage (above 0 to 1) or max_risk (0 to 1), label (of texts out "
                "of scope), or one of the first two with label."
            )


class AbstainingClassification(TextClassification):
    """Rules of text classification where none may be answered; targets are label ids, NONE for texts out of scope.

    Args:
        abstention: What the threshold is chosen for.
    """

    def __init__(self, abstention: Abstention) -> None:
        self.abstention = abstention

    # -- rows -------------------------------------------------------------------------------------------------------------

    def _in_scope(self, rows: Rows) -> np.ndarray:
        """Which rows have a label, (rows,)."""
        if self.abstention.label is not None and are_probabilities(rows):
            raise InputError(f"task.abstain.label needs labels, but {rows.source} has probabilities of them; leave label out.")
        return np.array([label != self.abstention.label for label in rows.labels], dtype=bool)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Sort the labels that there are, but for that of texts out of scope."""
        return super().names(rows.pick(np.flatnonzero(self._in_scope(rows)).tolist()))

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Take the rows' labels where a model has only numbers."""
        return super().names_of_outputs(rows.pick(np.flatnonzero(self._in_scope(rows)).tolist()), names)

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse the label of texts out of scope too."""
        super().check_names(names)
        if names is not None and self.abstention.label in names:
            raise InputError(
                f"labels name {self.abstention.label!r}, which task.abstain says is no label but that of texts out of scope; "
                "remove it from labels, or from abstain."
            )

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Find each label's id, NONE for a text out of scope, or put probabilities into the labels' order."""
        inside = self._in_scope(rows)
        if inside.all():
            return super().targets(rows, names)
        ids = np.full(len(rows), NONE, dtype=np.int64)
        ids[inside] = super().targets(rows.pick(np.flatnonzero(inside).tolist()), names)
        return ids

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Name the label that all rows in scope have."""
        inside = targets[_in_scope(targets)]
        return super().lone(inside, names) if len(inside) else "none"

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep texts, pairs and ids; what is learned from has no texts out of scope.

        Raises:
            InputError: There are no others to measure on, or none out of scope to choose the threshold by.
        """
        split = super().split(role, rows, targets, names)
        if role == "evaluation" and len(split) and not _in_scope(targets).any():
            raise InputError(f"{rows.source}: every row to measure on is out of scope; give rows with labels too.")
        by_label = self.abstention.coverage is None and self.abstention.max_risk is None
        if role == "selection" and by_label and len(split) and _in_scope(targets).all():
            raise InputError(
                f"task.abstain.label is {shown(self.abstention.label)}, but no row of the selection part, which is cut from "
                f"{rows.source}, has it; give such rows, or coverage or max_risk too."
            )
        return split.pick(np.flatnonzero(_in_scope(targets))) if role in LEARNED else split

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Count the examples of each label, and those of none."""
        inside = _in_scope(split.labels)
        counts = super().counts(split.pick(np.flatnonzero(inside)), names)
        return counts if self.abstention.label is None else {**counts, "out_of_scope": int((~inside).sum())}

    # -- answers ------------------------------------------------------------------------------------------------------------

    def settles(self, split: Split) -> bool:
        """Choose a threshold, wherever there are examples."""
        return len(split) > 0

    def settle(self, answers: np.ndarray, targets: np.ndarray) -> tuple[float, ...]:
        """Choose the threshold of the largest probability, between two texts, so that neither is at it.

        Of a coverage the highest that answers as many texts in scope; of a risk the lowest whose answers have it, or, with a
        warning, that of the smallest risk; else the one with the fewest mistakes.
        """
        inside, sure = _in_scope(targets), _confidence(answers, targets)
        order = np.argsort(-sure, kind="stable")
        falling, inside, right = sure[order], inside[order], _right(answers, targets)[order]
        ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)) + 1  # equal ones are answered together
        answered = np.concatenate([[0], ends])
        rights, wrongs, scoped = (np.concatenate([[0], np.cumsum(of)])[answered] for of in (right, ~right, inside))
        if self.abstention.coverage is not None:
            best = int(np.argmax(scoped >= self.abstention.coverage * inside.sum() - 1e-9))
        elif self.abstention.max_risk is not None:
            risks = np.concatenate([[np.inf], wrongs[1:] / answered[1:]])
            if risks.min() > self.abstention.max_risk:
                logger.warning(
                    "no threshold has a risk of at most %g on the selection part; that of the smallest, %.3g, is taken.",
                    self.abstention.max_risk,
                    risks.min(),
                )
            best = int(np.flatnonzero(risks <= max(self.abstention.max_risk, float(risks.min())))[-1])
        else:
            best = int(np.argmax(rights + (~inside).sum() - (answered - scoped)))
        count = int(answered[best])
        low = falling[count] if count < len(falling) else 0.0
        high = falling[count - 1] if count else 1.0
        return (float((low + high) / 2) if count < len(falling) else 0.0,)

    def settled(self, answers: np.ndarray, chosen: Sequence[float], targets: Any) -> np.ndarray:
        """Lower all logits of a text whose largest probability is below the threshold, so that it is not answered."""
        if not chosen:
            return answers
        lowered = answers.astype(np.float64)
        lowered[_confidence(answers, targets) < chosen[0]] -= FAR
        return lowered

    def score(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, float]:
        """Scores of the texts in scope as if all were answered; coverage, accuracy of the answers, the share of texts out of
        scope that are not answered, and the area under risk over coverage."""
        inside = _in_scope(targets)
        counted = {name: right / max(1, total) for name, (right, total) in self._counted(answers, targets).items()}
        scores = super().score(answers[inside], targets[inside], metric)
        return {**scores, **counted, "aurc": area_under_risk(_confidence(answers, targets), _right(answers, targets))}

    def judge(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, Any]:
        """The same, with Wilson's intervals of the shares; the area has none."""
        inside = _in_scope(targets)
        judged = super().judge(answers[inside], targets[inside], metric)
        counted = self._counted(answers, targets).items()
        intervals = {name: list(wilson_interval(right, total)) for name, (right, total) in counted if total}
        return {
            "metrics": self.score(answers, targets, metric),
            "metrics_ci95": {**judged["metrics_ci95"], **intervals},
        }

    def _counted(self, answers: np.ndarray, targets: np.ndarray) -> dict[str, tuple[int, int]]:
        """Shares that tell of abstaining, each as a count and of how many."""
        inside, said, right = _in_scope(targets), ~abstained(answers), _right(answers, targets)
        shares = {
            "coverage": (int((said & inside).sum()), int(inside.sum())),
            "selective_accuracy": (int((said & right).sum()), int(said.sum())),
        }
        if self.abstention.label is not None:
            shares["out_of_scope_recall"] = (int((~said & ~inside).sum()), int((~inside).sum()))
        return shares

    def statistics(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> np.ndarray:
        """Tell of the texts in scope."""
        inside = _in_scope(targets)
        return super().statistics(answers[inside], targets[inside], metric)

    def by_class(self, answers: np.ndarray, targets: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """Mark each example's label and answer, where it has them."""
        labels = np.arange(len(names))
        said = (answers.argmax(axis=1)[:, None] == labels) & ~abstained(answers)[:, None]
        true = _ids(targets)[:, None] == labels
        return np.stack([said & true, said, true], axis=-1).astype(np.int64)

    def confidence(self, answers: np.ndarray, targets: np.ndarray) -> Confidence | None:
        """Take the softmax of the texts in scope."""
        inside = _in_scope(targets)
        return super().confidence(answers[inside], targets[inside])

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, Any]:
        """The drop over the texts in scope; texts agree where both have the same answer, or none."""
        inside = _in_scope(targets)
        compared = super().compare(baseline[inside], answers[inside], targets[inside], metric)
        before, after = (np.where(abstained(logits), NONE, logits.argmax(axis=1)) for logits in (baseline, answers))
        return {**compared, "agreement": float((before == after).mean())}

    def confusion(self, answers: np.ndarray, targets: np.ndarray, count: int) -> list[list[int]] | None:
        """Count the texts in scope that are answered, by label and answer."""
        kept = _in_scope(targets) & ~abstained(answers)
        return super().confusion(answers[kept], targets[kept], count)

    def check_answers(self, answers: np.ndarray, targets: np.ndarray, names: tuple[str, ...], *, trains: bool) -> None:
        """Look at the texts in scope."""
        inside = _in_scope(targets)
        super().check_answers(answers[inside], targets[inside], names, trains=trains)

    # -- what people see ----------------------------------------------------------------------------------------------------

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """Those in scope whose probabilities are farthest apart."""
        inside = np.flatnonzero(_in_scope(split.labels))
        return super().differing(baseline[inside], answers[inside], split.pick(inside), encoded, names, count)

    def sentence(self, names: Sequence[str]) -> str:
        """Name the labels."""
        return f"{super().sentence(names)}, or answers none of them"

    def snippet(self, names: Sequence[str]) -> str:
        """Print each text's label where it is probable enough."""
        return (
            "import json\n"
            'with open(f"{folder}/bert_compress.json", encoding="utf-8") as file:\n'
            '    [threshold] = json.load(file)["settled"]\n'
            "powers = np.exp(logits - logits.max(axis=1, keepdims=True))\n"
            "probabilities = powers / powers.sum(axis=1, keepdims=True)\n"
            'print([labels[row.argmax()] if row.max() >= threshold else "none" for row in probabilities])'
        )


def abstaining(options: Mapping[str, Any]) -> AbstainingClassification:
    """The rules of text classification that answer none where the options say so.

    Raises:
        InputError: The options cannot be.
    """
    unknown = [key for key in options if key not in Abstention.__dataclass_fields__]
    if unknown:
        raise InputError(f"task.abstain has an unknown key {shown(unknown[0])}; allowed: coverage, max_risk, label.")
    return AbstainingClassification(Abstention(**options))


def abstained(answers: np.ndarray) -> np.ndarray:
    """Which texts are not answered, (examples,)."""
    return np.asarray(answers.max(axis=1) < -FAR / 2)


def area_under_risk(confidence: np.ndarray, right: np.ndarray) -> float:
    """The mean of the risks of answering the surest text, the two surest, and so on to all; texts that are as sure are wrong
    as often as they are on average."""
    order = np.argsort(-confidence, kind="stable")
    _, places = np.unique(-confidence[order], return_inverse=True)
    means = np.bincount(places, weights=~right[order]) / np.bincount(places)
    return float((np.cumsum(means[places]) / np.arange(1, len(right) + 1)).mean())


def _confidence(answers: np.ndarray, targets: Any) -> np.ndarray:
    """The largest probability of each text, (examples,)."""
    return confidence_in_labels(answers, np.zeros(len(answers), dtype=np.int64)).probabilities


def _ids(targets: np.ndarray) -> np.ndarray:
    return np.asarray(targets.argmax(axis=1) if targets.ndim == 2 else targets)


def _in_scope(targets: np.ndarray) -> np.ndarray:
    return np.asarray(_ids(targets) != NONE)


def _right(answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether the likeliest label is true, which none is of a text out of scope."""
    return np.asarray(answers.argmax(axis=1) == _ids(targets))
