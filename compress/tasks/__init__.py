"""What a task is: columns, labels, metric, encoding; and where its data comes from."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from compress.plugins import with_plugins
from compress.sources import tree_of

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

TASKS = with_plugins(
    "tasks",
    {
        "text-classification": "compress.tasks.text_classification",
        "multi-label-classification": "compress.tasks.multi_label_classification",
        "regression": "compress.tasks.regression",
        "token-classification": "compress.tasks.token_classification",
        "question-answering": "compress.tasks.question_answering",
        "reranking": "compress.tasks.reranking",
        "sentence-embedding": "compress.tasks.sentence_embedding",
        "sequence-to-sequence": "compress.tasks.sequence_to_sequence",
        "masked-words": "compress.tasks.masked_words",
    },
)

DEFAULT_KIND = "text-classification"
SYNONYMS = {
    "sequence-classification": "text-classification",
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "text-ranking": "reranking",
    "cross-encoder": "reranking",
    "sentence-similarity": "sentence-embedding",
    "feature-extraction": "sentence-embedding",
    "text2text-generation": "sequence-to-sequence",
    "translation": "sequence-to-sequence",
    "summarization": "sequence-to-sequence",
    "fill-mask": "masked-words",
    "masked-lm": "masked-words",
}
"""What others call a kind: the pipelines of transformers, the hub, optimum."""


def kind_named(name: str) -> str:
    """The kind that a name stands for: its own, or what others call it."""
    return SYNONYMS.get(name, name)


Share = Annotated[float, Field(gt=0, lt=0.5)]


FEWEST_FURTHER = 50
"""Rows that are worth measuring on: a 95 % interval of their accuracy is 28 points wide at most."""


class Evaluation(TypedDict):
    """What is measured on besides the data's own evaluation part."""

    from_train: Annotated[int, Field(ge=FEWEST_FURTHER, description="training rows, about, whole groups of kin")]


Evaluation.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]


class Abstain(TypedDict, total=False):
    """When a classifier of texts answers none."""

    coverage: Annotated[float, Field(gt=0, le=1, description="share of the texts in scope that is answered, at least")]
    max_risk: Annotated[float, Field(ge=0, le=1, description="share of the answers that may be wrong")]
    label: Annotated[str, Field(min_length=1, description="what texts out of scope are labelled as")]


Abstain.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]


def metrics_of(kind: str) -> tuple[str, ...]:
    """The metrics that may decide in a kind of task, read off its file without importing it: a recipe is checked fast."""
    tree = tree_of(TASKS[kind])
    for node in ast.walk(tree) if tree else ():
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id == "metrics"
            and node.value
        ):
            metrics: tuple[str, ...] = ast.literal_eval(node.value)
            return metrics
    raise AssertionError(f"{TASKS[kind]} has no metrics")


