"""Put files of four families' shapes beside those that transformers' own exporters and quantizers make of the same models.

    python benchmarks/family_peers.py prepare --data-dir FOLDER --tokenizers FOLDER
    python benchmarks/family_peers.py measure --data-dir FOLDER --tokenizers FOLDER

Models of BERT-base's width with random weights, 4 layers of 768 (12 heads, 3072 neurons), as `families_from_scratch.py` begins
them: what they cost does not depend on what they learned, and what a file makes of their answers shows as an error against
torch. `prepare` makes the files, in an environment of its own where NNCF is needed, and lets each answer the same sentences;
`measure` times all files of a family in turn, round after round, each in a fresh process, and needs a quiet machine.

Writes benchmarks/results/family_peers.json, a family after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from families_from_scratch import MIN_COUNT, SEED, begun
from peer_environments import PeerFailed, asked, environment, run
from peer_process import read_answers, write_batches
from task_groups import ENVIRONMENTS

from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole
from compress.statistics import percentile

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "family_peers.json"
FAMILIES = ("bert", "roberta", "deberta-v2", "modernbert")
LAYERS = 4
SIZES = {"hidden_size": 768, "num_hidden_layers": LAYERS, "num_attention_heads": 12, "intermediate_size": 3072}
OWN = {
    "modernbert": {"layer_types": ["full_attention", "sliding_attention"] * 2, "local_attention": 128},
    "deberta-v2": {"position_buckets": 256},
}
POSITIONS = 514
SHAPES = ((1, 32), (8, 128))
CALIBRATION, SAMPLE, ANSWERED = 100, 8, 200
"""Sentences to find ranges with, tokens to trace with, sentences to answer."""
LOOSE = {target: {"max_flips": 1.0, "max_relative_error": 10.0} for target in ("onnxruntime-cpu-int8", "openvino-cpu-int8")}
"""Of random weights, whose answers differ by less than rounding moves them."""
SAMPLES, SECONDS, ROUNDS = 20, 1.0, 2
PEER_FORMS = (
    "onnx, fused for cpu",
    "onnx, int8 dynamic",
    "onnx, fused for cpu, int8 dynamic",
    "openvino",
    "openvino, int8 (NNCF)",
)
Row = dict[str, Any]


def main() -> None:
    """Prepare or measure families."""
    arguments = _arguments()
    for kind in arguments.only or FAMILIES:
        work = arguments.work / kind
        if arguments.stage == "prepare":
            _prepare(kind, work, arguments)
        elif (work / "prepared.json").is_file():
            _measure(kind, work, arguments.work / "environments")


def _prepare(kind: str, work: Path, arguments: argparse.Namespace) -> None:
    """Make the files of a family, and let each answer."""
    import compress as cp
    from compress.training.batches import sorted_batches
    from compress.training.step_context import StepContext

    of_task = {"data": "sst2", "data_dir": arguments.data_dir, "max_length": 128, "rows": 5000}
    task = cp.task(**of_task)
    model = begun(kind, task, arguments.tokenizers, sizes=SIZES, own=OWN.get(kind, {}), positions=POSITIONS)
    model = cp.trim_vocabulary(model, task=task, min_count=MIN_COUNT, run=StepContext(seed=SEED, device="cpu"))
    folder = cp.save(model, work / "model") if not (work / "model").is_dir() else work / "model"
    given = task.encode(task.calibration.take(CALIBRATION), model.tokenizer)
    write_batches(work / "calibration.npz", [given.batch([index]) for index in range(len(given))])
    write_batches(work / "sample.npz", [{name: values[:, :SAMPLE] for name, values in given.batch([0, 1]).items()}])
    answered = task.encode(task.evaluation.take(ANSWERED), model.tokenizer)
    write_batches(work / "answered.npz", [answered.batch(batch) for batch in sorted_batches(answered.lengths, 32)])
    ours = {
        "make": "our_files",
        "model": str(folder),
        "out": str(work / "ours"),
        "exported": {},
        "task": of_task,
        "options": LOOSE,
    }
    inputs = {name: str(work / f"{name}.npz") for name in ("calibration", "sample")}
    theirs = {"make": "transformers_files", "model": str(folder), "out": str(work / "theirs"), "forms": PEER_FORMS, **inputs}
    rows: list[Row] = []
    environments: dict[str, dict[str, str]] = {}
    for who, name, request in (("bert-compress", "", ours), ("transformers", "nncf", theirs)):
        python = _python(name, arguments.work / "environments")
        made = json.loads(run([python, str(HERE / "task_peers.py")], request))
        environments |= {name: made["versions"]} if name else {}
        rows += [{"who": who, "environment": name, **form} for form in made["forms"]]
    for row in rows:
        _answer(row, work, arguments.work / "environments")
        print(kind, row["who"], row["name"], row.get("error") or f"relative error {row['relative_error']:.2g}", flush=True)
    content = {"pieces": model.config.vocab_size, "environments": environments, "rows": rows}
    write_whole(work / "prepared.json", json.dumps(content, indent=1) + "\n")


def _answer(row: Row, work: Path, environments: Path) -> None:
    """Let a file answer, and compare it with what torch answers, the first row."""
    if "error" in row:
        return
    answers = work / "answers.npz"
    request = {"runtime": row["runtime"], "path": row["path"], "how": "", "answers": str(answers)}
    try:
        asked(_python(row["environment"], environments), 1, {**request, "batches": str(work / "answered.npz")})
    except PeerFailed as err:
        row["error"] = str(err).strip().splitlines()[-1][:300]
        return
    logits = np.concatenate(read_answers(answers))
    if not (work / "torch.npy").is_file():
        np.save(work / "torch.npy", logits)
    wanted = np.load(work / "torch.npy")
    spread = np.sqrt(np.square(wanted - wanted.mean(0)).mean())
    row["relative_error"] = float(np.sqrt(np.square(logits - wanted).mean()) / spread)
    row["size_bytes"] = sum(Path(file).stat().st_size for file in row["files"])


def _python(name: str, environments: Path) -> str:
    return environment(environments / name, ENVIRONMENTS[name], pinned=False, on_top=True) if name else sys.executable


def _measure(kind: str, work: Path, environments: Path) -> None:
    """Time the files of a family in turn."""
    prepared = json.loads((work / "prepared.json").read_text(encoding="utf-8"))
    rows = [row for row in prepared["rows"] if "error" not in row]
    samples: list[list[list[float]]] = [[[] for _ in SHAPES] for _ in rows]
    for turn in range(ROUNDS):
        order = [*range(turn % len(rows), len(rows)), *range(turn % len(rows))]
        for index in order:
            row = rows[index]
            timed = {"runtime": row["runtime"], "path": row["path"], "how": "", "vocabulary": prepared["pieces"], "seed": SEED}
            timed |= {"shapes": SHAPES, "samples": SAMPLES, "seconds": SECONDS}
            answer = asked(_python(row["environment"], environments), 1, timed)
            for own, new in zip(samples[index], answer["samples"], strict=True):
                own += new
        print(f"{kind}: round {turn + 1} of {ROUNDS} is done", flush=True)
    for row, own in zip(rows, samples, strict=True):
        row["latency"] = [
            {"batch": batch, "length": length, "threads": 1, "p50_ms": percentile(values, 50), "samples": values}
            for (batch, length), values in zip(SHAPES, own, strict=True)
        ]
    known = json.loads(RESULT.read_text(encoding="utf-8"))["families"] if RESULT.is_file() else {}
    kept = ("who", "name", "error", "parameters", "relative_error", "size_bytes", "latency")
    shown = [{name: row[name] for name in kept if name in row} for row in prepared["rows"]]
    known[kind] = {"pieces": prepared["pieces"], "environments": prepared["environments"], "rows": shown}
    content = {
        "schema": 1,
        "script": f"benchmarks/{RESULT.stem}.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": f"random weights, {LAYERS} layers of 768, 12 heads, 3072 neurons",
        "data": "GLUE SST-2 (no licence stated; Stanford Sentiment Treebank in GLUE, research use)",
        "families": {name: known[name] for name in FAMILIES if name in known},
    }
    write_whole(RESULT, json.dumps(content, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("stage", choices=["prepare", "measure"])
    parser.add_argument("--data-dir", default=default, required=default is None, help="has sst2/")
    parser.add_argument("--tokenizers", type=Path, required=True, help="see families_from_scratch.py")
    parser.add_argument("--only", nargs="*", choices=FAMILIES, default=[])
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "family_peers", help="environments and files"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
