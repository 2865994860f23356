"""Gather sentences without labels for a student that learns language before any task.

    python benchmarks/general_texts.py --data-dir FOLDER
    bert-compress run recipes/general/three_layers_192.yaml

Of the training parts alone: phrases of film reviews (SST-2), comments (GoEmotions), captions (Multi30k's English), headlines
and forum posts (STS-B), articles (WikiText-2, WikiNEuRal, the SQuAD articles to learn from and the questions about them),
abstracts (NCBI disease) and tweets (WNUT-17); each once. BANKING77, MRPC and SNLI are left out: what a general student brings
to sets that it has seen nothing of is measured on them. Sets share sources (STS-B took pairs from MRPC; SNLI's premises and
Multi30k are captions of the same photographs), so texts that are kin (`compress.tasks.kin`: copies, parts, near copies) of any
text of these three, or of any set's evaluation or test part, are left out as well.

Writes --out: a text on each line, in random order.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from compress.errors import InputError
from compress.tasks.kin import find_kin

ROOT = Path(__file__).parents[1]
TABLES = {"sst2": ("sentence",), "stsb": ("sentence1", "sentence2"), "multi30k_en_de": ("en",)}
TAGGED = ("wikineural_en", "ncbi_disease", "wnut17")
SEED = 13
FEWEST_WORDS = 3
MOST_WORDS = 60
"""Of a sentence; a longer one is cut there."""
TRAIN = ("train",)
EVALUATION = ("dev", "test", "test_2016_flickr")
"""Files that are measured on; each set has some of them."""
UNSEEN = {"banking77": ("text",), "mrpc": ("#1 String", "#2 String"), "snli_small": ("premise", "hypothesis")}
"""Sets of which nothing is learned, and the columns of their texts."""


def main() -> None:
    """Write the file."""
    arguments = _arguments()
    folder = arguments.data_dir
    texts = apart_from(
        [*_texts(_raw_texts(folder, TRAIN)), *_texts(_of_squad(folder / "squad", "train"))],
        [
            *_raw_texts(folder, EVALUATION),
            *_of_squad(folder / "squad", "eval"),
            *_of_tables(folder, UNSEEN, TRAIN + EVALUATION),
        ],
    )
    random.Random(SEED).shuffle(texts)
    texts = texts[: arguments.most]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    print(f"written: {arguments.out}, {len(texts)} texts, {sum(len(text.split()) for text in texts)} words")


def apart_from(texts: Sequence[str], measured: Sequence[str]) -> list[str]:
    """Each of the texts once, without those that are kin of one that is measured on."""
    texts, measured = list(dict.fromkeys(texts)), list(dict.fromkeys(measured))
    kin = find_kin([[*measured, *texts]], indexed=len(measured))
    rows = np.arange(len(measured), len(measured) + len(texts))
    return [text for text, is_kin in zip(texts, kin.touches(rows, np.arange(len(measured))), strict=True) if not is_kin]


def _texts(raw: Iterable[str]) -> Iterator[str]:
    for text in raw:
        words = text.split()[:MOST_WORDS]
        if len(words) >= FEWEST_WORDS and "<unk>" not in words:
            yield " ".join(words)


def _raw_texts(folder: Path, parts: Sequence[str]) -> Iterator[str]:
    yield from _of_tables(folder, TABLES, parts)
    for path in _files(folder / "goemotions", parts, ".jsonl"):
        yield from (json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines())
    for path in _files(folder / "wikitext2", parts, ".txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.strip().startswith("="):
                yield from _sentences(line)
    for path in (path for name in TAGGED for path in _files(folder / name, parts, ".conll")):
        for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            yield " ".join(line.split()[0] for line in block.splitlines() if line.strip())


def _of_tables(folder: Path, tables: Mapping[str, Sequence[str]], parts: Sequence[str]) -> Iterator[str]:
    for name, columns in tables.items():
        for path in _files(folder / name, parts, ".tsv", ".csv"):
            is_csv = path.suffix == ".csv"
            with path.open(encoding="utf-8-sig", newline="") as file:
                quoting = csv.QUOTE_MINIMAL if is_csv else csv.QUOTE_NONE
                for row in csv.DictReader(file, delimiter="," if is_csv else "\t", quoting=quoting):
                    yield from (row[column] for column in columns)


def _files(folder: Path, parts: Sequence[str], *endings: str) -> list[Path]:
    """The files of these parts of a set that there are.

    Raises:
        InputError: There is none of them.
    """
    paths = [path for part in parts for ending in endings if (path := folder / f"{part}{ending}").is_file()]
    if not paths:
        wanted = ", ".join(f"{part}{ending}" for part in parts for ending in endings)
        raise InputError(f"{folder} has none of {wanted}; give --data-dir, a folder that has {folder.name}.")
    return paths


def _of_squad(folder: Path, part: str) -> Iterator[str]:
    """Paragraphs' sentences, and the questions, of the articles of a part."""
    (divided,), (articles,) = _files(folder, ["split_by_article"], ".json"), _files(folder, ["dev-v1.1"], ".json")
    titles = set(json.loads(divided.read_text(encoding="utf-8"))[part])
    for article in json.loads(articles.read_text(encoding="utf-8"))["data"]:
        if article["title"] in titles:
            for paragraph in article["paragraphs"]:
                yield from _sentences(paragraph["context"])
                yield from (question["question"] for question in paragraph["qas"])


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+(?=[A-Z\"'(])", text.strip())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", type=Path, default=folder, required=folder is None, help="folder of the data sets")
    parser.add_argument("--most", type=int, help="texts to write; all of them if left out")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "general_texts.txt")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except InputError as err:
        print(err, file=sys.stderr)
        sys.exit(2)
