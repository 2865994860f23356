"""Multi-label classification: any number of labels for a text or for a pair of texts.

Each label is a question of its own, answered by a sigmoid. A label stands where its probability is above its threshold; the
thresholds are those that give each label its best F1 on the selection part, and are shipped with the file (`settled` in
bert_compress.json).

Source: Demszky et al. 2020, GoEmotions, arXiv 2005.00547 (binary cross-entropy on BERT, section 5; macro F1, table 4); the
choice of thresholds: Lipton et al. 2014, "Thresholding classifiers to maximize F1 score", arXiv 1402.1892.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import MULTI_LABEL, Head
from compress.tasks import texts
from compress.tasks.data.cells import read_texts
from compress.tasks.data.distributions import are_probabilities, array_of, begin_with_object, read_probabilities
from compress.tasks.data.files import NO_READERS, Reader
from compress.tasks.data.mistakes import Mistakes, first_of
from compress.tasks.data.rows import Rows, Table, collect
from compress.tasks.emphasis import EVEN, Emphasis, binary_cross_entropy
from compress.tasks.kind import Reduction
from compress.tasks.known import HubSet, known_set
from compress.tasks.labels import check_label_names, in_order, names_shown
from compress.tasks.reliability import Confidence, confidence_in_each
from compress.tasks.scores import Score, drop, f1, first, judged
from compress.tasks.split import Role, Split

if TYPE_CHECKING:
    import torch

    from compress.tasks.encoding import Encoded

NAME = "multi-label-classification"
PARTED_BY = ("|", ";", ",")
FEWEST = 5
"""Examples with a label in the selection part from which its threshold is chosen; that of rarer ones is 0.5."""
EMOTIONS = (
    "admiration",
    "amusement",
    "anger",
    "annoyance",
    "approval",
    "caring",
    "confusion",
    "curiosity",
    "desire",
    "disappointment",
    "disapproval",
    "disgust",
    "embarrassment",
    "excitement",
    "fear",
    "gratitude",
    "grief",
    "joy",
    "love",
    "nervousness",
    "optimism",
    "pride",
    "realization",
    "relief",
    "remorse",
    "sadness",
    "surprise",
    "neutral",
)
KNOWN = {
    "goemotions": known_set(
        "goemotions",
        HubSet(
            "google-research-datasets/go_emotions:simplified",
            {"text": "text", "label": "labels"},
            EMOTIONS,
            "CC BY 4.0",
            files=("train.jsonl", "dev.jsonl"),
            source="GoEmotions",
        ),
        NAME,
    )
}


def read_label_sets(values: Sequence[Any], lines: Sequence[int], column: str, mistakes: Mistakes) -> list[Any]:
    """Take each value as some labels: a list of texts or numbers, or a text that holds such a list or is parted by | ; or ,

    If the first is an object, each gives names the probabilities that another model has for each of them by itself.

    Args:
        values: As the file holds them; of texts, the first of the marks that stands anywhere in the column parts them all.
        lines: Where each stands.
        column: For messages.
        mistakes: Where values are noted that are no labels.

    Returns:
        A tuple of texts for each value; or, of objects, a mapping from names to probabilities.
    """
    if begin_with_object(values):
        return read_probabilities(values, lines, column, mistakes)
    plain = [value for value in values if isinstance(value, str) and not value.lstrip().startswith("[")]
    mark = next((mark for mark in PARTED_BY if any(mark in value for value in plain)), None)
    label_sets = []
    for line, value in zip(lines, values, strict=True):
        labels = _listed(value, mark)
        if labels is None:
            mistakes.add(line, column, f"is no list of labels: {shown(value)}")
        label_sets.append(tuple(dict.fromkeys(labels or ())))
    return label_sets


def _listed(value: Any, mark: str | None) -> list[str] | None:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, str):
        return [label for part in (value.split(mark) if mark else [value]) if (label := part.strip())]
    values = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(values, list | tuple) or not all(type(label) in (str, int) and label != "" for label in values):
        return None
    return [str(label).strip() for label in values]


def _by_label(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = sums.shape[-1] // 3
    return sums[..., :count], sums[..., count : 2 * count], sums[..., 2 * count :]


def micro_f1(sums: np.ndarray) -> np.ndarray:
    """F1 of all labels' answers together."""
    right, answered, true = (part.sum(-1) for part in _by_label(sums))
    return f1(right, answered, true)


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """Mean of the labels' F1, each counting as much as any other; one that is never true nor answered counts 0."""
    return np.asarray(f1(*_by_label(sums)).mean(-1))


SCORES = {"micro_f1": micro_f1, "macro_f1": macro_f1}


