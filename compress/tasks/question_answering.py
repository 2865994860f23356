"""Question answering by copying: the answer is a part of a text, told by its first and its last token; or there is none.

A text that is too long is read in windows that overlap; of all windows' spans the one with the highest start plus end answers.
Where the training data has questions without an answer, there is none where the first token's score exceeds the best span's by
more than a threshold, which is chosen on the selection part and shipped.

Source: Devlin et al. 2019, BERT, arXiv 1810.04805, sections 4.2 and 4.3; the scores: Rajpurkar et al. 2016, SQuAD, arXiv
1606.05250, and 2018, arXiv 1806.03822, as their official evaluation scripts compute them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError
from compress.models.head import OF_TOKENS, SPANS
from compress.runtimes.spans import LOW, shortened, stride_of
from compress.tasks import texts
from compress.tasks.data.files import Reader, open_table
from compress.tasks.data.rows import Rows, Table
from compress.tasks.data.squad import Asked, collect_asked, read_squad
from compress.tasks.encoding import Encoded, padding_of
from compress.tasks.kind import NoClasses, Reduction
from compress.tasks.known import DATA_DIR, Found, HubSet, known_set
from compress.tasks.scores import Score, drop, first, judged
from compress.tasks.span_answers import NO_ANSWER, Windows, best_answers, said_of
from compress.tasks.split import Role, Split, spread_over
from compress.tasks.squad_scores import exact_match, token_f1

if TYPE_CHECKING:
    import torch

NAME = "question-answering"
OUTPUTS = ("start", "end")
AT_ONCE = 500
PARTS = ("train", "eval")
FILES = ("train-v1.1.json", "dev-v1.1.json")
BY_ARTICLE = "split_by_article.json"
SQUAD = HubSet("rajpurkar/squad", {}, OUTPUTS, "CC BY-SA 4.0", files=FILES, source="SQuAD 1.1")
SQUAD_2 = HubSet(
    "rajpurkar/squad_v2", {}, OUTPUTS, "CC BY-SA 4.0", files=("train-v2.0.json", "dev-v2.0.json"), source="SQuAD 2.0"
)


def _squad(data_dir: str | None) -> Found:
    """Read SQuAD 1.1: from a folder, or from the hub; where a folder has the dev file alone, parts of it by article."""
    folder = data_dir or os.environ.get(DATA_DIR)
    local = Path(folder).expanduser() / "squad" if folder else None
    if local is None or (local / FILES[0]).exists() or not (local / BY_ARTICLE).is_file():
        return known_set("squad", SQUAD, NAME)(data_dir)
    rows = KIND.collect(open_table(local / FILES[1], None, KIND.readers), {}, others=["title"])
    articles = json.loads((local / BY_ARTICLE).read_text(encoding="utf-8"))
    parts = [[row for row, title in enumerate(rows.others["title"]) if title in set(articles[part])] for part in PARTS]
    train, validation = (rows.pick(part) for part in parts)
    return Found(train, validation, OUTPUTS, "SQuAD 1.1 dev, parted by article, local files", SQUAD.licence, {})


def _statistics(said: Sequence[str], asked: Sequence[Asked]) -> np.ndarray:
    """For each question F1, exact match and 1; the same three where it has an answer, else 0, (questions, 6)."""
    rows = []
    for answer, question in zip(said, asked, strict=True):
        true = [text for text, _ in question.answers]
        row = np.array([token_f1(answer, true), exact_match(answer, true), 1.0])
        rows.append(np.concatenate([row, row * bool(true)]))
    return np.array(rows, dtype=np.float64).reshape(-1, 6)


SCORES: Mapping[str, Any] = {
    "f1": lambda sums: sums[..., 0] / sums[..., 2],
    "exact_match": lambda sums: sums[..., 1] / sums[..., 2],
}
BY_ANSWERABLE: Mapping[str, Any] = {
    "has_answer_f1": lambda sums: sums[..., 3] / np.maximum(sums[..., 5], 1),
    "no_answer_f1": lambda sums: (sums[..., 0] - sums[..., 3]) / np.maximum(sums[..., 2] - sums[..., 5], 1),
}
"""Where some questions have an answer and others have none."""


def _scores(targets: Windows, metric: str) -> dict[str, Any]:
    answerable = sum(bool(asked.answers) for asked in targets.asked)
    return first(metric, {**SCORES, **(BY_ANSWERABLE if 0 < answerable < len(targets.asked) else {})})


class QuestionAnswering(NoClasses):
    """Rules of the kind; answers are start and end logits of each window's first token and of its tokens of the context,
    (tokens, 2); targets are `Windows`."""

    name = NAME
    head = OF_TOKENS[SPANS]
    metrics: tuple[str, ...] = ("f1", "exact_match")
    known: Mapping[str, Any] = {"squad": _squad, "squad_v2": known_set("squad_v2", SQUAD_2, NAME)}
    readers: Mapping[str, Reader] = {".json": read_squad}
    columns = "question, context, answers; or SQuAD's articles"
    unit = "questions"
    noun = "answer"
    pipeline_tag = NAME

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Read questions, contexts, and answers with the character that each begins at."""
        return collect_asked(table, columns, others)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Name the two outputs."""
        return OUTPUTS

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name the two outputs, whatever the model calls them."""
        return OUTPUTS

    def check_names(self, names: Sequence[str] | None) -> None:
        """Refuse names of labels."""
        if names is not None and tuple(names) != OUTPUTS:
            raise InputError(f"labels are {names!r}, but answers to questions have none; leave labels out.")

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Take either."""

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Take what is known of each question."""
        asked = np.empty(len(rows), dtype=object)
        asked[:] = rows.labels
        return asked

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Say so where no question has an answer."""
        return "none" if len(targets) and not any(asked.answers for asked in targets) else None

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Keep questions, contexts and answers."""
        return Split(role, rows.texts, rows.pairs, targets)

    def without_labels(self, split: Split) -> Split:
        """Give no answers; a teacher does.

        Raises:
            InputError: There are no contexts beside the questions.
        """
        if split.pairs is None:
            raise InputError(
                "texts without answers must be pairs here, a question and its context; give a table whose columns are called "
                "text and pair."
            )
        asked = np.empty(len(split), dtype=object)
        asked[:] = [Asked("", ())] * len(split)
        return replace(split, labels=asked)

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose questions with an answer and without, as all are."""
        order = np.argsort([not asked.answers for asked in split.labels], kind="stable")
        return np.sort(order[spread_over(len(split), count)])

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Count the questions that have an answer."""
        return {"answerable": sum(bool(asked.answers) for asked in split.labels)}

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Tokenize questions with their contexts, in windows where they have more than `max_length` tokens; a question of more
        than 64 tokens, or of half a window, is cut."""
        padding = padding_of(tokenizer)
        longest, stride = stride_of(max_length, tokenizer.num_special_tokens_to_add(True))
        contexts = split.pairs or ("",) * len(split)
        ids: list[list[int]] = []
        types: list[list[int]] = []
        owners, offsets, positions, places, cut = [], [], [], [], 0
        for start in range(0, len(split), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            questions, too_long = _cut(split.texts[part], tokenizer, longest)
            cut += too_long
            encoded = tokenizer(
                questions,
                list(contexts[part]),
                truncation="only_second",
                max_length=max_length,
                stride=stride,
                return_overflowing_tokens=True,
            )
            ids += encoded["input_ids"]
            types += encoded.get("token_type_ids") or []
            for owner, encoding in zip(encoded["overflow_to_sample_mapping"], encoded.encodings, strict=True):
                inside = np.flatnonzero(np.array([number == 1 for number in encoding.sequence_ids]))
                window = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)[inside]
                owners.append(start + owner)
                offsets.append(window)
                places.append(np.concatenate([[0], inside]).astype(np.int64))
                positions.append(_positions(split.labels[start + owner], window, inside))
        targets = Windows(
            np.array(owners, dtype=np.int64),
            offsets,
            np.array(positions, dtype=np.int64).reshape(-1, 2),
            tuple(split.labels),
            contexts,
        )
        token_types = types if types or not ids else None
        return Encoded(ids, token_types, targets, cut, padding, split.role, places, NAME)

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Stack the tokens that answers begin and end at, and the tokens of each window, (batch, 3)."""
        import torch

        return torch.from_numpy(np.column_stack([encoded.labels.positions[indices], encoded.lengths[indices]]))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Cross-entropy of start and of end over the tokens that are no padding, the mean of the two."""
        import torch
        from torch.nn import functional

        mask = torch.arange(outputs.shape[1], device=outputs.device) < targets[:, 2:]
        logits = outputs.float().masked_fill(~mask[..., None], -torch.inf).transpose(1, 2).flatten(0, 1)
        loss = functional.cross_entropy(logits, targets[:, :2].flatten(), reduction=reduction)
        return loss if reduction == "mean" else loss / 2

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Kullback-Leibler divergence over the tokens that are no padding, of start and of end, the mean of the two."""
        import torch

        hidden, lowest = ~mask.bool()[..., None], torch.finfo(torch.float32).min
        student_log, teacher_log = (
            (logits.float() / temperature).masked_fill(hidden, lowest).log_softmax(1) for logits in (student, teacher)
        )
        return (teacher_log.exp() * (teacher_log - student_log)).masked_fill(hidden, 0.0).sum(1).mean()

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Squared distance, mean over the tokens that are no padding, sum over start and end."""
        kept = mask.bool()
        return (student[kept].float() - teacher[kept].float()).square().sum(-1).mean()

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compare with the spread of the logits over the tokens."""
        return texts.relative_error(baseline, answers, baseline.mean(axis=0, keepdims=True))

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Tell of each window whether the most likely first or last token is another one."""
        ends = np.cumsum(lengths if lengths is not None else [len(baseline)])[:-1]
        pairs = zip(np.split(baseline, ends), np.split(answers, ends), strict=True)
        return np.array([(before.argmax(0) != after.argmax(0)).any() for before, after in pairs], dtype=bool)

    def settles(self, split: Split) -> bool:
        """Choose a threshold where some questions have no answer."""
        return not all(asked.answers for asked in split.labels)

    def settle(self, answers: np.ndarray, targets: Windows) -> tuple[float, ...]:
        """Choose by how much the first token has to score more than the best span for there to be no answer: the best F1's."""
        best = best_answers(answers, targets)
        true = [[text for text, _ in asked.answers] for asked in targets.asked]
        differences = np.array([span.without for span in best])
        pairs = zip(best, true, strict=True)
        gains = np.array([token_f1(span.text, right) - token_f1(NO_ANSWER, right) for span, right in pairs])
        order = np.argsort(differences, kind="stable")
        rising = differences[order]
        # the first so many are answered: from none to all, those of equal differences together
        parted = np.concatenate([[True], rising[1:] != rising[:-1], [True]])
        answered = int(np.argmax(np.where(parted, np.concatenate([[0.0], np.cumsum(gains[order])]), -np.inf)))
        low = rising[answered - 1] if answered else rising[0] - 2
        high = rising[answered] if answered < len(rising) else rising[-1] + 2
        return (float((low + high) / 2),)

    def settled(self, answers: np.ndarray, chosen: Sequence[float], targets: Windows) -> np.ndarray:
        """Let only what is answered stand: of a question without an answer no span, of another not the first token."""
        least = chosen[0] if chosen else np.inf
        answers = answers.copy()
        without = np.array([best.without > least for best in best_answers(answers, targets)])[targets.owners]
        rows = np.repeat(without, np.diff(targets.ends, prepend=0))
        rows[targets.firsts] = ~without
        answers[rows] = LOW
        return answers

    def score(self, answers: np.ndarray, targets: Windows, metric: str) -> dict[str, float]:
        """F1 of the words and exact match, and both kinds of questions' F1 where there are both."""
        sums = _statistics(said_of(answers, targets), targets.asked).sum(0)
        return {name: float(score(sums)) for name, score in _scores(targets, metric).items()}

    def judge(self, answers: np.ndarray, targets: Windows, metric: str) -> dict[str, Any]:
        """All of them with bootstrap intervals over the questions."""
        return judged(_scores(targets, metric), _statistics(said_of(answers, targets), targets.asked))

    def statistics(self, answers: np.ndarray, targets: Windows, metric: str) -> np.ndarray:
        """Of each question F1 and exact match, and both again where it has an answer."""
        return _statistics(said_of(answers, targets), targets.asked)

    def score_of(self, metric: str) -> Score:
        """F1 or exact match."""
        score: Score = SCORES[metric]
        return score

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: Windows, metric: str) -> dict[str, Any]:
        """The drop of the deciding score; agreement is the share of questions with the same answer."""
        before, after = (said_of(logits, targets) for logits in (baseline, answers))
        statistics = [_statistics(said, targets.asked) for said in (before, after)]
        same = [old == new for old, new in zip(before, after, strict=True)]
        return {"drop": drop(SCORES[metric], *statistics), "agreement": float(np.mean(same))}

    def check_answers(self, answers: np.ndarray, targets: Windows, names: tuple[str, ...], *, trains: bool) -> None:
        """Refuse a model that answers no better than with what it answers to another question."""
        if trains or len(targets.asked) < 2:
            return
        said = said_of(answers, targets)
        own, other = (_statistics(texts_said, targets.asked)[:, 0].mean() for texts_said in (said, said[1:] + said[:1]))
        if own <= other:
            raise InputError(
                f"the model's answers to {len(said)} questions (F1 {own:.1%}) are no better than those that it gives to other "
                f"questions ({other:.1%}); begin with fine_tune, or use a checkpoint of this task."
            )

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """The questions whose answers share the least."""
        before, after = (said_of(logits, encoded.labels) for logits in (baseline, answers))
        shared = np.array([token_f1(new, [old]) for old, new in zip(before, after, strict=True)])
        return [
            {
                **texts.shown(split, index),
                "label": " | ".join(dict.fromkeys(text for text, _ in split.labels[index].answers)) or "no answer",
                "teacher": before[index] or "no answer",
                "student": after[index] or "no answer",
            }
            for index in np.argsort(shared, kind="stable")[:count]
            if before[index] != after[index]
        ]

    def sentence(self, names: Sequence[str]) -> str:
        """Say what comes out."""
        return "reader that finds the answer to a question in a text"

    def sample(self, max_length: int) -> str:
        """Read a text in windows, each with the question."""
        _, stride = stride_of(max_length, 3)
        return (
            f'tokenizer.enable_truncation({max_length}, stride={stride}, strategy="only_second")\n'
            'question, text = "Who wrote it?", "It was written by Ada Lovelace in 1843."\n'
            "encoding = tokenizer.encode(question, text)\n"
            "encodings = [encoding, *encoding.overflowing]"
        )

    def snippet(self, names: Sequence[str]) -> str:
        """Print the best answer."""
        return SNIPPET


