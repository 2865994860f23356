"""Sentence embedding: a vector for each text, such that texts of like meaning point the same way.

Pairs of texts may have a score for how alike they are, or be alike without one, as a question and its answer; or queries have
documents that are relevant to them (BEIR's layout). Texts alone are enough to learn a teacher's vectors from.

Source: Reimers and Gurevych 2019, Sentence-BERT, arXiv 1908.10084; the losses: Henderson et al. 2017, arXiv 1705.00652,
section 4 (the other texts of a batch are what is not relevant), and Su Jianlin 2022, CoSENT, https://kexue.fm/archives/8847
(pairs in their order); the scores: Spearman's correlation, as Reimers and Gurevych take it, and nDCG@10, as BEIR does (arXiv
2104.08663).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import OF_SENTENCES
from compress.statistics import SEED, middle_95
from compress.tasks import texts
from compress.tasks.compared_vectors import GRADED, Graded, Judged, Ranked, cosines, likeness, scores_of_search
from compress.tasks.correlations import correlation
from compress.tasks.data.files import READERS, Reader
from compress.tasks.data.lines import read_lines_of_text
from compress.tasks.data.mistakes import Mistakes, first_of
from compress.tasks.data.retrieval import are_judgements, read_retrieval
from compress.tasks.data.rows import Rows, Table, collect
from compress.tasks.encoding import Encoded, padding_of
from compress.tasks.kind import NoClasses, OutputIsAnswer, Reduction, load_kind, read_rows
from compress.tasks.known import Found, HubSet, known_set, local_folder
from compress.tasks.laid_texts import PROMPTS, Laid, documents_of, laid_out, prompt_for
from compress.tasks.scores import Score, drop, first, judged, resampled_sums
from compress.tasks.split import Role, Split, spread_over
from compress.tasks.tokenizing import tokenized

if TYPE_CHECKING:
    import torch

NAME = "sentence-embedding"
SCORE, RELEVANCE = "score", "relevance"
"""What is told of pairs: how alike they are, or which belong together."""
QUERY, JUDGED = "query", "judged"
"""Columns of judgements as they are read."""
USUAL = {
    "text": ("text", "sentence1", "sentence", "anchor", "query", "question", "premise"),
    "pair": ("pair", "text_pair", "sentence2", "positive", "passage", "document", "answer", "hypothesis"),
    "label": ("score", "similarity_score", "similarity", "label"),
}
"""Columns, the likeliest first."""
TURNED = 0.95
"""A vector whose cosine with the other model's is less is another one."""
SCALE = 20.0
"""Of cosines in both losses, as sentence-transformers has it."""
FEWEST_QUERIES = 2


def _read_tsv(path: Path, content: bytes, quoting: str | None) -> Table:
    """Read judgements with their corpus, or a table."""
    if not are_judgements(content):
        return READERS[".tsv"](path, content, quoting)
    source = read_retrieval(path, content)
    queries = [query for query in source.queries if any(value > 0 for value in source.relevances[query].values())]
    if not queries:
        raise InputError(f"{path} has no query with a relevant document; give judgements above 0.")
    columns: dict[str, Sequence[Any]] = {
        QUERY: [source.queries[query] for query in queries],
        JUDGED: [Judged(source, query) for query in queries],
    }
    lines = [source.lines[query] for query in queries]
    return Table(str(path), tuple(columns), lambda names: (lines, [columns[name] for name in names]), Mistakes(str(path)))


STSB = HubSet(
    "sentence-transformers/stsb",
    {"text": "sentence1", "pair": "sentence2", "label": "score"},
    (SCORE,),
    "scores CC BY-SA 4.0; the sentences keep their sources' terms",
    local={"text": "sentence1", "pair": "sentence2", "label": "score"},
    source="GLUE STS-B",
)
SCIFACT, QRELS = "scifact", ("qrels/train.tsv", "qrels/dev.tsv")


