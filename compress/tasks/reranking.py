"""Reranking: one score for a query with a passage, by which the passages of each query are put into order.

The model reads the query and the passage together (a cross-encoder); candidates come from a faster search.

Source: Nogueira and Cho 2019, "Passage Re-ranking with BERT", arXiv 1901.04085; the loss on labels: Gao et al. 2021, "Rethink
Training of BERT Rerankers in Multi-Stage Retrieval Pipeline", arXiv 2101.08751 (softmax over a query's passages).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import REGRESSION, Head
from compress.tasks import texts
from compress.tasks.cutting import row_order
from compress.tasks.data.files import Reader
from compress.tasks.data.ranked import Candidates, collect_ranked, read_judged, read_qrels
from compress.tasks.data.rows import Rows, Table
from compress.tasks.encoding import Encoded, padding_of
from compress.tasks.kind import NoClasses, OutputIsAnswer, Reduction, load_kind, read_rows
from compress.tasks.known import DATA_DIR, Found
from compress.tasks.ranking_scores import by_query, means
from compress.tasks.scores import Score, drop, first, judged
from compress.tasks.split import Role, Split, spread_over
from compress.tasks.tokenizing import tokenized

if TYPE_CHECKING:
    import torch

NAME = "reranking"
OUTPUTS = ("LABEL_0",)
"""What transformers and sentence-transformers call the one output of a cross-encoder."""
LEARNED = 16
"""Passages of a query that are learned from: with fifteen negatives more are hardly worth their time (arXiv 2101.08751)."""
MOST_PASSAGES: Mapping[Role, int] = {"train": LEARNED, "selection": 32, "calibration": 4}
"""Epochs are told apart by fewer than are measured on; ranges and parity want many queries, and not many passages of each."""
FEWEST_QUERIES = 8
SHOWN_LETTERS = 120
SETS = ("dev.tsv", "test.tsv")
SCIFACT, LICENCE = "scifact", "claims and annotations CC BY 4.0, abstracts ODC-By 1.0"


def _scifact(data_dir: str | None) -> Found:
    """Read SciFact in BEIR's layout: claims, and the abstracts that support or contradict them."""
    folder = data_dir or os.environ.get(DATA_DIR)
    qrels = Path(folder).expanduser() / SCIFACT / "qrels" if folder else None
    measured = next((qrels / name for name in SETS if (qrels / name).is_file()), None) if qrels else None
    if qrels is None or measured is None:
        raise InputError(
            f"data {SCIFACT!r} is read from files; give task.data_dir, or set {DATA_DIR}, to a folder that holds {SCIFACT}/ "
            f"with corpus.jsonl, queries.jsonl, qrels/train.tsv and qrels/{' or qrels/'.join(SETS)}, as BEIR has them."
        )
    train, validation = (read_rows(load_kind(NAME), path, {}) for path in (qrels / "train.tsv", measured))
    return Found(train, validation, OUTPUTS, f"SciFact in BEIR's layout, {measured.name}, local files", LICENCE, {})


