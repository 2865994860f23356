"""The texts that a general student learns from: of training parts alone, and nothing of what is measured on."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT

LEARNED = "the harbour opens at seven on sundays"
MEASURED = "two men repair a wooden boat beside the river"
NEAR = "Two men repair a wooden boat beside the river!"
HOLDS = "as we saw , two men repair a wooden boat beside the river today"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("general_texts")


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Every set with one text of its own to learn from and one to measure on."""
    tables = {
        "sst2": ("train.tsv", "dev.tsv", "sentence"),
        "stsb": ("train.tsv", "dev.tsv", "sentence1\tsentence2"),
        "multi30k_en_de": ("train.tsv", "test_2016_flickr.tsv", "en"),
        "mrpc": ("train.tsv", "dev.tsv", "#1 String\t#2 String"),
        "snli_small": ("train.tsv", "dev.tsv", "premise\thypothesis"),
        "banking77": ("train.csv", "test.csv", "text"),
    }
    for name, (train, measured, header) in tables.items():
        for file in (train, measured):
            cells = [f"{name} {file.split('.')[0]} number {column} says so" for column in header.split("\t")]
            _write(tmp_path / name / file, header + "\n" + "\t".join(cells) + "\n")
    for part in ("train", "dev"):
        _write(tmp_path / "goemotions" / f"{part}.jsonl", json.dumps({"text": f"goemotions {part} is fine now"}) + "\n")
        _write(tmp_path / "wikitext2" / f"{part}.txt", f" = Title of it all =\nwikitext {part} is fine now\n")
        for name in ("wikineural_en", "ncbi_disease", "wnut17"):
            _write(tmp_path / name / f"{part}.conll", "".join(f"{word} O\n" for word in f"{name} {part} is fine".split()))
    articles = [
        {
            "title": part,
            "paragraphs": [{"context": f"Squad {part} is fine.", "qas": [{"question": f"Which squad {part} is it?"}]}],
        }
        for part in ("train", "eval")
    ]
    _write(tmp_path / "squad" / "dev-v1.1.json", json.dumps({"data": articles}))
    _write(tmp_path / "squad" / "split_by_article.json", json.dumps({"train": ["train"], "eval": ["eval"]}))
    return tmp_path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _called(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, str(ROOT / "benchmarks" / "general_texts.py"), "--data-dir", str(folder), "--out", str(out)]
    return subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False)


@pytest.mark.parametrize("text", [MEASURED, NEAR, HOLDS])
def test_copies_of_what_is_measured_on_are_left_out(text: str, script) -> None:  # type: ignore[no-untyped-def]
    assert script.apart_from([text, LEARNED, LEARNED], [MEASURED]) == [LEARNED]


def test_texts_are_those_of_training_parts_and_of_no_set_that_stays_unseen(sets: Path, tmp_path: Path) -> None:
    with (sets / "stsb" / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("MRPC dev number #1 String says so .\tthe harbour opens at seven on sundays\n")
    answer = _called(sets, tmp_path / "texts.txt")
    assert answer.returncode == 0, answer.stderr
    texts = (tmp_path / "texts.txt").read_text(encoding="utf-8").splitlines()
    assert sorted(texts) == sorted(
        [
            "sst2 train number sentence says so",
            "stsb train number sentence1 says so",
            "stsb train number sentence2 says so",
            "the harbour opens at seven on sundays",
            "multi30k_en_de train number en says so",
            "goemotions train is fine now",
            "wikitext train is fine now",
            "wikineural_en train is fine",
            "ncbi_disease train is fine",
            "wnut17 train is fine",
            "Squad train is fine.",
            "Which squad train is it?",
        ]
    )


def test_a_set_that_is_missing_is_named_and_nothing_is_written(sets: Path, tmp_path: Path) -> None:
    (sets / "mrpc" / "dev.tsv").unlink()
    (sets / "mrpc" / "train.tsv").unlink()
    answer = _called(sets, tmp_path / "texts.txt")
    assert answer.returncode == 2
    assert "mrpc has none of train.tsv" in answer.stderr
    assert not (tmp_path / "texts.txt").exists()