def _scifact(data_dir: str | None) -> Found:
    """Read SciFact in BEIR's layout from a folder."""
    files = f"{SCIFACT}/corpus.jsonl, {SCIFACT}/queries.jsonl and {' and '.join(f'{SCIFACT}/{name}' for name in QRELS)}"
    folder = local_folder(SCIFACT, files, data_dir) / SCIFACT
    train, validation = (read_rows(load_kind(NAME), folder / name, {}) for name in QRELS)
    licence = "claims and annotations CC BY 4.0, abstracts ODC-By 1.0"
    return Found(train, validation, (RELEVANCE,), "SciFact in BEIR's layout, local files", licence, {})


class SentenceEmbedding(OutputIsAnswer, NoClasses):
    """Rules of the kind; answers are vectors (texts, dimensions), targets are `Laid`."""

    name = NAME
    head = OF_SENTENCES
    metrics: tuple[str, ...] = ("spearman", "ndcg_at_10", "pearson", "mrr_at_10", "recall_at_100")
    known: Mapping[str, Any] = {"stsb": known_set("stsb", STSB, NAME), "scifact": _scifact}
    readers: Mapping[str, Reader] = {".tsv": _read_tsv, ".txt": read_lines_of_text}
    columns = "text, pair, score; text, pair; text; or judgements beside corpus.jsonl and queries.jsonl"
    unit = "texts"
    noun = "score"
    pipeline_tag = "sentence-similarity"

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read texts, pairs of them, pairs with scores, or queries with what was judged."""
        if JUDGED in table.names and QUERY in table.names and not columns:
            lines, (queries, judgements) = table.take([QUERY, JUDGED])
            if all(isinstance(judgement, Judged) for judgement in judgements):
                return Rows(table.source, tuple(queries), None, tuple(judgements), tuple(lines), JUDGED)
        chosen = dict(columns)
        for role, usual in USUAL.items():
            column = next((name for name in usual if name in table.names and name not in chosen.values()), None)
            if role not in chosen and column is not None and not (role == "pair" and "text" in columns):
                chosen[role] = column
        rows = collect(table, chosen, labelled="label" in chosen, others=others)
        blank = tuple(None if label == "" else label for label in rows.labels)
        return replace(rows, labels=blank)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Name what is known of pairs; nothing of texts alone."""
        if any(isinstance(label, Judged) for label in rows.labels):
            return (RELEVANCE,)
        if rows.pairs is None:
            return ()
        return (SCORE,) if any(label is not None for label in rows.labels) else (RELEVANCE,)

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name what the rows tell.

        Raises:
            InputError: They tell nothing to measure by.
        """
        outputs = self.names(rows)
        if not outputs:
            raise InputError(
                f"{rows.source} holds texts alone, by which nothing is measured; give pairs of texts with scores "
                "(text, pair, score), pairs that belong together, or judgements (qrels) beside corpus.jsonl and queries.jsonl."
            )
        return outputs

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse names of labels."""
        if names is not None and tuple(names) not in ((SCORE,), (RELEVANCE,), ()):
            raise InputError(f"labels are {shown(list(names))}, but vectors of texts have none; leave labels out.")

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Refuse correlations without scores, and ranks with them."""
        if (metric in GRADED) != (names == (SCORE,)):
            what = "scores for pairs" if names == (SCORE,) else "texts that belong together"
            allowed = [name for name in self.metrics if (name in GRADED) == (names == (SCORE,))]
            raise InputError(f"task.metric is {metric}, but the data has {what}; use {' or '.join(allowed)}.")

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Read the scores; what was judged stays as it is, and None is what is not known."""
        known = np.empty(len(rows), dtype=object)
        wrong = []
        for row, label in enumerate(rows.labels):
            known[row] = _known(label)
            if known[row] is not None and not isinstance(known[row], Judged) and not np.isfinite(known[row]):
                wrong.append(f"  {rows.unit} {rows.lines[row]}, column {rows.label_column!r}: {shown(label)}")
        if wrong:
            raise InputError("\n".join([f"{rows.source} has scores that are no numbers; correct the rows:", *first_of(wrong)]))
        return known

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Show the score that all pairs have."""
        grades = {target for target in targets if isinstance(target, float)}
        return f"{grades.pop():g}" if len(grades) == 1 and all(isinstance(target, float) for target in targets) else None

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep texts, pairs and what is known of them."""
        return Split(role, rows.texts, rows.pairs, targets)

    def without_labels(self, split: Split) -> Split:
        """Know nothing; a teacher's vectors are learned."""
        return replace(split, labels=np.full(len(split), None, dtype=object))

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose pairs whose scores spread as all do, or the first texts."""
        grades = [target if isinstance(target, float) else 0.0 for target in split.labels]
        order = np.argsort(grades, kind="stable")
        return np.sort(order[spread_over(len(split), count)])

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Tell the scores' mean and deviation, or how many documents there are and are relevant."""
        grades = np.array([target for target in split.labels if isinstance(target, float)])
        if len(grades):
            return {"mean": round(float(grades.mean()), 4), "deviation": round(float(grades.std()), 4)}
        judgements = [target for target in split.labels if isinstance(target, Judged)]
        if not judgements:
            return {}
        relevant = sum(len(judgement.relevances) for judgement in judgements)
        return {"documents": len(judgements[0].source.documents), "relevant": relevant}

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize each text by itself, the prompt of its role before it; of a retrieval task the documents too."""
        padding = padding_of(tokenizer)
        written, roles, laid, groups = laid_out(split)
        prompts = {role: prompt_for(tokenizer, role) for role in PROMPTS}
        prompted = [prompts[role] + text.strip() for text, role in zip(written, roles, strict=True)]
        encoded = tokenized(tokenizer, prompted, None, max_length)
        return Encoded(
            encoded.input_ids,
            encoded.token_type_ids,
            laid,
            encoded.truncated,
            padding,
            split.role,
            kind=self.name,
            groups=groups,
        )

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Stack the numbers of pairs, which text of its pair each is, and scores, (batch, 3)."""
        import torch

        return torch.from_numpy(encoded.labels.known[indices])

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Order cosines as the scores are; or, of pairs without scores, find each one's second text among the batch's."""
        from compress.tasks import vector_losses

        first_texts, second_texts, others, grades = vector_losses.parted(outputs, targets)
        loss = (
            vector_losses.in_order(first_texts, second_texts, grades, SCALE)
            if grades is not None
            else vector_losses.contrastive(first_texts, second_texts, others, SCALE)
        )
        return loss if reduction == "mean" else loss * len(outputs)

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Squared distance over the temperature's square, which the objective takes back: a vector cannot be softened."""
        return self.distance(student, teacher, mask) / temperature**2

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Squared distance of the vectors, mean over the texts."""
        apart = (student.float() - teacher.float()).square().sum(-1)
        return (apart * mask).sum() / mask.sum() if apart.ndim == 2 else apart.mean()

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the vectors' length."""
        return texts.relative_error(baseline, answers, 0.0)

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Tell of each text whether its vector points elsewhere: a cosine below 0.95."""
        return np.asarray(cosines(baseline, answers) < TURNED)

    def score(self, answers: np.ndarray, targets: Laid, metric: str) -> dict[str, float]:
        """Both correlations, or what a search finds; nothing of texts that nothing is known of."""
        statistics = targets.truth.statistics(answers)
        scores = {name: float(score(statistics[name].sum(0))) for name, score in targets.truth.scores().items()}
        return {metric: scores[metric], **scores} if scores else {}

    def judge(self, answers: np.ndarray, targets: Laid, metric: str) -> dict[str, Any]:
        """All of them with bootstrap intervals, over pairs or queries."""
        statistics = targets.truth.statistics(answers)
        each = [judged({name: score}, statistics[name]) for name, score in targets.truth.scores().items()]
        keys = ("metrics", "metrics_ci95")
        return {key: first(metric, {name: value for entry in each for name, value in entry[key].items()}) for key in keys}

    def statistics(self, answers: np.ndarray, targets: Laid, metric: str) -> np.ndarray:
        """Of each pair what a correlation is made of, or of each query every measure."""
        return targets.truth.statistics(answers)[metric]

    def score_of(self, metric: str) -> Score:
        """A correlation, or a measure's mean over the queries."""
        return {**dict.fromkeys(GRADED, correlation), **scores_of_search()}[metric]

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: Laid, metric: str) -> dict[str, Any]:
        """The drop of the deciding score; agreement is the share of pairs with nearly the same cosine, or of queries that find
        the same document first. Where both have as many dimensions, `likeness` is the cosine between their vectors, and of a
        search `baseline_documents` the deciding score where the documents' vectors are the baseline's."""
        truth = targets.truth
        before, after = (self.statistics(vectors, targets, metric) for vectors in (baseline, answers))
        compared: dict[str, Any] = {
            "drop": drop(self.score_of(metric), before, after),
            "agreement": float(truth.same(baseline, answers).mean()),
        }
        if baseline.shape != answers.shape:
            return compared
        compared["likeness"] = likeness(baseline, answers)
        if isinstance(truth, Ranked):
            mixed = baseline.copy()
            mixed[truth.queries] = answers[truth.queries]
            score = truth.scores()[metric](truth.statistics(mixed)[metric].sum(0))
            compared["baseline_documents"] = {metric: float(score)}
        return compared

    def check_answers(self, answers: np.ndarray, targets: Laid, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse a model whose vectors tell nothing of what belongs together, as far as so many pairs can tell."""
        truth = targets.truth
        if trains or truth.pairs < FEWEST_QUERIES:
            return
        if isinstance(truth, Graded):
            statistics = truth.statistics(answers)["pearson"]
            is_good = middle_95(correlation(resampled_sums(statistics, SEED)))[1] > 0 and correlation(statistics.sum(0)) > 0
        else:
            assert isinstance(truth, Ranked)
            others = replace(truth, relevances=[*truth.relevances[1:], truth.relevances[0]])
            own, other = (ranked.statistics(answers)["mrr_at_10"][:, 0].mean() for ranked in (truth, others))
            is_good = own > other
        if not is_good:
            raise InputError(
                f"the model's vectors of {truth.pairs} pairs tell nothing of which belong together; begin with fine_tune, or "
                "use a checkpoint that was trained for sentence embedding."
            )

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """The pairs whose cosines are farthest apart, or queries that find other documents first."""
        truth = encoded.labels.truth
        if isinstance(truth, Graded):
            before, after = truth.said(baseline), truth.said(answers)
            order = np.argsort(-np.abs(before - after), kind="stable")[:count]
            entries = [(f"{truth.grades[row]:.2f}", f"{before[row]:.2f}", f"{after[row]:.2f}") for row in order]
        else:
            firsts = [truth.first_of(vectors) for vectors in (baseline, answers)]
            order = np.flatnonzero(firsts[0] != firsts[1])[:count]
            documents = documents_of(split)
            entries = [
                (
                    " | ".join(documents[number][: texts.SHOWN_LETTERS // 4] for number in truth.relevances[row]),
                    *(documents[own[row]][: texts.SHOWN_LETTERS // 4] for own in firsts),
                )
                for row in order
            ]
        keys = ("label", "teacher", "student")
        return [
            {**texts.shown(split, row), **dict(zip(keys, entry, strict=True))}
            for row, entry in zip(order, entries, strict=True)
        ]

    def sentence(self, names: Sequence[str]) -> str:
        """Say what comes out."""
        return "sentence embedder: a vector for each text, whose cosines tell how alike texts are"

    def sample(self, max_length: int) -> str:
        """Read two texts."""
        return texts.sample(max_length)

    def snippet(self, names: Sequence[str]) -> str:
        """Print the cosine of the two."""
        return (
            "lengths = np.linalg.norm(sentence_embedding, axis=1)\n"
            "print((sentence_embedding @ sentence_embedding.T / np.outer(lengths, lengths)).round(3))"
        )


def _known(label: Any) -> Any:
    if label is None or isinstance(label, Judged):
        return label
    try:
        return float(label)
    except ValueError:
        return float("nan")


KIND = SentenceEmbedding()
