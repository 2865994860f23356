"""Gather sentences without labels for a static embedder to learn from: captions, and what people said follows from them.

    python benchmarks/embedder_texts.py --data-dir FOLDER
    bert-compress run recipes/stsb_embedder/static.yaml

Of the training parts alone: STS-B's sentences, those of SNLI, and the English ones of Multi30k; each once.

Writes --out: a text on each line.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLUMNS = {
    "stsb": ("sentence1", "sentence2"),
    "snli_small": ("premise", "hypothesis"),
    "multi30k_en_de": ("en",),
}


def main() -> None:
    """Write the file."""
    arguments = _arguments()
    texts = list(dict.fromkeys(_texts(arguments.data_dir)))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    print(f"written: {arguments.out}, {len(texts)} texts")


def _texts(data_dir: Path) -> Iterator[str]:
    for name, columns in COLUMNS.items():
        with (data_dir / name / "train.tsv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield from (" ".join(row[column].split()) for column in columns)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", type=Path, default=folder, required=folder is None, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "embedder_texts.txt")
    return parser.parse_args()


if __name__ == "__main__":
    main()