def task(
    data: str | Mapping[str, Any],
    *,
    kind: str = DEFAULT_KIND,
    name: str | None = None,
    data_dir: str | None = None,
    labels: list[str] | None = None,
    max_length: Annotated[int, Field(ge=4, le=8192)] = 128,
    selection: Share | None = None,
    calibration: Share | None = None,
    metric: str | None = None,
    rows: Annotated[int, Field(ge=1)] | None = None,
    allow_unknown: bool = False,
    evaluation: Evaluation | None = None,
    abstain: Abstain | None = None,
) -> Task:
    """Read a labelled data set and cut it into parts with one use each.

    The parts for selection and calibration come from the training rows, and are a function of the rows' text alone. Rows that
    contain one another, or nearly copy one another, go to one part. Rows of the training data that stand in the evaluation
    data too are left out, with a warning.

    Args:
        data: A known name (sst2, mrpc and the rest of GLUE, banking77, sib200_8, snli_small, tweets, bbc_news,
            movie_reviews_long), a hub name, or a mapping: `train` and `validation` (files that end in .tsv, .csv, .jsonl,
            .ndjson, .json or .parquet, and if they are packed in .gz, .bz2, .xz or .zip after that), `text`, `pair` and
            `label` (columns; of text and pair each may be a list of several, which are joined in its order, empty cells left
            out), `separator` (between joined texts; a line's end if left out), `parted_by` (of plain text, where a kind of
            task reads that: "line", or "paragraph" for texts that an empty line ends), `quoting` ("csv", or "none" for files
            whose quotation marks mean nothing; the latter is the default for .tsv). Without `validation`, a fifth of `train`
            is kept apart to be measured on.
        kind: See `bert-compress list tasks`; what the pipelines of transformers call it will do ("ner").
        name: For tables; the data's name if None.
        data_dir: Folder of the files; for sst2 and mrpc one that holds sst2/train.tsv and so on. The environment variable
            BERT_COMPRESS_DATA stands for it where a known name is asked for.
        labels: Label names in the order of their ids. The data holds the names; or numbers, where it is certain what they
            mean: where every name carries one number of its own ("1 star" to "5 stars"), 1 is the name with that number;
            where no other name carries the number, it is an id, 0 for the first name. Anything else is refused. None takes
            what the data says.
        max_length: Longest example in tokens; longer ones are cut.
        selection: Fraction of the training rows that picks epochs; None for a tenth, at most 2,000 rows.
        calibration: Fraction of the training rows for quantization and parity checks; None for a twentieth, at most 500 rows.
        metric: What decides; None takes the kind's first. Of text-classification: accuracy, or f1 of label 1 of two.
        rows: Use so many rows at most, chosen by their text; the evaluation rows of a set that is cut here count too.
        allow_unknown: Go on where more than a third of the text's tokens are unknown to a model's tokenizer.
        evaluation: `{from_train: N}` keeps about N training rows apart, whole groups of them (50 at least, three tenths of the
            rows at most), and measures on them beside the data's own evaluation part, where that is small. Raising N narrows
            the interval and leaves less to learn from.
        abstain: Of text classification: let a file answer none where no label is probable enough. The threshold is chosen on
            the selection part, and shipped: `{coverage: 0.95}` answers so many of the texts, `{max_risk: 0.02}` as many as it
            can with so many mistakes among the answers, `{label: oos}`, alone or with one of them, says what texts that belong
            to no label are labelled as in the data; they are measured, and never learned from.

    Raises:
        InputError: The data is missing or wrong; the message names file, line and column.
    """
    from compress.tasks.reading import read_task

    return read_task(
        data,
        kind=kind_named(kind),
        name=name,
        data_dir=data_dir,
        labels=labels,
        max_length=max_length,
        selection=selection,
        calibration=calibration,
        metric=metric,
        rows=rows,
        allow_unknown=allow_unknown,
        evaluation=evaluation,
        abstain=abstain,
    )


def evaluation_task(
    path: str | Path,
    *,
    labels: Sequence[str],
    text: str | Sequence[str] | None = None,
    pair: str | Sequence[str] | None = None,
    label: str | None = None,
    max_length: int = 128,
    allow_unknown: bool = False,
    kind: str = DEFAULT_KIND,
    separator: str | None = None,
    abstain: Abstain | None = None,
) -> Task:
    """Read one file to measure on and nothing else; the other parts are empty.

    Args:
        path: Ends as files of `task` do.
        labels: The model's label names in the order of their ids; the file holds the names, or numbers by the rules of `task`.
            Where they are mere numbers (LABEL_0), it may hold other names, as many, which are read in rising order.
        text: Column of the text; None finds it. Several columns are joined in their order, empty cells left out.
        pair: Column of the second text of a pair, or several.
        label: Column of the label; None finds it.
        max_length: Longest example in tokens.
        allow_unknown: As in `task`.
        kind: As in `task`.
        separator: Between joined texts; None for a line's end.
        abstain: As in `task`.

    Raises:
        InputError: The data is missing or wrong.
    """
    from compress.tasks.reading import read_evaluation

    columns = {"text": text, "pair": pair, "label": label}
    chosen = {key: value if isinstance(value, str) else tuple(value) for key, value in columns.items() if value}
    return read_evaluation(Path(path), chosen, labels, max_length, allow_unknown, kind_named(kind), separator, abstain)
