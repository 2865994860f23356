"""Regression: one score for a text or for a pair of texts, such as how alike two sentences are.

Source: Cer et al. 2017, SemEval-2017 task 1 (STS Benchmark), arXiv 1708.00055 (Pearson's correlation decides); Devlin et al.
2019, BERT, arXiv 1810.04805, section 4.1 (one output on the first token for STS-B), with the squared error as in transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import REGRESSION, Head
from compress.statistics import SEED, middle_95
from compress.tasks import texts
from compress.tasks.correlations import correlation, correlation_statistics
from compress.tasks.data.files import NO_READERS, Reader
from compress.tasks.data.mistakes import first_of
from compress.tasks.data.rows import Rows, Table, collect
from compress.tasks.kind import NoClasses, OutputIsAnswer, Reduction
from compress.tasks.known import HubSet, known_set
from compress.tasks.scores import Score, drop, first, judged, resampled_sums
from compress.tasks.split import Role, Split, spread_over

if TYPE_CHECKING:
    import torch

    from compress.tasks.encoding import Encoded

NAME = "regression"
SCORE = "score"
NOTICEABLE = 0.25
"""A score that moves by more than this part of the scores' spread (their standard deviation) is another answer."""
KNOWN = {
    "stsb": known_set(
        "stsb",
        HubSet(
            "nyu-mll/glue:stsb",
            {"text": "sentence1", "pair": "sentence2", "label": "label"},
            (SCORE,),
            "scores CC BY-SA 4.0; the sentences keep their sources' terms",
            local={"text": "sentence1", "pair": "sentence2", "label": "score"},
            source="GLUE STS-B",
        ),
        NAME,
    )
}


def _statistics(answers: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    return correlation_statistics(answers[:, 0], targets)


class Regression(OutputIsAnswer, NoClasses):
    """Rules of the kind; answers are scores (examples, 1), targets are numbers (examples,)."""

    name = NAME
    head = Head(problem_type=REGRESSION)
    metrics: tuple[str, ...] = ("pearson", "spearman")
    known = KNOWN
    readers: Mapping[str, Reader] = NO_READERS
    columns = "text, score; or text, pair, score"
    unit = "examples"
    noun = "score"
    pipeline_tag = "text-classification"

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read text, pair and score."""
        if "label" not in columns and SCORE in table.names:
            columns = {**columns, "label": SCORE}
        return collect(table, columns, others=others)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Name the one output."""
        return (SCORE,)

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Keep the model's name."""
        return names

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse more than one name."""
        if names is not None and (isinstance(names, str) or len(names) != 1 or not isinstance(names[0], str)):
            raise InputError(f"labels are {shown(names)}; a regression has one output: give one name in a list, or none.")

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Take either."""

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Read the numbers."""
        numbers = np.array([_number(label) for label in rows.labels], dtype=np.float32)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            lines = [
                f"  {rows.unit} {rows.lines[row]}, column {rows.label_column!r}: {shown(rows.labels[row])}" for row in wrong
            ]
            raise InputError("\n".join([f"{rows.source} has scores that are no numbers; correct the rows:", *first_of(lines)]))
        return numbers

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Show the score that all rows have."""
        return f"{targets[0]:g}" if len(targets) and (targets == targets[0]).all() else None

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep texts, pairs and scores."""
        return Split(role, rows.texts, rows.pairs, targets)

    def without_labels(self, split: Split) -> Split:
        """Give no scores; a teacher does."""
        return replace(split, labels=np.full(len(split), np.nan, dtype=np.float32))

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose examples whose scores spread as all do."""
        order = np.argsort(split.labels, kind="stable")
        return np.sort(order[spread_over(len(split), count)])

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Tell the mean and the standard deviation."""
        if not len(split):
            return {}
        return {"mean": round(float(split.labels.mean()), 4), "deviation": round(float(split.labels.std()), 4)}

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize the texts, each cut at its end."""
        return texts.encode(split, tokenizer, max_length, self.name)

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Stack the scores, (batch,)."""
        return texts.collate(encoded, indices)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Squared error."""
        from torch.nn import functional

        return functional.mse_loss(outputs.float()[:, 0], targets, reduction=reduction)

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Squared difference over the temperature's square, which the objective takes back: a score cannot be softened."""
        return self.distance(student, teacher, mask) / temperature**2

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Squared difference, mean over the examples."""
        return (student.float() - teacher.float()).square().sum(-1).mean()

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the spread of the scores."""
        return texts.relative_error(baseline, answers, baseline.mean())

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Tell of each example whether its score moves by more than a quarter of the scores' standard deviation."""
        return np.asarray(np.abs(answers - baseline)[:, 0] > NOTICEABLE * max(float(baseline.std()), 1e-12))

    def score(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, float]:
        """Pearson's and Spearman's correlation."""
        scores = {name: float(correlation(moments.sum(0))) for name, moments in _statistics(answers, targets).items()}
        return {metric: scores[metric], **scores}

    def judge(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, Any]:
        """Both with bootstrap intervals."""
        each = [judged({name: correlation}, moments) for name, moments in _statistics(answers, targets).items()]
        return {key: first(metric, {**each[0][key], **each[1][key]}) for key in ("metrics", "metrics_ci95")}

    def statistics(self, answers: np.ndarray, targets: np.ndarray, metric: str) -> np.ndarray:
        """Of each example what a correlation is made of."""
        return _statistics(answers, targets)[metric]

    def score_of(self, metric: str) -> Score:
        """The correlation, of numbers or of ranks."""
        return correlation

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: np.ndarray, metric: str) -> dict[str, Any]:
        """The drop of the deciding correlation; agreement is the share of examples with nearly the baseline's score."""
        before, after = (self.statistics(predictions, targets, metric) for predictions in (baseline, answers))
        return {
            "drop": drop(correlation, before, after),
            "agreement": float((~self.flips(baseline, answers)).mean()),
        }

    def check_answers(self, answers: np.ndarray, targets: np.ndarray, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse a model whose scores do not go with the true ones, as far as this many examples can tell."""
        if trains:
            return
        statistics = _statistics(answers, targets)["pearson"]
        if middle_95(correlation(resampled_sums(statistics, SEED)))[1] > 0 and correlation(statistics.sum(0)) > 0:
            return
        raise InputError(
            f"the model's scores do not go with those of {len(targets)} examples (correlation "
            f"{float(correlation(statistics.sum(0))):.2f}); begin with fine_tune, or use a checkpoint of this task."
        )

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """Those whose scores are farthest apart."""
        apart = np.abs(baseline - answers)[:, 0]
        return [
            {
                **texts.shown(split, index),
                "label": f"{split.labels[index]:.2f}",
                "teacher": f"{baseline[index, 0]:.2f}",
                "student": f"{answers[index, 0]:.2f}",
            }
            for index in np.argsort(-apart, kind="stable")[:count]
        ]

    def sentence(self, names: Sequence[str]) -> str:
        """Say what comes out."""
        return "model that gives a text, or a pair of texts, a score"

    def sample(self, max_length: int) -> str:
        """Read two texts."""
        return texts.sample(max_length)

    def snippet(self, names: Sequence[str]) -> str:
        """Print the scores."""
        return "print(logits[:, 0].tolist())"


def _number(label: str) -> float:
    try:
        return float(label)
    except ValueError:
        return math.nan


KIND = Regression()
