"""Token classification: a label for each word of a text, such as named entities or parts of speech.

The first piece of a word answers for it. Texts that are longer than `max_length` are read in windows that overlap, so that
every word is answered once, where it has words on both sides.

Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 5.3 (first sub-token, no CRF); Derczynski et al. 2017, WNUT-17,
https://aclanthology.org/W17-4418; Doğan et al. 2014, NCBI disease corpus, https://doi.org/10.1016/j.jbi.2013.12.006; strict
F1: Nakayama 2018, seqeval, https://github.com/chakki-works/seqeval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import TOKENS, Head
from compress.tasks import texts
from compress.tasks.data.conll import read_conll, read_conllu
from compress.tasks.data.files import Reader
from compress.tasks.data.mistakes import first_of
from compress.tasks.data.rows import Rows, Table
from compress.tasks.data.tagged import PARTS, collect_tagged
from compress.tasks.emphasis import EVEN, Emphasis, balanced, cross_entropy
from compress.tasks.encoding import IGNORED, Encoded, padding_of
from compress.tasks.kind import ComparedByToken, OutputIsAnswer, Reduction
from compress.tasks.known import HubSet, known_set
from compress.tasks.labels import check_label_names, names_shown
from compress.tasks.reliability import Confidence, confidence_in_labels
from compress.tasks.scores import LABEL_SCORES, Score, drop, judged
from compress.tasks.split import Role, Split
from compress.tasks.tagged_words import WordLabels, marked_spans, shown_tags, tags_by_text
from compress.tasks.tags import entities, is_bio, names_of, types_of
from compress.tasks.windows import places_of_words, windows_of_words

if TYPE_CHECKING:
    import torch

NAME = "token-classification"
_COLUMNS = {"text": "tokens", "label": "ner_tags"}
_LOCAL = {"text": "tokens", "label": "tags"}
KNOWN = {
    "wnut17": known_set(
        "wnut17",
        HubSet(
            "leondz/wnut_17",
            _COLUMNS,
            None,
            "CC BY 4.0",
            local=_LOCAL,
            validation="test",
            files=("train.conll", "test.conll"),
            source="WNUT-17",
        ),
        NAME,
    ),
    "ncbi_disease": known_set(
        "ncbi_disease",
        HubSet(
            "ncbi/ncbi_disease",
            _COLUMNS,
            None,
            "public domain, a work of the US government",
            local=_LOCAL,
            files=("train.conll", "dev.conll"),
            source="NCBI disease corpus",
        ),
        NAME,
    ),
}


def _entity_counts(answers: np.ndarray, targets: WordLabels) -> np.ndarray:
    """For each text and type of entity how many are right, answered and true, (texts, types, 3)."""
    index = {kind: number for number, kind in enumerate(types_of(targets.names))}
    counts = np.zeros((len(targets.ends), len(index), 3), dtype=np.int64)
    if not index:
        return counts
    answered, true = (tags_by_text(ids, targets) for ids in (answers.argmax(1), targets.flat))
    for text, (tags, wanted) in enumerate(zip(answered, true, strict=True)):
        predicted, expected = entities(tags), entities(wanted)
        for place, spans in enumerate((predicted & expected, predicted, expected)):
            for kind, _, _ in spans:
                counts[text, index[kind], place] += 1
    return counts


def _statistics(answers: np.ndarray, targets: WordLabels) -> np.ndarray:
    """For each text: entities right, answered and true, words right, and words, (texts, 5)."""
    right = np.split(answers.argmax(1) == targets.flat, targets.ends[:-1])
    words = [[part.sum(), len(part)] for part in right]
    return np.concatenate([_entity_counts(answers, targets).sum(1), np.array(words, dtype=np.int64).reshape(-1, 2)], axis=1)


SCORES = {
    **{name: LABEL_SCORES[name] for name in ("f1", "precision", "recall")},
    "accuracy": lambda sums: sums[..., 3] / np.maximum(sums[..., 4], 1),
}


def _scores(names: Sequence[str], metric: str) -> dict[str, Any]:
    """The scores that tags of these names have, the one that decides first."""
    scores = SCORES if is_bio(names) else {"accuracy": SCORES["accuracy"]}
    return {metric: SCORES[metric], **scores}


class TokenClassification(OutputIsAnswer, ComparedByToken):
    """Rules of the kind; answers are logits (words, labels), targets are `WordLabels`."""

    name = NAME
    head = Head(TOKENS, None, reads_tokens=True)
    metrics: tuple[str, ...] = ("f1", "accuracy")
    known = KNOWN
    readers: Mapping[str, Reader] = {".conll": read_conll, ".conllu": read_conllu, ".bio": read_conll, ".iob": read_conll}
    columns = "words, tags; or a word and its tag on a line (CoNLL)"
    unit = "tokens"
    noun = "label"
    pipeline_tag = NAME

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read words and tags, or a text and spans of its characters ({start, end, label}, or [start, end, label])."""
        return collect_tagged(table, columns)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Sort the tags that there are."""
        return names_of(tag for _, tags in rows.labels for tag in tags)

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Keep the model's names."""
        return names

    def classes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name the types of entities."""
        return types_of(names)

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse what is not at least two names, each once."""
        check_label_names(names)

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Refuse the F1 of entities where tags tell none."""
        if metric == "f1" and not is_bio(names):
            raise InputError(
                f"task.metric f1 counts entities, but the tags are no B- and I- ({names_shown(names)}); use metric: accuracy."
            )

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Find each tag's id, an array for each row; numbers are ids where no name is one."""
        index = {name: number for number, name in enumerate(names)}
        if not any(name.isdecimal() for name in names):
            index |= {str(number): number for number in range(len(names))}
        ids, wrong = np.empty(len(rows), dtype=object), []
        for row, (line, (_, tags)) in enumerate(zip(rows.lines, rows.labels, strict=True)):
            wrong += [f"  {rows.unit} {line}, column {rows.label_column!r}: {shown(tag)}" for tag in tags if tag not in index]
            ids[row] = np.array([index.get(tag, 0) for tag in tags], dtype=np.int64)
        if wrong:
            heading = f"{rows.source} has tags that are unknown; allowed: {names_shown(names)}. Correct them:"
            raise InputError("\n".join([heading, *first_of(wrong)]))
        return ids

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Name the tag that all words have."""
        tags = np.unique(np.concatenate(list(targets))) if len(targets) else np.zeros(0)
        return names[int(tags[0])] if len(tags) == 1 else None

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep words and ids."""
        return Split(role, rows.texts, None, targets, tuple(words for words, _ in rows.labels), names)

    def without_labels(self, split: Split) -> Split:
        """Cut texts into words without labels."""
        words = tuple(tuple(PARTS.findall(text)) or ("",) for text in split.texts)
        labels = np.empty(len(words), dtype=object)
        labels[:] = [np.zeros(len(sentence), dtype=np.int64) for sentence in words]
        return replace(split, pairs=None, words=words, labels=labels)

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose the first text with each tag, and others."""
        firsts: dict[int, int] = {}
        for row, ids in enumerate(split.labels):
            for tag in ids.tolist():
                firsts.setdefault(tag, row)
        chosen = np.unique(np.array(list(firsts.values()), dtype=np.int64))
        others = np.setdiff1d(np.arange(len(split)), chosen)[: max(0, count - len(chosen))]
        return np.sort(np.concatenate([chosen, others]))

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Count the words of each tag, and all words."""
        tags = np.concatenate([np.zeros(0, dtype=np.int64), *split.labels])
        return {"per_label": np.bincount(tags, minlength=len(names)).tolist(), "words": len(tags)}

    def balanced(self, split: Split, names: tuple[str, ...]) -> np.ndarray:
        """Weigh each tag by how rare it is among the words."""
        return balanced(np.array(self.counts(split, names)["per_label"]))

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize words, in windows where a text has more than `max_length` tokens; each word is answered in one of them."""
        padding = padding_of(tokenizer)
        windows = windows_of_words(split.words or (), tokenizer, max_length)
        ids: list[list[int]] = []
        types: list[list[int]] = []
        places, labels, owners = [], [], []
        for start in range(0, len(windows), 1000):
            part = windows[start : start + 1000]
            words = [list(split.words[window.text][window.first : window.end]) for window in part]  # type: ignore[index]
            encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
            ids += encoded["input_ids"]
            types += encoded.get("token_type_ids") or []
            for window, encoding in zip(part, encoded.encodings, strict=True):
                places.append(places_of_words(encoding.word_ids, window))
                labels.append(split.labels[window.text][window.answers : window.answered])
                owners.append(window.text)
        word_labels = WordLabels(labels, np.array(owners, dtype=np.int64), split.names)
        token_types = types if types or not windows else None
        return Encoded(ids, token_types, word_labels, 0, padding, split.role, places, NAME)

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Put the ids at the first pieces of their words, and IGNORED elsewhere, (batch, length)."""
        return encoded.ids_at_places(indices, length)

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean", emphasis: Emphasis = EVEN
    ) -> torch.Tensor:
        """Cross-entropy over the words."""
        return cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction, emphasis, IGNORED)

    def zero_shot(self, entailed: np.ndarray, contradicted: np.ndarray) -> np.ndarray | None:
        """Answer nothing: labels are of words."""
        return None

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the spread of each word's logits, whose mean says nothing."""
        return texts.relative_error(baseline, answers, baseline.mean(axis=1, keepdims=True))

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Compare the tags."""
        return np.asarray(baseline.argmax(1) != answers.argmax(1))

    def score(self, answers: np.ndarray, targets: WordLabels, metric: str) -> dict[str, float]:
        """Strict F1, precision and recall of entities over all texts, and the accuracy over the words."""
        sums = _statistics(answers, targets).sum(0)
        return {name: float(score(sums)) for name, score in _scores(targets.names, metric).items()}

    def judge(self, answers: np.ndarray, targets: WordLabels, metric: str) -> dict[str, Any]:
        """All of them with bootstrap intervals over the texts."""
        return judged(_scores(targets.names, metric), _statistics(answers, targets))

    def statistics(self, answers: np.ndarray, targets: WordLabels, metric: str) -> np.ndarray:
        """Of each text its entities and words, and what of them is right."""
        return _statistics(answers, targets)

    def score_of(self, metric: str) -> Score:
        """Of entities or words."""
        return SCORES[metric]

    def by_class(self, answers: np.ndarray, targets: WordLabels, names: tuple[str, ...]) -> np.ndarray:
        """Count entities by type, over the texts."""
        return _entity_counts(answers, targets)

    def confidence(self, answers: np.ndarray, targets: WordLabels) -> Confidence | None:
        """Take each word's softmax."""
        return confidence_in_labels(answers, targets.flat)

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: WordLabels, metric: str) -> dict[str, Any]:
        """The drop of the deciding score; agreement is the share of words with the same tag."""
        before, after = (_statistics(logits, targets) for logits in (baseline, answers))
        return {
            "drop": drop(SCORES[metric], before, after),
            "agreement": float((baseline.argmax(1) == answers.argmax(1)).mean()),
        }

    def confusion(self, answers: np.ndarray, targets: WordLabels, count: int) -> list[list[int]] | None:
        """Count the words by tag and answer."""
        from compress.tasks.chance import confusion_matrix

        return [list(map(int, row)) for row in confusion_matrix(targets.flat, answers.argmax(axis=1), count)]

    def check_answers(self, answers: np.ndarray, targets: WordLabels, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse a model that finds no entity, or of other tags one that is no better than the commonest tag."""
        if trains:
            return
        scores = self.score(answers, targets, "f1" if is_bio(names) else "accuracy")
        commonest = float(np.bincount(targets.flat).max() / len(targets.flat))
        if scores.get("f1", scores["accuracy"]) <= (0 if "f1" in scores else commonest):
            what = "finds none of the entities" if "f1" in scores else f"is right on {scores['accuracy']:.1%} of the words"
            raise InputError(
                f"the model {what} in {len(targets.ends)} texts; begin with fine_tune, or use a checkpoint of this task "
                f"({names_shown(names)})."
            )

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """The texts in which most words have other tags."""
        ends = encoded.labels.ends
        flips = np.array([part.sum() for part in np.split(self.flips(baseline, answers), ends[:-1])])
        said = [tags_by_text(logits.argmax(1), encoded.labels) for logits in (baseline, answers)]
        rows = []
        for index in np.argsort(-flips, kind="stable")[:count]:
            if not flips[index]:
                break
            tags = {
                "label": [names[tag] for tag in split.labels[index]],
                "teacher": said[0][index],
                "student": said[1][index],
            }
            row: dict[str, Any] = {
                **texts.shown(split, index),
                **{who: shown_tags(split, index, own) for who, own in tags.items()},
            }
            if types_of(names):
                row["spans"] = {who: marked_spans(split, index, own, tags["label"]) for who, own in tags.items()}
            rows.append(row)
        return rows

    def sentence(self, names: Sequence[str]) -> str:
        """Name the entities, or the tags."""
        types = types_of(names)
        return f"tagger of {'entities' if types else 'words'}: {texts.listed(types or names)}"

    def sample(self, max_length: int) -> str:
        """Read two texts."""
        return texts.sample(max_length)

    def snippet(self, names: Sequence[str]) -> str:
        """Print the entities with the characters that they stand at, or each word with its tag."""
        return ENTITIES if is_bio(names) else EACH_WORD


ENTITIES = """\
for text, encoding, row in zip(texts, encodings, logits.argmax(axis=2)):
    spans, current, before = [], None, None
    for word, (start, end), answer in zip(encoding.word_ids, encoding.offsets, row):
        if word is None:
            continue
        if word == before:  # a further piece of the word
            if current:
                current["end"] = end
            continue
        before, label = word, labels[answer]
        if current and label == "I-" + current["label"]:
            current["end"] = end
            continue
        current = {"label": label[2:], "start": start, "end": end} if label.startswith("B-") else None
        if current:
            spans.append(current)
    print([(span["label"], text[span["start"]:span["end"]], span["start"], span["end"]) for span in spans])"""
EACH_WORD = """\
for text, encoding, row in zip(texts, encodings, logits.argmax(axis=2)):
    words = {}
    for word, (start, end), answer in zip(encoding.word_ids, encoding.offsets, row):
        if word is not None:  # the first piece of a word answers for it
            first, label = words.get(word, (start, labels[answer]))[0], words.get(word, (start, labels[answer]))[-1]
            words[word] = (first, end, label)
    print([(text[first:end], label) for first, end, label in words.values()])"""


KIND = TokenClassification()