@dataclass(frozen=True, eq=False)
class Ranked:
    """What is true of queries' passages.

    Args:
        relevances: Of each passage, 0 where it is not relevant, (passages,).
        scores: What another model gave to each, NaN where none did, (passages,).
        groups: The number of the query of each, rising from 0, (passages,).
    """

    relevances: np.ndarray
    scores: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return int(self.groups[-1]) + 1 if len(self.groups) else 0

    @cached_property
    def ends(self) -> np.ndarray:
        """Where each query's passages end, but for the last's."""
        return np.flatnonzero(np.diff(self.groups)) + 1

    def by_query(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of passages, as one array for each query."""
        return np.split(values, self.ends)


def _statistics(answers: np.ndarray, targets: Ranked) -> np.ndarray:
    """Of each query the measures, and 1, (queries, measures + 1)."""
    return by_query(KIND.metrics, targets.by_query(answers[:, 0]), targets.by_query(targets.relevances))


def _firsts(answers: np.ndarray, targets: Ranked) -> np.ndarray:
    """Which passage of each query is put first, counted among its own, (queries,)."""
    return np.array([scores.argmax() for scores in targets.by_query(answers[:, 0])], dtype=np.int64)


class Reranking(OutputIsAnswer, NoClasses):
    """Rules of the kind; answers are scores of each query's passages, (passages, 1), targets are `Ranked`."""

    name = NAME
    head = Head(problem_type=REGRESSION, ranks=True)
    metrics: tuple[str, ...] = ("ndcg_at_10", "mrr_at_10")
    known: Mapping[str, Any] = {SCIFACT: _scifact}
    columns = (
        "query, positives, negatives; query, passages, scores; query, passage, score; or judgements beside corpus.jsonl and "
        "queries.jsonl"
    )
    readers: Mapping[str, Reader] = {".tsv": read_judged, ".qrels": read_qrels, ".txt": read_qrels}
    unit = "queries"
    noun = "relevance"
    pipeline_tag = "text-ranking"

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read queries, each with its passages, labels and scores."""
        return collect_ranked(table, columns)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Name the one output."""
        return OUTPUTS

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Keep the model's name."""
        return names

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse more than one name."""
        if names is not None and (isinstance(names, str) or len(names) != 1 or not isinstance(names[0], str)):
            raise InputError(f"labels are {shown(names)}; a reranker has one output: give one name in a list, or none.")

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Take either."""

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Take what is known of each query's passages."""
        targets = np.empty(len(rows), dtype=object)
        targets[:] = rows.labels
        return targets

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Say nothing: each query has passages of unlike relevance."""
        return None

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep queries and passages: all that are measured on, of others so many as MOST_PASSAGES tells."""
        most = MOST_PASSAGES.get(role)
        pairs = zip(rows.texts, targets, strict=True)
        return _split(role, rows.texts, [own if most is None else _fewer(query, own, most) for query, own in pairs])

    def without_labels(self, split: Split) -> Split:
        """Give no relevances; a teacher ranks. Pairs of one query are its passages, LEARNED of them at a time.

        Raises:
            InputError: There are no passages beside the queries.
        """
        queries, passages = split.texts, split.passages
        if passages is None:
            if split.pairs is None:
                raise InputError(
                    "texts without labels must be pairs here, a query and a passage; give a table whose columns are called "
                    "text and pair."
                )
            queries, passages = _by_text(split.texts, split.pairs)
        nothing = [Candidates(own, (float("nan"),) * len(own), None) for own in passages]
        return _split(split.role, queries, nothing)

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose queries evenly, fewer of those that have many passages."""
        return spread_over(len(split), min(count, max(FEWEST_QUERIES, split.rows_for(4 * count))))

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Count the passages, and tell how many of a query's are relevant, on average."""
        relevant = sum(relevance > 0 for own in split.labels for relevance in own.relevances)
        passages = sum(map(len, split.passages or ()))
        return {"passages": passages, "relevant": round(relevant / len(split), 2)} if len(split) else {}

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize each query with each of its passages; where the two are too long together, the longer one loses its end, so
        that a query stays whole while it has no more than half of the tokens."""
        padding = padding_of(tokenizer)
        passages = split.passages or ((),) * len(split)
        sizes = np.array([len(own) for own in passages], dtype=np.int64)
        groups = np.repeat(np.arange(len(split)), sizes)
        queries = [split.texts[row].strip() for row in groups]
        tokens = tokenized(tokenizer, queries, [passage for own in passages for passage in own], max_length)
        targets = Ranked(
            np.array([relevance for own in split.labels for relevance in own.relevances], dtype=np.float32),
            np.array(
                [score for own in split.labels for score in own.scores or (np.nan,) * len(own.passages)], dtype=np.float32
            ),
            groups,
        )
        ids, types = tokens.input_ids, tokens.token_type_ids
        return Encoded(ids, types, targets, tokens.truncated, padding, split.role, kind=NAME, groups=groups)

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Stack relevance, score and the number of the query in the batch, (batch, 3)."""
        import torch

        own: Ranked = encoded.labels
        _, numbers = np.unique(own.groups[indices], return_inverse=True)
        return torch.from_numpy(np.stack([own.relevances[indices], own.scores[indices], numbers], 1).astype(np.float32))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Cross-entropy of a softmax over a query's passages with their relevances as shares; of a query whose passages have
        scores by another model the squared error, mean over them."""
        import torch

        from compress.tasks.by_group import by_group

        logits, mask = by_group(outputs.float()[:, 0], targets[:, 2])
        relevances, scores = (by_group(targets[:, column], targets[:, 2])[0] for column in (0, 1))
        shares = relevances.nan_to_num() / relevances.nan_to_num().sum(1, keepdim=True).clamp(min=1e-12)
        entropies = -(shares * _log_shares(logits, mask)).sum(1)
        errors = (logits - scores.nan_to_num()).square().masked_fill(~mask, 0.0).sum(1) / mask.sum(1)
        losses = torch.where(scores.isnan().any(1), entropies, errors)
        return losses.mean() if reduction == "mean" else losses.sum()

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Kullback-Leibler divergence of softmaxes over a query's passages, mean over the queries."""
        mask = mask.bool()
        student_log, teacher_log = (_log_shares(logits[..., 0].float() / temperature, mask) for logits in (student, teacher))
        return (teacher_log.exp() * (teacher_log - student_log)).masked_fill(~mask, 0.0).sum(1).mean()

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Squared difference of the scores, mean over the passages."""
        return (student.float() - teacher.float())[mask.bool()].square().sum(-1).mean()

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the spread of the scores."""
        return texts.relative_error(baseline, answers, baseline.mean())

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Tell of each query whether another passage is put first."""
        ends = np.cumsum(lengths if lengths is not None else [len(baseline)])[:-1]
        pairs = zip(np.split(baseline[:, 0], ends), np.split(answers[:, 0], ends), strict=True)
        return np.array([before.argmax() != after.argmax() for before, after in pairs], dtype=bool)

    def score(self, answers: np.ndarray, targets: Ranked, metric: str) -> dict[str, float]:
        """nDCG and the mean reciprocal rank of the first ten."""
        sums = _statistics(answers, targets).sum(0)
        return {name: float(score(sums)) for name, score in first(metric, means(self.metrics)).items()}

    def judge(self, answers: np.ndarray, targets: Ranked, metric: str) -> dict[str, Any]:
        """Both with bootstrap intervals over the queries."""
        return judged(first(metric, means(self.metrics)), _statistics(answers, targets))

    def statistics(self, answers: np.ndarray, targets: Ranked, metric: str) -> np.ndarray:
        """Of each query every measure, and 1."""
        return _statistics(answers, targets)

    def score_of(self, metric: str) -> Score:
        """A measure's mean over the queries."""
        return means(self.metrics)[metric]

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: Ranked, metric: str) -> dict[str, Any]:
        """The drop's paired bootstrap over the queries; agreement is the share of queries with the same first passage."""
        before, after = (_statistics(scores, targets) for scores in (baseline, answers))
        return {
            "drop": drop(self.score_of(metric), before, after),
            "agreement": float((_firsts(baseline, targets) == _firsts(answers, targets)).mean()),
        }

    def check_answers(self, answers: np.ndarray, targets: Ranked, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse a model that ranks no better than one which gives the same score to every passage."""
        if trains:
            return
        metric = self.metrics[0]
        own, chance = (self.score(scores, targets, metric)[metric] for scores in (answers, np.zeros_like(answers)))
        if own <= chance:
            raise InputError(
                f"the model ranks the passages of {len(targets)} queries no better than chance ({metric} {own:.1%}, "
                f"{chance:.1%} by chance); begin with fine_tune, or use a checkpoint of this task."
            )

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """The queries whose first passage falls the farthest."""
        targets: Ranked = encoded.labels
        firsts, now = (_firsts(scores, targets) for scores in (baseline, answers))
        ranked = zip(targets.by_query(answers[:, 0]), firsts, strict=True)
        fallen = np.array([(scores > scores[before]).sum() for scores, before in ranked])
        passages = split.passages or ()
        return [
            {
                **texts.shown(split, index),
                "label": _beginning(split.labels[index].passages[int(np.argmax(split.labels[index].relevances))]),
                "teacher": _beginning(passages[index][firsts[index]]),
                "student": _beginning(passages[index][now[index]]),
            }
            for index in np.argsort(-fallen, kind="stable")[:count].tolist()
            if firsts[index] != now[index]
        ]

    def sentence(self, names: Sequence[str]) -> str:
        """Say what comes out."""
        return "reranker that gives a query and a passage a score"

    def sample(self, max_length: int) -> str:
        """Read a query with each of its passages."""
        return (
            f"tokenizer.enable_truncation({max_length})\n"
            'query = "who wrote it?"\n'
            'passages = ["It was written by Ada Lovelace in 1843.", "The plot of the film is thin."]\n'
            "encodings = tokenizer.encode_batch([(query, passage) for passage in passages])"
        )

    def snippet(self, names: Sequence[str]) -> str:
        """Print the passages with their scores, the best first."""
        return SNIPPET


SNIPPET = """\
import json
with open(f"{folder}/config.json", encoding="utf-8") as file:
    activation = json.load(file).get("sentence_transformers", {}).get("activation_fn", "Sigmoid")
scores = 1 / (1 + np.exp(-logits[:, 0])) if activation.endswith("Sigmoid") else logits[:, 0]
for place in np.argsort(-scores):
    print(f"{scores[place]:.3f} {passages[place]}")"""


def _split(role: Role, queries: Sequence[str], candidates: Sequence[Candidates]) -> Split:
    labels = np.empty(len(candidates), dtype=object)
    labels[:] = candidates
    return Split(role, tuple(queries), None, labels, passages=tuple(own.passages for own in candidates))


def _fewer(query: str, own: Candidates, most: int) -> Candidates:
    """So many of a query's passages, drawn by their texts: relevant ones, half of them at most, and others."""
    if len(own.passages) <= most:
        return own
    order = np.argsort(row_order([query] * len(own.passages), own.passages, NAME), kind="stable")
    is_relevant = np.array(own.relevances)[order] > 0
    relevant, others = order[is_relevant], order[~is_relevant]
    relevant = relevant[: max(most // 2, most - len(others))]
    kept = np.sort(np.concatenate([relevant, others[: most - len(relevant)]])).tolist()
    return replace(
        own,
        passages=tuple(own.passages[place] for place in kept),
        relevances=tuple(own.relevances[place] for place in kept),
        scores=None if own.scores is None else tuple(own.scores[place] for place in kept),
    )


def _by_text(queries: Sequence[str], passages: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Queries, each with its passages, once for each LEARNED of them."""
    of_query: dict[str, dict[str, None]] = {}
    for query, passage in zip(queries, passages, strict=True):
        of_query.setdefault(query, {})[passage] = None
    parts = [
        (query, tuple([*own][start : start + LEARNED]))
        for query, own in of_query.items()
        for start in range(0, len(own), LEARNED)
    ]
    return tuple(query for query, _ in parts), tuple(own for _, own in parts)


def _log_shares(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Logarithms of the softmax over each query's passages; 0 in the place of padding, (queries, most)."""
    lowest = -1e30  # so that a difference of two is a number
    return logits.masked_fill(~mask, lowest).log_softmax(1).masked_fill(~mask, 0.0)


def _beginning(passage: str) -> str:
    return passage if len(passage) <= SHOWN_LETTERS else f"{passage[:SHOWN_LETTERS]}..."


KIND = Reranking()
