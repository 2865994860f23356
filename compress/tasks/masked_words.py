"""Masked words: plain texts, of which a model tells the pieces that are masked; what an encoder learns before any task.

A text is cut into windows, so that none of it is lost (`compress.tasks.masked_pieces`). In training pieces are masked anew in
each step; where a model is measured, the same ones are masked for every model.

Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 3.1; distilled before any task: Sanh et al. 2019, DistilBERT, arXiv
1910.01108; the score: Salazar et al. 2020, "Masked language model scoring", arXiv 1910.14659, section 2.3.
Differs: Salazar et al. mask one piece at a time, we every seventh, which takes a seventh of the passes at most; what is masked
beside a piece makes it harder to tell, so that ours is higher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import MASKED, OF_TOKENS
from compress.tasks import texts
from compress.tasks.cutting import row_order
from compress.tasks.data.files import Reader
from compress.tasks.data.lines import read_lines_of_text
from compress.tasks.data.rows import TEXT_COLUMNS, Rows, Table, collect, column_of
from compress.tasks.emphasis import EVEN, cross_entropy
from compress.tasks.encoding import IGNORED, Encoded, padding_of
from compress.tasks.kind import ComparedByToken, NoClasses, OutputIsAnswer, Reduction, load_kind, read_rows
from compress.tasks.known import Found, local_folder
from compress.tasks.masked_pieces import KEPT, MaskedPieces, mask_of, masked, passes_over, windows_of
from compress.tasks.scores import Score, drop, first, judged
from compress.tasks.split import Role, Split, spread_over

if TYPE_CHECKING:
    import torch

NAME = "masked-words"
FRACTION = 0.15
WIKITEXT = "wikitext2"
PARTS = ("train.txt", "test.txt")
MEASURED = 300
"""Paragraphs of the test part that are measured on, chosen by their texts: a subject answers them in a minute."""
JOINTS = {" @-@ ": "-", " @,@ ": ",", " @.@ ": ".", "<unk>": "[UNK]"}
"""What WikiText writes in numbers, in compounds and for rare words, and what it stands for."""
MOST_SHOWN = 20
"""Of the pieces that two models tell otherwise in one text."""
MOST = 80.0
"""Of -log p, whose exponential no interval needs to tell from infinity."""


def _perplexity(sums: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(np.minimum(sums[..., 0] / np.maximum(sums[..., 2], 1), MOST)))


SCORES: Mapping[str, Score] = {
    "pseudo_perplexity": _perplexity,
    "accuracy": lambda sums: sums[..., 1] / np.maximum(sums[..., 2], 1),
}


def _wikitext(data_dir: str | None) -> Found:
    """Read WikiText-2's paragraphs from a folder; titles are left out."""
    folder = local_folder(WIKITEXT, " and ".join(f"{WIKITEXT}/{name}" for name in PARTS), data_dir)
    train, test = (_paragraphs(folder / WIKITEXT / name) for name in PARTS)
    chosen = np.sort(np.argsort(row_order(test.texts, None, "measured"), kind="stable")[:MEASURED])
    return Found(train, test.pick(chosen.tolist()), (), "WikiText-2, local files", "CC BY-SA 3.0", {})


def _paragraphs(path: Path) -> Rows:
    rows = read_rows(load_kind(NAME), path, {})
    rows = rows.pick([row for row, text in enumerate(rows.texts) if not text.startswith("= ")])
    plain = rows.texts
    for written, meant in JOINTS.items():
        plain = tuple(text.replace(written, meant) for text in plain)
    return replace(rows, texts=plain)


KNOWN: Mapping[str, Callable[[str | None], Found]] = {WIKITEXT: _wikitext}