SNIPPET = """\
import json
parts = []
for encoding, starts, ends in zip(encodings, start_logits, end_logits):
    inside = [place for place, sequence in enumerate(encoding.sequence_ids) if sequence == 1]
    for first in sorted(inside, key=lambda place: -starts[place])[:20]:
        for last in sorted(inside, key=lambda place: -ends[place])[:20]:
            if first <= last < first + 30:
                parts.append((starts[first] + ends[last], encoding.offsets[first][0], encoding.offsets[last][1]))
with open(f"{folder}/bert_compress.json", encoding="utf-8") as file:
    threshold = (json.load(file)["settled"] or [float("inf")])[0]
score, first, last = max(parts)
no_answer = min(starts[0] + ends[0] for starts, ends in zip(start_logits, end_logits)) - score > threshold
print(None if no_answer else (text[first:last], first, last))"""


def _cut(questions: Sequence[str], tokenizer: Any, longest: int) -> tuple[list[str], int]:
    """Cut questions of more than so many tokens behind a token; and count them."""
    encoded = tokenizer(list(questions), add_special_tokens=False, verbose=False)
    pairs = zip(questions, encoded.encodings, strict=True)
    return [shortened(question, encoding, longest) for question, encoding in pairs], sum(
        len(encoding.ids) > longest for encoding in encoded.encodings
    )


def _positions(asked: Asked, offsets: np.ndarray, places: np.ndarray) -> tuple[int, int]:
    """The tokens of a window that the first answer begins and ends in; 0 and 0 where it is not whole in the window."""
    if not asked.answers or not len(offsets):
        return 0, 0
    text, start = asked.answers[0]
    end = start + len(text)
    if offsets[0, 0] > start or offsets[-1, 1] < end:
        return 0, 0
    inside = places[(offsets[:, 0] < end) & (offsets[:, 1] > start)]
    return (int(inside[0]), int(inside[-1])) if len(inside) else (0, 0)


KIND = QuestionAnswering()
