"""Sequence-to-sequence: a text is written for a text, token by token, such as its translation or its summary.

A BERT reads; a decoder with attention to it writes. Answers are the ids of what is written, greedily or by beam search; the
scores compare the texts that they stand for.

Source: Sutskever et al. 2014, arXiv 1409.3215; Rothe et al. 2020, "Leveraging pre-trained checkpoints for sequence generation
tasks", arXiv 1907.12461; the scores: Post 2018, arXiv 1804.08771 (BLEU).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import OF_TOKENS, WRITER
from compress.tasks import texts
from compress.tasks.data.cells import read_texts
from compress.tasks.data.files import NO_READERS, Reader
from compress.tasks.data.rows import Rows, Table, check_names, collect, column_of
from compress.tasks.emphasis import EVEN, cross_entropy
from compress.tasks.encoding import Encoded
from compress.tasks.kind import ComparedByToken, NoClasses, OutputIsAnswer, Reduction
from compress.tasks.known import HubSet, known_set
from compress.tasks.scores import Score, drop, first, judged
from compress.tasks.split import Role, Split, spread_over
from compress.tasks.text_scores import SCORES, text_counts
from compress.tasks.written import NOT_LEARNED, Written, as_targets, written

if TYPE_CHECKING:
    import torch

NAME = "sequence-to-sequence"
OUTPUT = ("text",)
USUAL = {
    "text": ("text to read", ("source", "src", "text", "document", "article", "dialogue", "input", "sentence", "question")),
    "label": ("text to write", ("target", "tgt", "summary", "highlights", "translation", "output", "simple", "label")),
}
"""What stands in the columns of each role, and what these are usually called."""
CELLS = {"text": read_texts, "pair": read_texts, "label": read_texts}
MULTI30K = HubSet(
    "bentrevett/multi30k",
    {"text": "en", "label": "de"},
    OUTPUT,
    "captions of Flickr30k, for non-commercial research and education",
    validation="test",
    files=("train.tsv", "test_2016_flickr.tsv"),
    source="Multi30k, English to German",
)


class SequenceToSequence(OutputIsAnswer, NoClasses, ComparedByToken):
    """Rules of the kind; answers are ids of what is written, (examples, longest), or scores of the next token, (tokens,
    vocabulary), where texts are given; targets are `Written`."""

    name = NAME
    head = OF_TOKENS[WRITER]
    metrics: tuple[str, ...] = ("bleu", "chrf", "rouge_l")
    known: Mapping[str, Any] = {"multi30k_en_de": known_set("multi30k_en_de", MULTI30K, NAME)}
    columns = "source, target"
    readers: Mapping[str, Reader] = NO_READERS
    unit = "texts"
    noun = "text"
    pipeline_tag = "text2text-generation"

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read the texts to read and those to write."""
        check_names(table.source, table.names)
        if "pair" in columns:
            raise InputError(
                f"data.pair is {shown(columns['pair'])}, but {NAME} reads one text and writes one; name their columns with "
                "data.text and data.label."
            )
        roles = {"text": column_of(table, "text", USUAL["text"][1], columns, USUAL["text"][0])}
        taken = {**columns, **roles}
        roles["label"] = column_of(table, "label", USUAL["label"][1], taken, USUAL["label"][0])
        return collect(table, roles, others=others, cells=CELLS)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Name the one output."""
        return OUTPUT

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name the one output, whatever the model calls it."""
        return OUTPUT

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse names of labels."""
        if names is not None and tuple(names) != OUTPUT:
            raise InputError(f"labels are {shown(names)}, but texts that are written have none; leave labels out.")

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Take each."""

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Take the texts to write."""
        return as_targets(rows.labels)

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Show the text that is always to be written."""
        return str(targets[0]) if len(targets) and len(set(targets)) == 1 else None

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep the texts to read and to write."""
        return Split(role, rows.texts, None, targets)

    def without_labels(self, split: Split) -> Split:
        """Give no texts to write; a teacher does.

        Raises:
            InputError: The texts are pairs.
        """
        if split.pairs is not None:
            raise InputError(f"{NAME} reads one text, not a pair; give a table without a second text.")
        return replace(split, labels=as_targets([""] * len(split)))

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose examples from all over the part."""
        return spread_over(len(split), count)

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Tell how long the texts to write are."""
        words = sum(len(text.split()) for text in split.labels)
        return {"mean_words_to_write": round(words / max(1, len(split)), 1)}

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize both texts, each cut at its end."""
        encoded = texts.encode(split, tokenizer, max_length, NAME)
        right = written(tuple(split.labels), tokenizer, max_length)
        return replace(encoded, labels=right, written=right)

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Stack the tokens to write, (batch, tokens)."""
        import torch

        return torch.from_numpy(encoded.labels.targets(indices))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Cross-entropy of the tokens to write, each after the right ones before it (teacher forcing)."""
        return cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction, EVEN, NOT_LEARNED)

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the spread of each token's scores."""
        return texts.relative_error(baseline, answers, baseline.mean(axis=1, keepdims=True))

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Tell of each text whether another is written; where texts are given, of each token whether another is likeliest."""
        if lengths is not None:
            return np.asarray(baseline.argmax(axis=1) != answers.argmax(axis=1))
        return np.asarray((baseline != answers).any(axis=1))

    def score(self, answers: np.ndarray, targets: Written, metric: str) -> dict[str, float]:
        """BLEU, chrF and ROUGE-L."""
        sums = text_counts(targets.said(answers), targets.texts).sum(0)
        return {name: float(score(sums)) for name, score in first(metric, SCORES).items()}

    def judge(self, answers: np.ndarray, targets: Written, metric: str) -> dict[str, Any]:
        """All of them with bootstrap intervals over the texts."""
        return judged(first(metric, SCORES), text_counts(targets.said(answers), targets.texts))

    def statistics(self, answers: np.ndarray, targets: Written, metric: str) -> np.ndarray:
        """Of each text how often words and characters are right."""
        return text_counts(targets.said(answers), targets.texts)

    def score_of(self, metric: str) -> Score:
        """BLEU, chrF or ROUGE-L."""
        return SCORES[metric]

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: Written, metric: str) -> dict[str, Any]:
        """The drop of the deciding score; agreement is the share of texts that are written alike."""
        before, after = (targets.said(ids) for ids in (baseline, answers))
        counts = [text_counts(said, targets.texts) for said in (before, after)]
        same = [old == new for old, new in zip(before, after, strict=True)]
        return {"drop": drop(SCORES[metric], *counts), "agreement": float(np.mean(same))}

    def check_answers(self, answers: np.ndarray, targets: Written, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse a model that writes nothing nearer to what is right than what it writes for other texts."""
        if trains or len(targets) < 2:
            return
        said = targets.said(answers)
        own, other = (
            float(SCORES["chrf"](text_counts(own_texts, targets.texts).sum(0))) for own_texts in (said, said[1:] + said[:1])
        )
        if own <= other:
            raise InputError(
                f"what the model writes for {len(said)} texts (chrF {own:.1%}) is no nearer to what is right than what it "
                f"writes for other texts ({other:.1%}); begin with fine_tune, or use a checkpoint of this task."
            )

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """Those for which the least alike is written."""
        before, after = (encoded.labels.said(ids) for ids in (baseline, answers))
        alike = SCORES["chrf"](text_counts(after, before))
        return [
            {**texts.shown(split, index), "label": split.labels[index], "teacher": before[index], "student": after[index]}
            for index in np.argsort(alike, kind="stable")[:count]
            if before[index] != after[index]
        ]

    def sentence(self, names: Sequence[str]) -> str:
        """Say what comes out."""
        return "writer of a text for a text, such as its translation or its summary"

    def sample(self, max_length: int) -> str:
        """Read a text, cut at its end."""
        return f'tokenizer.enable_truncation({max_length})\nencodings = [tokenizer.encode("A man sleeps in a green room.")]'

    def snippet(self, names: Sequence[str]) -> str:
        """Print what is written."""
        return "print(writer.decode(ids))"


KIND = SequenceToSequence()
