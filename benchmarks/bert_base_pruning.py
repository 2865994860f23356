"""What does each way to prune take on a model of BERT-base's size, in time and in memory?

    python benchmarks/bert_base_pruning.py --data-dir FOLDER [--only prune_heads prune_cofi]

The model has BERT-base's shape (12 layers, 768 wide, 12 heads, 3072 neurons) and random weights, the sentences are those of
SST-2, at the default numbers of examples. Methods that train stop after 10 steps of 32 sentences, since one step takes the
memory of all. Each runs in a fresh process. Writes benchmarks/results/bert_base_pruning.json: seconds, the peak of memory
(the model that comes in and the imports included), and parameters before and after.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from random_bert_base import SEED, model_and_task, parser, write_result

from compress.benchmark.worker import peak_memory_bytes

RESULT = Path(__file__).parent / "results" / "bert_base_pruning.json"
LIMIT_BYTES = 16 << 30
STEPS = 10
TRAINED: dict[str, Any] = {"batch_size": 32, "epochs": 1}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "drop_layers": {"layers": 6, "by": "contribution"},
    "prune_heads": {"fraction": 0.5},
    "prune_ffn": {"fraction": 0.5},
    "prune_after_training": {"macs": 0.5},
    "prune_weights": {"fraction": 0.5, "importance": "soft_movement", "shape": "block", "block": [32, 32], **TRAINED},
    "prune_cofi": {"fraction": 0.6, **TRAINED},
    "prune_width": {"width": 384},
    "prune_to_latency": {"speedup": 2.0},
}


def main() -> None:
    """Run every method and write what it took."""
    arguments = _arguments()
    if arguments.serve:
        print(json.dumps(_taken(arguments.serve, arguments.data_dir)))
        return
    rows = [_asked(name, arguments.data_dir) for name in arguments.only or ARGUMENTS]
    write_result(RESULT, steps=STEPS, limit_bytes=LIMIT_BYTES, methods=rows)


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--only", nargs="+", choices=ARGUMENTS, help="these methods alone")
    made.add_argument("--serve", choices=ARGUMENTS, help=argparse.SUPPRESS)
    return made.parse_args()


def _asked(name: str, data_dir: str | None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--serve", name, *(["--data-dir", data_dir] if data_dir else [])]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} failed:\n{ended.stderr[-3000:]}")
    row: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    row["fits"] = row["peak_memory_bytes"] <= LIMIT_BYTES
    print(
        f"{name:22} {row['seconds']:7.0f} s, {row['peak_memory_bytes'] / 2**30:5.1f} GiB, "
        f"{row['parameters'] / 1e6:.1f} M of {row['parameters_before'] / 1e6:.1f} M weights stay",
        flush=True,
    )
    return row


def _taken(name: str, data_dir: str | None) -> dict[str, Any]:
    from compress.methods import METHODS
    from compress.models.layout import parameter_count
    from compress.training.step_context import StepContext

    model, task = model_and_task(data_dir)
    options = ARGUMENTS[name] | ({"teacher": model} if name == "prune_cofi" else {})
    started = time.perf_counter()
    pruned = getattr(importlib.import_module(METHODS[name]), name)(
        model, task=task, run=StepContext(seed=SEED, max_steps=STEPS if "epochs" in options else None), **options
    )
    return {
        "method": name,
        "arguments": ARGUMENTS[name],
        "seconds": time.perf_counter() - started,
        "peak_memory_bytes": peak_memory_bytes(),
        "parameters_before": parameter_count(model),
        "parameters": parameter_count(pruned),
    }


if __name__ == "__main__":
    main()
