"""Does reading long texts whole make a classifier better? Every kind of attention, with several seeds.

    python benchmarks/long_tasks.py [--data bbc_news movie_reviews_long] [--seeds 13 14 15] [--device cuda] [--jobs 2]

Trains what each recipe in recipes/<data> trains, with each seed, and measures the model in torch on the evaluation part; files
and latency are what the recipes themselves record. A seed's teacher is trained once. Writes, again after each seed,
benchmarks/results/long_tasks.json: for each set and kind the accuracy with its interval for each seed, and what it gains over
the model that reads 512 tokens of the same seed. The seeds share the evaluation texts, so that how far they lie apart tells of
training alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import compress as cp
from compress.benchmark.machine import commit, machine, versions
from compress.log import no_progress
from compress.models.families import longest_text
from compress.pipeline.cache import open_cache
from compress.pipeline.steps import Execution, StepOutput, execute_steps
from compress.recipe import INPUT_MODEL, read_recipe
from compress.record import write_whole
from compress.training.device import pick_device
from compress.training.predict import predict

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "long_tasks.json"
SETS = ("bbc_news", "movie_reviews_long")
DENSE = "dense"
KINDS = (DENSE, "dense_further", "longformer", "reformer", "transformer_xl", "chunk_and_pool")


def main() -> None:
    """Train all, and write what was found."""
    arguments = _arguments()
    device = pick_device(arguments.device)
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn")) as pool:
        asked = [pool.submit(_measured, data, seed, device) for data, seed in product(arguments.data, arguments.seeds)]
        for future in as_completed(asked):
            rows = sorted([*rows, *future.result()], key=lambda row: (row["data"], KINDS.index(row["kind"]), row["seed"]))
            content = {
                "schema": 1,
                "script": "benchmarks/long_tasks.py",
                "machine": machine(),
                "versions": versions(),
                "commit": commit(),
                "device": device,
                "means": _means(rows),
                "rows": rows,
            }
            write_whole(RESULT, json.dumps(content, indent=1) + "\n")
    print(f"written: {RESULT}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[13, 14, 15])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="how many seeds to train at once")
    return parser.parse_args()


def _measured(data: str, seed: int, device: str) -> list[dict[str, Any]]:
    """Train every kind with a seed; what the dense one answers is what the others are compared with."""
    rows: list[dict[str, Any]] = []
    answers: dict[str, np.ndarray] = {}
    plans = {kind: replace(read_recipe(ROOT / "recipes" / data / f"{kind}.yaml"), seed=seed) for kind in KINDS}
    dense = plans[DENSE]
    task = cp.task(**dense.task)
    start = StepOutput(INPUT_MODEL, f"{dense.model} {seed}", None, cp.load(dense.model, labels=task.labels, seed=seed))
    labels = task.evaluation.labels
    with tempfile.TemporaryDirectory() as folder:
        cache = open_cache(Path(folder), Path(folder))
        for kind, plan in plans.items():
            execution = Execution(plan, task, cache, device, no_progress, None, (), 3600.0)
            execute_steps(execution, start)
            model = execution.last.model()
            read = task.up_to(longest_text(model.config))
            logits = answers[kind] = predict(model.to(device), read.encode(read.evaluation, model.tokenizer), device)
            rows.append(
                {
                    "data": data,
                    "kind": kind,
                    "seed": seed,
                    **task.rules.judge(logits, labels, task.metric),
                    **task.rules.compare(answers[DENSE], logits, labels, task.metric),
                    "examples": len(labels),
                    "seconds": round(sum(step["seconds"] for step in execution.records if step["status"] == "computed"), 1),
                }
            )
            print(f"{data} {kind} {seed}: {rows[-1]['metrics']['accuracy']:.4f}, {rows[-1]['seconds']} s", flush=True)
    return rows


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each set and kind the mean over the seeds, how far the seeds lie apart, and what is gained over the dense one."""
    means = []
    for data, kind in dict.fromkeys((row["data"], row["kind"]) for row in rows):
        own = [row for row in rows if (row["data"], row["kind"]) == (data, kind)]
        accuracies, gained = [row["metrics"]["accuracy"] for row in own], [-row["drop"]["value"] for row in own]
        means.append(
            {
                "data": data,
                "kind": kind,
                "accuracy": statistics.fmean(accuracies),
                "lowest": min(accuracies),
                "highest": max(accuracies),
                "gained": statistics.fmean(gained),
                "gained_each": gained,
            }
        )
    return means


if __name__ == "__main__":
    main()
