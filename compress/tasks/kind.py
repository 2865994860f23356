"""What a kind of task says: one file in `compress.tasks`, one object of it called KIND, one line in TASKS."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from compress.errors import InputError, shown
from compress.models.head import Head
from compress.tasks.data.files import Reader, open_table
from compress.tasks.data.joining import Columns, join_columns
from compress.tasks.data.lines import PLAIN, READERS_OF_TEXT
from compress.tasks.data.packing import unpacked_name
from compress.tasks.data.rows import Rows, Table
from compress.tasks.emphasis import EVEN, Emphasis
from compress.tasks.reliability import Confidence
from compress.tasks.scores import Score
from compress.tasks.split import Role, Split

if TYPE_CHECKING:
    import torch

    from compress.tasks.encoding import Encoded
    from compress.tasks.known import Found

Reduction = Literal["mean", "sum"]


class TaskKind(Protocol):
    """A kind of task: what its rows, its head, its losses, its answers and its scores are.

    *Answers* are what a model says of some examples, as rows of numbers: one row (outputs,) for each example, or for each of
    the words that are labelled. *Targets* are what is true of them, as the kind likes to hold it: `Encoded.labels`. In
    *outputs*, as a model gives them for a padded batch, each row is where the head put it: (batch, outputs) or
    (batch, length, outputs). Where `encode` says that examples are in groups, `divergence` and `distance` get those of a group
    together, (groups, most, outputs), and the mask marks what is no padding, (groups, most).
    """

    name: str
    """As recipes call it."""
    head: Head
    """Of its models."""
    metrics: tuple[str, ...]
    """Scores that may decide; the first does if nothing else is said."""
    known: Mapping[str, Callable[[str | None], Found]]
    """Data sets that it knows by name: each reads the set, from files in a folder where one is given."""
    columns: str
    """What its rows are made of, by the names that columns usually have."""
    noun: str
    """What a target is called: "label" or "score"."""
    readers: Mapping[str, Reader]
    """Of files that it alone reads, by the ending of their names."""
    unit: str
    """What has an answer: "examples" or "tokens"."""
    pipeline_tag: str
    """What the hub calls models for it."""

    # -- rows -------------------------------------------------------------------------------------------------------------

    def collect(self, table: Table, columns: Mapping[str, str], *, others: Sequence[str] = ()) -> Rows:
        """Take texts and labels out of a table; the labels as the kind wants them, one object for each row."""

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Name the outputs as the rows' labels tell, in their order."""

    def names_of_outputs(self, rows: Rows, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name a model's outputs for rows to measure on, where the model's own names may be mere numbers."""

    def classes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name what has a precision and a recall of its own, see `by_class`; nothing where there is no such thing."""

    def check_names(self, names: Sequence[str] | None) -> None:
        """Raise InputError where the names that a recipe gives to the outputs cannot be theirs."""

    def targets(self, rows: Rows, names: tuple[str, ...]) -> np.ndarray:
        """Turn the rows' labels into one target for each row, (rows, ...); an InputError names those that are unknown."""

    def check_metric(self, metric: str, names: tuple[str, ...]) -> None:
        """Raise InputError where a metric cannot decide with these outputs."""

    def lone(self, targets: np.ndarray, names: tuple[str, ...]) -> str | None:
        """Show the one target that all rows have, from which nothing is learned; None where there are others."""

    def split(self, role: Role, rows: Rows, targets: np.ndarray, names: tuple[str, ...]) -> Split:
        """Make a part of a task."""

    def without_labels(self, split: Split) -> Split:
        """Make a part of texts that have no labels, which a teacher answers."""

    def few(self, split: Split, count: int) -> np.ndarray:
        """Choose about so many examples with every label among them, (chosen,), rising."""

    def counts(self, split: Split, names: tuple[str, ...]) -> dict[str, Any]:
        """Count a part's labels, for run.json: `per_label` where there is such a count."""

    def balanced(self, split: Split, names: tuple[str, ...]) -> np.ndarray:
        """Weigh the labels so that rare ones count as much in the loss as common ones, (labels,), see `Emphasis`; empty where
        nothing has a label."""

    # -- texts to batches ---------------------------------------------------------------------------------------------------

    def encode(self, split: Split, tokenizer: Any, max_length: int) -> Encoded:
        """Turn a part into token ids."""

    def collate(self, encoded: Encoded, indices: np.ndarray, length: int) -> torch.Tensor:
        """Put the targets of some examples into one tensor, as `loss` wants them, for a batch of so many tokens."""

    # -- learning -----------------------------------------------------------------------------------------------------------

    def loss(
        self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean", emphasis: Emphasis = EVEN
    ) -> torch.Tensor:
        """Compute the loss on labels, mean or sum over what is labelled; a kind whose `balanced` is empty is asked for no
        emphasis, and need not take it."""

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Compute how far a student's outputs are from its teacher's, both softened; mean over what is answered."""

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute the squared distance of the outputs as they are; mean over what is answered, sum over the outputs."""

    def zero_shot(self, entailed: np.ndarray, contradicted: np.ndarray) -> np.ndarray | None:
        """Turn what a model of entailment says of each label's hypothesis, logits of (examples, labels), into the answers of a
        model for the task, (examples, labels); None where outputs are no labels of texts."""

    # -- answers ------------------------------------------------------------------------------------------------------------

    def relative_error(self, baseline: np.ndarray, answers: np.ndarray) -> float:
        """Compute the root mean square of the differences of answers over that of what the first ones say."""

    def flips(self, baseline: np.ndarray, answers: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Tell of each answer whether the second one is another than the first, (answers,): one for each row, or for each
        example where rows answer together. `lengths` are the rows of each example; None is one."""

    def settles(self, split: Split) -> bool:
        """Tell whether something is chosen on such a selection part, by `settle`."""

    def settle(self, answers: np.ndarray, targets: Any) -> tuple[float, ...]:
        """Choose what turns outputs into answers, such as a threshold for each, on the selection part; empty where nothing is
        to be chosen."""

    def settled(self, answers: np.ndarray, chosen: Sequence[float], targets: Any) -> np.ndarray:
        """Move answers so that what was chosen is where they turn; the scores below read such answers."""

    def score(self, answers: np.ndarray, targets: Any, metric: str) -> dict[str, float]:
        """Score answers; `metric` is among the scores."""

    def judge(self, answers: np.ndarray, targets: Any, metric: str) -> dict[str, Any]:
        """Score answers with intervals: `metrics` and `metrics_ci95`, by name."""

    def statistics(self, answers: np.ndarray, targets: Any, metric: str) -> np.ndarray:
        """Tell of each example what a score is made of, (examples, statistics): `score_of` reads their sums. A run keeps
        it, so that two runs can be compared example by example."""

    def score_of(self, metric: str) -> Score:
        """Compute a score from sums of its `statistics`, (..., statistics)."""

    def by_class(self, answers: np.ndarray, targets: Any, names: tuple[str, ...]) -> np.ndarray:
        """Count for each example and class how often it is answered rightly, answered, and true, (examples, classes, 3)."""

    def confidence(self, answers: np.ndarray, targets: Any) -> Confidence | None:
        """Tell what the probabilities of answers say, as the model gives them, before `settled`; None where outputs are no
        probabilities."""

    def compare(self, baseline: np.ndarray, answers: np.ndarray, targets: Any, metric: str) -> dict[str, Any]:
        """Compare answers with a baseline's to the same examples: `drop` {value, ci95, p} of the metric, positive is worse,
        and `agreement`, the share of rows with the same answer."""

    def confusion(self, answers: np.ndarray, targets: Any, count: int) -> list[list[int]] | None:
        """Count rows by true label and answer; None where an answer is no single label."""

    def check_answers(self, answers: np.ndarray, targets: Any, names: tuple[str, ...], *, trains: bool) -> None:
        """Raise InputError where a model has not learned the task, or answers in another order of labels.

        trains: whether it is trained further, so that it need not know the task yet.
        """

    # -- what people see ----------------------------------------------------------------------------------------------------

    def differing(
        self, baseline: np.ndarray, answers: np.ndarray, split: Split, encoded: Encoded, names: tuple[str, ...], count: int
    ) -> list[dict[str, Any]]:
        """Find the examples on which two subjects are farthest apart: {text, pair, label, teacher, student}."""

    def sentence(self, names: Sequence[str]) -> str:
        """Say what a model for the task does, for its card: "text classifier that tells a and b apart"."""

    def sample(self, max_length: int) -> str:
        """Write the lines of the card's example that make `encodings` of something to read, with `tokenizer`."""

    def snippet(self, names: Sequence[str]) -> str:
        """Write the last lines of the card's example in Python, which print what the outputs say."""


class OutputIsAnswer:
    """What kinds of tasks say of settling where nothing is to be chosen: the output, or the largest one, is the answer."""

    def settles(self, split: Split) -> bool:
        """Choose nothing, whatever the examples."""
        return False

    def settle(self, answers: np.ndarray, targets: Any) -> tuple[float, ...]:
        """Choose nothing."""
        return ()

    def settled(self, answers: np.ndarray, chosen: Sequence[float], targets: Any) -> np.ndarray:
        """Leave the answers."""
        return answers


class NoClasses:
    """What kinds of tasks say of classes where answers are no labels."""

    def balanced(self, split: Split, names: tuple[str, ...]) -> np.ndarray:
        """Weigh nothing."""
        return np.zeros(0)

    def classes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Name nothing."""
        return ()

    def by_class(self, answers: np.ndarray, targets: Any, names: tuple[str, ...]) -> np.ndarray:
        """Count nothing."""
        return np.zeros((len(targets), 0, 3), dtype=np.int64)

    def confusion(self, answers: np.ndarray, targets: Any, count: int) -> list[list[int]] | None:
        """Count nothing."""
        return None

    def confidence(self, answers: np.ndarray, targets: Any) -> Confidence | None:
        """State no probability."""
        return None

    def zero_shot(self, entailed: np.ndarray, contradicted: np.ndarray) -> np.ndarray | None:
        """Answer nothing."""
        return None


class ComparedByToken:
    """What kinds of tasks say of a student and its teacher where each token that counts has outputs of its own; the mask marks
    these."""

    def divergence(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float) -> torch.Tensor:
        """Kullback-Leibler divergence, mean over the tokens that count, sum over the outputs."""
        from torch.nn import functional

        counted = mask.bool()
        own, wanted = ((logits[counted].float() / temperature).log_softmax(-1) for logits in (student, teacher))
        return functional.kl_div(own, wanted, reduction="batchmean", log_target=True)

    def distance(self, student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Squared distance, mean over the tokens that count, sum over the outputs."""
        counted = mask.bool()
        return (student[counted].float() - teacher[counted].float()).square().sum(-1).mean()


def read_rows(
    rules: TaskKind,
    path: Path,
    columns: Columns,
    quoting: str | None = None,
    separator: str | None = None,
    parted_by: str | None = None,
) -> Rows:
    """Read a file's rows as a kind of task wants them; see `compress.tasks.data.files.read_file`, and `join_columns`; plain
    text, if the kind reads such, as `parted_by` says."""
    readers = dict(rules.readers)
    if parted_by is not None:
        if PLAIN not in readers or not unpacked_name(path.name).lower().endswith(PLAIN):
            raise InputError(
                f"data.parted_by is {shown(parted_by)}, which tells where texts of plain text ({PLAIN}) end, but a task of "
                f"{rules.name} reads {path.name}; leave it out."
            )
        readers[PLAIN] = READERS_OF_TEXT[parted_by]
    return rules.collect(*join_columns(open_table(path, quoting, readers), columns, separator))


def rules_for(kind: str, abstain: Mapping[str, Any] | None = None) -> TaskKind:
    """The rules of a kind of TASKS, as a task asks for them.

    Args:
        kind: Its name.
        abstain: When none is answered, for a kind that has `abstaining`; None where that is never so.

    Raises:
        InputError: The kind always answers, or the options cannot be.
    """
    rules = load_kind(kind)
    if abstain is None:
        return rules
    if not hasattr(rules, "abstaining"):
        raise InputError(f"task.abstain lets a classifier of texts answer none, which {kind} does not; leave it out.")
    abstaining: TaskKind = rules.abstaining(abstain)
    return abstaining


def kind_for(head: Head) -> str:
    """The kind of task that a model's head is for, by what the head says of itself; the first of several."""
    from compress.tasks import DEFAULT_KIND, TASKS

    return next((name for name in TASKS if load_kind(name).head == head), DEFAULT_KIND)


@cache
def load_kind(name: str) -> TaskKind:
    """The rules of a kind of TASKS, by its name."""
    from compress.tasks import TASKS

    kind: TaskKind = importlib.import_module(TASKS[name]).KIND
    return kind