class MaskedWords(OutputIsAnswer, NoClasses, ComparedByToken):
    """Rules of the kind; answers are logits as a model gives them, (places, pieces), or what is kept of them, (places, KEPT);
    targets are `MaskedPieces`."""

    name = NAME
    head = OF_TOKENS[MASKED]
    metrics: tuple[str, ...] = ("pseudo_perplexity", "accuracy")
    known = KNOWN
    readers: Mapping[str, Reader] = {".txt": read_lines_of_text}
    columns = "text"
    unit = "tokens"
    noun = "text"
    pipeline_tag = "fill-mask"

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read texts.

        Raises:
            InputError: Labels or second texts are named, which nothing is learned of.
        """
        for role, what in (("label", "labels"), ("pair", "second texts")):
            if role in columns:
                raise InputError(
                    f"data.{role} is {shown(columns[role])}, but {NAME} learns from texts alone, which have no {what}; leave "
                    f"data.{role} out, or name the kind of task that reads {what}."
                )
        return collect(table, {"text": column_of(table, "text", TEXT_COLUMNS, columns)}, labelled=False, others=others)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Name nothing: the outputs are the tokenizer's pieces."""
        return ()

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name nothing."""
        return ()

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse names of labels."""
        if names:
            raise InputError(f"labels are {shown(list(names))}, but masked words have none; leave labels out.")

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Take each."""

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Know nothing but the texts."""
        return np.zeros(len(rows), dtype=np.int64)

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Find something to learn in every text."""
        return None

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep the texts."""
        return Split(role, rows.texts, None, targets)

    def without_labels(self, split: Split) -> Split:
        """Learn from texts as from the task's own.

        Raises:
            InputError: The texts are pairs.
        """
        if split.pairs is not None:
            raise InputError(f"{NAME} reads one text, not a pair; give a table without a second text.")
        return replace(split, labels=np.zeros(len(split), dtype=np.int64))

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose texts from all over the part."""
        return spread_over(len(split), count)

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Count nothing."""
        return {}

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize texts in windows, and mask pieces; of the training part others are masked in each step."""
        padding, mask = padding_of(tokenizer), mask_of(tokenizer)
        windows = list(windows_of(split.texts, tokenizer, max_length))
        passes = passes_over(windows, measures=split.role in ("evaluation", "further"))
        examples = list(masked(windows, passes, mask))
        true = [np.array(window.ids, dtype=np.int64)[places] for window, _, places in examples]
        owners = np.array([window.text for window, *_ in examples], dtype=np.int64)
        has_types = "token_type_ids" in tokenizer.model_input_names
        return Encoded(
            [ids for _, ids, _ in examples],
            [window.types for window, *_ in examples] if has_types else None,
            MaskedPieces(true, owners, len(split), tokenizer),
            0,
            padding,
            split.role,
            [places for *_, places in examples],
            NAME,
            hides=FRACTION,
        )

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Put the pieces at the places where they are masked, and IGNORED elsewhere, (batch, length)."""
        return encoded.ids_at_places(indices, length)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Cross-entropy over the masked places."""
        return cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction, EVEN, IGNORED)

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the spread of each place's scores; of what is kept, that of the logarithms."""
        if baseline.shape[1] == KEPT:
            return texts.relative_error(baseline[:, :1], answers[:, :1], baseline[:, :1].mean())
        return texts.relative_error(baseline, answers, baseline.mean(axis=1, keepdims=True))

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Tell of each masked place whether another piece is likeliest."""
        before, after = (own[:, 1] if own.shape[1] == KEPT else own.argmax(1) for own in (baseline, answers))
        return np.asarray(before != after)

    def score(self, answers: np.ndarray, targets: MaskedPieces, metric: str) -> dict[str, float]:
        """Pseudo-perplexity, exp of the mean of -log p of a masked piece, and how often it is the likeliest."""
        sums = targets.statistics(answers).sum(0)
        return {name: float(score(sums)) for name, score in first(metric, SCORES).items()}

    def judge(self, answers: np.ndarray, targets: MaskedPieces, metric: str) -> dict[str, Any]:
        """Both with bootstrap intervals over the texts."""
        return judged(first(metric, SCORES), targets.statistics(answers))

    def statistics(self, answers: np.ndarray, targets: MaskedPieces, metric: str) -> np.ndarray:
        """Of each text -log p of its masked pieces, how many are the likeliest, and how many there are."""
        return targets.statistics(answers)

    def score_of(self, metric: str) -> Score:
        """Pseudo-perplexity or accuracy."""
        return SCORES[metric]

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: MaskedPieces, metric: str) -> dict[str, Any]:
        """The drop of the deciding score, of pseudo-perplexity the share by which it is higher; agreement is the share of
        masked places with the same likeliest piece.

        Raises:
            InputError: The two read other pieces.
        """
        if len(baseline) != len(answers):
            raise InputError(
                f"the baseline has {len(baseline)} masked pieces in the same texts, and another model {len(answers)}: their "
                "tokenizers differ, and so does what a perplexity is of; compare models with one tokenizer."
            )
        before, after = (targets.statistics(own) for own in (baseline, answers))
        return {
            "drop": drop(SCORES[metric], before, after, metric=metric),
            "agreement": float(1 - self.flips(baseline, answers).mean()),
        }

    def check_answers(self, answers: np.ndarray, targets: MaskedPieces, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse a model that tells masked pieces no better than whoever always says the commonest one."""
        if trains or not len(targets.flat):
            return
        accuracy = self.score(answers, targets, "accuracy")["accuracy"]
        commonest = float(np.bincount(targets.flat).max() / len(targets.flat))
        if accuracy <= commonest:
            raise InputError(
                f"the model tells {accuracy:.1%} of {len(targets.flat)} masked pieces, and the commonest one alone is "
                f"{commonest:.1%} of them; begin with fine_tune, or use a checkpoint that was pre-trained with masked words."
            )

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """The texts of which most masked pieces are told otherwise."""
        targets, flips = encoded.labels, self.flips(baseline, answers)
        rows = []
        for text in np.argsort(-targets.sums(flips), kind="stable")[:count]:
            at = np.flatnonzero(flips & (targets.owner == text))[:MOST_SHOWN]
            if not len(at):
                break
            pieces_of = {"label": targets.flat[at], "teacher": baseline[at, 1], "student": answers[at, 1]}
            rows.append({**texts.shown(split, text), **{who: targets.spelled(pieces) for who, pieces in pieces_of.items()}})
        return rows

    def sentence(self, names: Sequence[str]) -> str:
        """Say what comes out."""
        return "model of masked words, which tells what stands at masked places of a text"

    def sample(self, max_length: int) -> str:
        """Read a text with a masked word."""
        return SAMPLE.format(max_length)

    def snippet(self, names: Sequence[str]) -> str:
        """Print the likeliest pieces."""
        return SNIPPET


SAMPLE = """\
tokenizer.enable_truncation({})
mask = next(token for token in ("[MASK]", "<mask>") if tokenizer.token_to_id(token) is not None)
encodings = tokenizer.encode_batch([f"the {{mask}} was good ."])"""
SNIPPET = """\
for encoding, rows in zip(encodings, logits):
    row = rows[encoding.ids.index(tokenizer.token_to_id(mask))]
    print([tokenizer.id_to_token(int(piece)) for piece in (-row).argsort()[:5]])"""


KIND = MaskedWords()
