"""Text classification: one label for a sentence or for a pair of sentences.

Source: Wang et al. 2019, GLUE, arXiv 1804.07461 (SST-2, MRPC, QQP, MNLI, QNLI, RTE, CoLA); Devlin et al. 2019, BERT,
arXiv 1810.04805, figure 4 (a) and (b).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError
from compress.models.head import SINGLE_LABEL_HEAD
from compress.statistics import (
    f1_resamples,
    mcnemar_p,
    middle_95,
    paired_counts,
    paired_drop_interval,
    wilson_interval,
)
from compress.tasks import texts
from compress.tasks.data.cells import read_texts
from compress.tasks.data.distributions import are_probabilities, array_of, read_labels_or_probabilities
from compress.tasks.data.files import NO_READERS, Reader
from compress.tasks.data.rows import Rows, Table, collect
from compress.tasks.emphasis import EVEN, Emphasis, balanced, cross_entropy
from compress.tasks.kind import OutputIsAnswer, Reduction
from compress.tasks.known import SETS
from compress.tasks.labels import check_label_names, in_order
from compress.tasks.reliability import Confidence, confidence_in_labels
from compress.tasks.scores import LABEL_SCORES, Score, share
from compress.tasks.single_labels import ids_of, label_names, names_of_outputs
from compress.tasks.split import Role, Split

if TYPE_CHECKING:
    import torch

    from compress.tasks.encoding import Encoded


class TextClassification(OutputIsAnswer):
    """Rules of text classification; answers are logits (examples, labels), targets are label ids (examples,), or probabilities
    of the labels, (examples, labels), as another model gives them; the likeliest is then the label."""

    name = "text-classification"
    head = SINGLE_LABEL_HEAD
    metrics: tuple[str, ...] = ("accuracy", "f1")
    known = SETS
    readers: Mapping[str, Reader] = NO_READERS
    columns = "text, label; or text, pair, label"
    unit = "examples"
    noun = "label"
    pipeline_tag = "text-classification"

    def abstaining(self, options: Mapping[str, Any]) -> TextClassification:
        """The same rules where none may be answered; see `compress.tasks.abstaining`."""
        from compress.tasks.abstaining import abstaining

        return abstaining(options)

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read text, pair and label."""
        cells: Any = {"text": read_texts, "pair": read_texts, "label": read_labels_or_probabilities}
        return collect(table, columns, others=others, cells=cells)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Sort the labels that there are."""
        if are_probabilities(rows):
            return tuple(in_order(name for probabilities in rows.labels for name in probabilities))
        return label_names(rows)

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Take the rows' labels where a model has only numbers."""
        return names if are_probabilities(rows) else names_of_outputs(rows, names)

    def classes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Take the labels."""
        return tuple(names)

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse what is not at least two names, each once."""
        check_label_names(names)

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Find each label's id, or put probabilities into the labels' order."""
        return array_of(rows, names) if are_probabilities(rows) else ids_of(rows, names)

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Refuse F1 where there are not two labels."""
        if metric == "f1" and len(names) != 2:
            raise InputError(f"task.metric f1 needs two labels, the data has {len(names)}; use accuracy.")

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Name the label that all rows have."""
        ids = likeliest(targets)
        return names[ids[0]] if len(set(ids.tolist())) < 2 else None

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep texts, pairs and ids."""
        return Split(role, rows.texts, rows.pairs, targets)

    def without_labels(self, split: Split) -> Split:
        """Leave each text the id of no label."""
        return split

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose the first example of each label, and others."""
        firsts = np.unique(likeliest(split.labels), return_index=True)[1]
        others = np.setdiff1d(np.arange(len(split)), firsts)[: max(0, count - len(firsts))]
        return np.sort(np.concatenate([firsts, others]))

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Count the examples of each label."""
        return {"per_label": np.bincount(likeliest(split.labels), minlength=len(names)).tolist()}

    def balanced(self, split: Split, names: tuple[str, ...]) -> np.ndarray:
        """Weigh each label by how rare it is."""
        return balanced(np.bincount(likeliest(split.labels), minlength=len(names)))

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize the texts, each cut at its end."""
        return texts.encode(split, tokenizer, max_length, self.name)

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Stack the ids, (batch,), or the probabilities, (batch, labels)."""
        return texts.collate(encoded, indices)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean", emphasis: Emphasis = EVEN
    ) -> torch.Tensor:
        """Cross-entropy with the label, or with the labels' probabilities."""
        return cross_entropy(outputs, targets, reduction, emphasis)

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Kullback-Leibler divergence, mean over the examples, sum over the labels."""
        from torch.nn import functional

        student_log = functional.log_softmax(student.float() / temperature, dim=-1)
        teacher_log = functional.log_softmax(teacher.float() / temperature, dim=-1)
        return functional.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Squared distance, mean over the examples, sum over the labels."""
        return (student.float() - teacher.float()).square().sum(-1).mean()

    def zero_shot(self, entailed: np.ndarray, contradicted: np.ndarray) -> np.ndarray | None:
        """Compare the labels by how well they follow, so that the softmax is over their entailment."""
        return entailed

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the spread of each example's logits, whose mean says nothing."""
        return texts.relative_error(baseline, answers, baseline.mean(axis=1, keepdims=True))

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Compare the labels."""
        return np.asarray(baseline.argmax(1) != answers.argmax(1))

    def score(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, float]:
        """Accuracy, and the F1 of label 1 if that is asked for; both fractions."""
        from sklearn.metrics import f1_score

        said, true = np.asarray(answers).argmax(axis=1), likeliest(targets)
        scores = {"accuracy": float((said == true).mean())}
        if metric == "f1":
            scores["f1"] = float(f1_score(true, said, zero_division=0.0))
        return scores

    def judge(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, Any]:
        """Wilson's interval of the accuracy, the bootstrap's of F1."""
        said, true = answers.argmax(axis=1), likeliest(targets)
        intervals = {"accuracy": list(wilson_interval(int((said == true).sum()), len(true)))}
        if metric == "f1":
            intervals["f1"] = list(middle_95(f1_resamples(true, said)))
        return {"metrics": self.score(answers, targets, metric), "metrics_ci95": intervals}

    def statistics(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> np.ndarray:
        """Right and 1; for F1 whether label 1 is answered rightly, answered, and true."""
        said, true = answers.argmax(axis=1), likeliest(targets)
        if metric == "f1":
            return np.stack([(said == 1) & (true == 1), said == 1, true == 1], axis=1).astype(np.int64)
        return np.stack([said == true, np.ones(len(true), dtype=bool)], axis=1).astype(np.int64)

    def score_of(self, metric: str) -> Score:
        """Accuracy, or F1."""
        return LABEL_SCORES["f1"] if metric == "f1" else share

    def by_class(self, answers: np.ndarray, targets: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """Mark each example's label and answer."""
        labels = np.arange(len(names))
        said, true = answers.argmax(axis=1)[:, None] == labels, likeliest(targets)[:, None] == labels
        return np.stack([said & true, said, true], axis=-1).astype(np.int64)

    def confidence(self, answers: np.ndarray, targets: np.ndarray) -> Confidence | None:
        """Take the softmax."""
        return confidence_in_labels(answers, targets)

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, Any]:
        """The drop's paired bootstrap interval; `p` is McNemar's, exact, of how often each is right."""
        baseline_labels, answer_labels, true = baseline.argmax(axis=1), answers.argmax(axis=1), likeliest(targets)
        lost, won, total = paired_counts(baseline_labels == true, answer_labels == true)
        if metric == "f1":
            value = self.score(baseline, targets, "f1")["f1"] - self.score(answers, targets, "f1")["f1"]
            before, after = f1_resamples(true, baseline_labels, answer_labels)
            interval = middle_95(before - after)
        else:
            value, interval = (lost - won) / total, paired_drop_interval(lost, won, total)
        return {
            "drop": {"value": value, "ci95": list(interval), "p": mcnemar_p(lost, won)},
            "agreement": float((baseline_labels == answer_labels).mean()),
        }

    def confusion(self, answers: np.ndarray, targets: np.ndarray, count: int) -> list[list[int]] | None:
        """Count the examples by label and answer."""
        from compress.tasks.chance import confusion_matrix

        return [list(map(int, row)) for row in confusion_matrix(likeliest(targets), answers.argmax(axis=1), count)]

    def check_answers(self, answers: np.ndarray, targets: np.ndarray, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse what is at or below chance; of what is trained further, outputs in another order."""
        from compress.tasks.chance import assert_better_than_chance, assert_not_in_another_order

        (assert_not_in_another_order if trains else assert_better_than_chance)(answers, likeliest(targets), names)

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """Those whose probabilities are farthest apart."""
        before, after = (_probabilities(logits) for logits in (baseline, answers))
        apart, true = np.abs(before - after).sum(axis=1) / 2, likeliest(split.labels)
        return [
            {
                **texts.shown(split, index),
                "label": names[true[index]],
                "teacher": [round(float(value), 4) for value in before[index]],
                "student": [round(float(value), 4) for value in after[index]],
            }
            for index in np.argsort(-apart, kind="stable")[:count]
        ]

    def sentence(self, names: Sequence[str]) -> str:
        """Name the labels."""
        return f"text classifier that tells {texts.listed(names)} apart" if names else "text classifier"

    def sample(self, max_length: int) -> str:
        """Read two texts."""
        return texts.sample(max_length)

    def snippet(self, names: Sequence[str]) -> str:
        """Print each text's label."""
        return "print([labels[answer] for answer in logits.argmax(axis=1)])"


def likeliest(targets: np.ndarray) -> np.ndarray:
    """The labels' ids, (examples,); of probabilities the likeliest's."""
    return np.asarray(targets.argmax(axis=1) if targets.ndim == 2 else targets)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


KIND = TextClassification()
