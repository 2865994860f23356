"""Is a model as fast as it was asked to be?

    python benchmarks/latency_targets.py MODEL --data-dir FOLDER

MODEL is a fine-tuned classifier of SST-2 (runs/sst2_prune_to_latency_4/steps/1-fine_tune). `prune_to_latency` prunes it to
several speed-ups at two ways of being called, in float32 and int8, without training. Then its files and the dense one's are
exported anew and timed beside each other, in fresh processes, round after round. Writes
benchmarks/results/latency_targets.json: what was asked, what the table predicted, what the method itself measured, and what
this run measures.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import compress as cp
from compress.benchmark.block_times import Setting, model_times, shapes_of
from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole
from compress.training.step_context import StepContext

RESULT = Path(__file__).parent / "results" / "latency_targets.json"
ASKED = {
    ("onnxruntime-cpu", 1, 32): (2.0, 4.0, 8.0),
    ("onnxruntime-cpu", 8, 128): (2.0, 4.0, 8.0),
    ("onnxruntime-cpu-int8", 1, 32): (4.0,),
    ("onnxruntime-cpu-int8", 8, 128): (4.0,),
}
WITHIN = 0.1
SEED, THREADS = 13, 1


def main() -> None:
    """Prune, time, and write what was found."""
    arguments = _arguments()
    model, task = cp.load(arguments.model), cp.task("sst2", data_dir=arguments.data_dir)
    rows = [
        row
        for (target, batch, length), speedups in ASKED.items()
        for row in _rows(model, task, Setting(target, batch, length, THREADS), speedups)
    ]
    content = {
        "schema": 1,
        "script": "benchmarks/latency_targets.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": f"{model.config.num_hidden_layers} x {model.config.hidden_size}, fine-tuned on SST-2",
        "data": "GLUE SST-2 (no licence stated; Stanford Sentiment Treebank in GLUE, research use)",
        "within": WITHIN,
        "rows": rows,
    }
    write_whole(RESULT, json.dumps(content, indent=1) + "\n")
    print(f"written: {RESULT}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a folder with a float classifier of SST-2")
    parser.add_argument("--data-dir", default=os.environ.get("BERT_COMPRESS_DATA"), help="a folder with sst2/train.tsv")
    return parser.parse_args()


def _rows(model: Any, task: Any, setting: Setting, speedups: tuple[float, ...]) -> list[dict[str, Any]]:
    latencies, pruned = {}, {"dense": model}
    with tempfile.TemporaryDirectory() as folder:
        for speedup in speedups:
            run = StepContext(seed=SEED, answers=Path(folder))
            pruned[f"{speedup:g}x"] = cp.prune_to_latency(
                model,
                task=task,
                speedup=speedup,
                target=setting.target,
                batch=setting.batch,
                length=setting.length,
                threads=setting.threads,
                run=run,
            )
            latencies[speedup] = run.facts["latency"]
    taken = model_times(pruned, task, setting)
    rows = []
    for speedup in speedups:
        measured = taken["dense"] / taken[f"{speedup:g}x"]
        rows.append(
            {
                "target": setting.target,
                "batch": setting.batch,
                "length": setting.length,
                "threads": setting.threads,
                **latencies[speedup]["speedup"],
                "measured_again": measured,
                "is_within": abs(measured / speedup - 1) <= WITHIN,
                "dense_ms": taken["dense"],
                "pruned_ms": taken[f"{speedup:g}x"],
                "shapes": shapes_of(pruned[f"{speedup:g}x"]),
            }
        )
        print(f"{setting}: asked {speedup:g}x, predicted {rows[-1]['predicted']:.3g}x, measured {measured:.3g}x", flush=True)
    return rows


if __name__ == "__main__":
    main()