class MultiLabelClassification:
    """Rules of the kind; answers are logits (examples, labels), of which those above 0 stand; targets are 0 or 1, or
    probabilities as another model gives them, of which those above a half stand."""

    name = NAME
    head = Head(problem_type=MULTI_LABEL)
    metrics: tuple[str, ...] = ("micro_f1", "macro_f1")
    known = KNOWN
    readers: Mapping[str, Reader] = NO_READERS
    columns = "text, labels; or text, pair, labels"
    unit = "examples"
    noun = "answer"
    pipeline_tag = "text-classification"

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read text, pair and labels."""
        cells: Any = {"text": read_texts, "pair": read_texts, "label": read_label_sets}
        return collect(table, columns, others=others, cells=cells)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Sort the labels that there are."""
        return tuple(in_order(label for labels in rows.labels for label in labels))

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Keep the model's names."""
        return names

    def classes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Take the labels."""
        return tuple(names)

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse what is not at least two names, each once."""
        check_label_names(names)

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Take either."""

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Mark each row's labels, (rows, labels), or write their probabilities; numbers are ids where no name is one."""
        if are_probabilities(rows):
            return array_of(rows, names)
        index = {name: number for number, name in enumerate(names)}
        if not any(name.isdecimal() for name in names):
            index |= {str(number): number for number in range(len(names))}
        marked = np.zeros((len(rows), len(names)), dtype=np.float32)
        wrong = []
        for row, (line, labels) in enumerate(zip(rows.lines, rows.labels, strict=True)):
            unknown = [label for label in labels if label not in index]
            wrong += [f"  {rows.unit} {line}, column {rows.label_column!r}: {shown(label)}" for label in unknown]
            marked[row, [index[label] for label in labels if label in index]] = 1
        if wrong:
            heading = f"{rows.source} has labels that are unknown; allowed: {names_shown(names)}. Correct the rows:"
            raise InputError("\n".join([heading, *first_of(wrong)]))
        return marked

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Name the labels that all rows have."""
        stand = targets > 0.5
        if not len(stand) or (stand != stand[0]).any():
            return None
        return ", ".join(name for name, is_true in zip(names, stand[0], strict=True) if is_true) or "nothing"

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep texts, pairs and marks."""
        return Split(role, rows.texts, rows.pairs, targets)

    def without_labels(self, split: Split) -> Split:
        """Mark nothing; a teacher answers."""
        return replace(split, labels=np.zeros((len(split), 1), dtype=np.float32))

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose the first example of each label, and others."""
        firsts = np.unique([column.argmax() for column in split.labels.T > 0.5 if column.any()]).astype(np.int64)
        others = np.setdiff1d(np.arange(len(split)), firsts)[: max(0, count - len(firsts))]
        return np.sort(np.concatenate([firsts, others]))

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Count the examples that have each label."""
        return {"per_label": (split.labels > 0.5).sum(0).tolist()}

    def balanced(self, split: Split, names: tuple[str, ...]) -> np.ndarray:
        """Weigh each label by how many rows lack it for each that has it; one that no row has gets 1."""
        there = (split.labels > 0.5).sum(0)
        return np.where(there > 0, (len(split) - there) / np.maximum(there, 1), 1.0)

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize the texts, each cut at its end."""
        return texts.encode(split, tokenizer, max_length, self.name)

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Stack the marks, (batch, labels)."""
        return texts.collate(encoded, indices)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean", emphasis: Emphasis = EVEN
    ) -> torch.Tensor:
        """Binary cross-entropy, mean over the labels."""
        return binary_cross_entropy(outputs, targets, reduction, emphasis)

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Kullback-Leibler divergence of each label's two probabilities, mean over the labels and the examples."""
        from torch.nn import functional

        teacher_logits, student_logits = teacher.float() / temperature, student.float() / temperature
        true, false = teacher_logits.sigmoid(), (-teacher_logits).sigmoid()
        each = true * (functional.logsigmoid(teacher_logits) - functional.logsigmoid(student_logits))
        each = each + false * (functional.logsigmoid(-teacher_logits) - functional.logsigmoid(-student_logits))
        return each.mean()

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Squared distance, mean over the examples, sum over the labels."""
        return (student.float() - teacher.float()).square().sum(-1).mean()

    def zero_shot(self, entailed: np.ndarray, contradicted: np.ndarray) -> np.ndarray | None:
        """Compare entailment with contradiction, whose softmax is a sigmoid of the difference."""
        return entailed - contradicted

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the spread of each label's logits over the examples."""
        return texts.relative_error(baseline, answers, baseline.mean(axis=0, keepdims=True))

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Tell of each example whether a label comes or goes."""
        return np.asarray(((baseline > 0) != (answers > 0)).any(axis=1))

    def settles(self, split: Split) -> bool:
        """Choose thresholds, wherever there are examples."""
        return len(split) > 0

    def settle(self, answers: np.ndarray, targets: np.ndarray) -> tuple[float, ...]:
        """Choose each label's threshold, a probability, for its best F1; between two answers, so that neither is at it."""
        return tuple(_threshold(logits, true) for logits, true in zip(answers.T, targets.T > 0.5, strict=True))

    def settled(self, answers: np.ndarray, chosen: Sequence[float], targets: Any) -> np.ndarray:
        """Move each label's logits so that its threshold is 0."""
        if not chosen:
            return answers
        thresholds = np.asarray(chosen, dtype=np.float64)
        return (answers - np.log(thresholds / (1 - thresholds))).astype(np.float32)

    def score(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, float]:
        """Micro and macro F1."""
        sums = self.statistics(answers, targets, metric).sum(0)
        return {name: float(score(sums)) for name, score in first(metric, SCORES).items()}

    def judge(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, Any]:
        """Both with bootstrap intervals."""
        return judged(first(metric, SCORES), self.statistics(answers, targets, metric))

    def statistics(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> np.ndarray:
        """Of each label whether it is answered rightly, answered, and true, (examples, 3 x labels)."""
        said, true = answers > 0, targets > 0.5
        return np.concatenate([said & true, said, true], axis=1).astype(np.int64)

    def score_of(self, metric: str) -> Score:
        """Micro or macro F1."""
        return SCORES[metric]

    def by_class(self, answers: np.ndarray, targets: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """Take each label as it is."""
        return np.stack(_by_label(self.statistics(answers, targets, self.metrics[0])), axis=-1)

    def confidence(self, answers: np.ndarray, targets: np.ndarray) -> Confidence | None:
        """Take each label's sigmoid."""
        return confidence_in_each(answers, targets)

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, Any]:
        """The drop of the deciding F1; agreement is the share of texts with the same labels."""
        return {
            "drop": drop(self.score_of(metric), *(self.statistics(own, targets, metric) for own in (baseline, answers))),
            "agreement": float((~self.flips(baseline, answers)).mean()),
        }

    def confusion(self, answers: np.ndarray, targets: np.ndarray, count: int) -> list[list[int]] | None:
        """Count nothing: a text has no single label."""
        return None

    def check_answers(self, answers: np.ndarray, targets: np.ndarray, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse a model whose probabilities of a label are no higher where it stands."""
        if trains:
            return
        pairs = zip(answers.T, targets.T > 0.5, strict=True)
        area = [_area(logits, true) for logits, true in pairs if 0 < true.sum() < len(true)]
        if area and np.mean(area) <= 0.5:
            raise InputError(
                f"the model tells the labels {names_shown(names)} no better than chance on {len(answers)} examples (mean area "
                f"under the ROC curve {np.mean(area):.2f}); begin with fine_tune, or use a checkpoint of this task."
            )

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """Those of which some label's probability is farthest apart."""
        before, after = (1 / (1 + np.exp(-logits.astype(np.float64))) for logits in (baseline, answers))
        apart = np.abs(before - after).max(axis=1)
        return [
            {
                **texts.shown(split, index),
                "label": _named(split.labels[index] > 0.5, split.labels[index], names),
                "teacher": _named(baseline[index] > 0, before[index], names),
                "student": _named(answers[index] > 0, after[index], names),
            }
            for index in np.argsort(-apart, kind="stable")[:count]
        ]

    def sentence(self, names: Sequence[str]) -> str:
        """Name the labels."""
        return f"text classifier that gives a text any of {texts.listed(names)}"

    def sample(self, max_length: int) -> str:
        """Read two texts."""
        return texts.sample(max_length)

    def snippet(self, names: Sequence[str]) -> str:
        """Print the labels above their thresholds."""
        return (
            "import json\n"
            'with open(f"{folder}/bert_compress.json", encoding="utf-8") as file:\n'
            '    thresholds = np.array(json.load(file)["settled"] or [0.5] * len(labels))\n'
            "probabilities = 1 / (1 + np.exp(-logits))\n"
            "print([[label for label, stands in zip(labels, row > thresholds) if stands] for row in probabilities])"
        )


def _threshold(logits: np.ndarray, true: np.ndarray) -> float:
    if true.sum() < FEWEST or true.sum() == len(true):
        return 0.5
    order = np.argsort(-logits, kind="stable")
    right, answered = np.cumsum(true[order]), np.arange(1, len(order) + 1)
    ends = np.flatnonzero(np.append(np.diff(logits[order]) != 0, True))  # equal answers stand or fall together
    best = ends[np.argmax(f1(right[ends], answered[ends], true.sum()))]
    low = logits[order[best + 1]] if best + 1 < len(order) else logits[order[best]] - 1.0
    return float(np.clip(1 / (1 + np.exp(-(float(logits[order[best]]) + float(low)) / 2)), 1e-4, 1 - 1e-4))


def _area(logits: np.ndarray, true: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(true, logits))


def _named(stands: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...]) -> str:
    shown = [f"{names[index]} {probabilities[index]:.2f}" for index in np.flatnonzero(stands)]
    return ", ".join(shown) or "none"


KIND = MultiLabelClassification()
