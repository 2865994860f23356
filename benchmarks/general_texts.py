"""Gather sentences without labels for a student that learns language before any task.

    python benchmarks/general_texts.py --data-dir FOLDER
    bert-compress run recipes/general/three_layers_192.yaml

Of the training parts alone: phrases of film reviews (SST-2), comments (GoEmotions), captions (Multi30k's English), headlines
and forum posts (STS-B), articles (WikiText-2, WikiNEuRal, the SQuAD articles to learn from and the questions about them),
abstracts (NCBI disease) and tweets (WNUT-17); each once, and none that stands in an evaluation part. BANKING77, MRPC and SNLI
are left out: what a general student brings to sets that it has seen nothing of is measured on them.

Writes --out: a text on each line, in random order.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLES = {"sst2": ("sentence",), "stsb": ("sentence1", "sentence2"), "multi30k_en_de": ("en",)}
TAGGED = ("wikineural_en", "ncbi_disease", "wnut17")
SEED = 13
FEWEST_WORDS = 3
MOST_WORDS = 60
"""Of a sentence; a longer one is cut there."""
TRAIN, EVALUATION = "train", "dev"


def main() -> None:
    """Write the file."""
    arguments = _arguments()
    measured_on = {text.casefold() for text in _texts(arguments.data_dir, EVALUATION)}
    texts = [text for text in dict.fromkeys(_texts(arguments.data_dir, TRAIN)) if text.casefold() not in measured_on]
    random.Random(SEED).shuffle(texts)
    texts = texts[: arguments.most]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    print(f"written: {arguments.out}, {len(texts)} texts, {sum(len(text.split()) for text in texts)} words")


def _texts(folder: Path, part: str) -> Iterator[str]:
    for text in _raw_texts(folder, part):
        words = text.split()[:MOST_WORDS]
        if len(words) >= FEWEST_WORDS and "<unk>" not in words:
            yield " ".join(words)


def _raw_texts(folder: Path, part: str) -> Iterator[str]:
    for name, columns in TABLES.items():
        with (folder / name / f"{part}.tsv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield from (row[column] for column in columns)
    for line in (folder / "goemotions" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)["text"]
    for line in (folder / "wikitext2" / f"{part}.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip().startswith("="):
            yield from _sentences(line)
    yield from _of_squad(folder / "squad", part)
    for name in TAGGED:
        for block in re.split(r"\n\s*\n", (folder / name / f"{part}.conll").read_text(encoding="utf-8")):
            yield " ".join(line.split()[0] for line in block.splitlines() if line.strip())


def _of_squad(folder: Path, part: str) -> Iterator[str]:
    """Paragraphs' sentences, and the questions, of the articles of a part."""
    titles = set(json.loads((folder / "split_by_article.json").read_text(encoding="utf-8"))[{"dev": "eval"}.get(part, part)])
    for article in json.loads((folder / "dev-v1.1.json").read_text(encoding="utf-8"))["data"]:
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
    main()
