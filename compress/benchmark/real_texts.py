"""How long real texts take, one at a time: what a model needs whose texts leave early depends on what they say.

Random tokens, on which `latency` is taken, leave wherever that happens to be.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.benchmark.counts import WORKER
from compress.benchmark.latency import Grid, Progress, is_duration, turns
from compress.benchmark.subjects import CONFIG, Subject, label_count, read_json
from compress.errors import CompressError
from compress.facts import read_facts
from compress.runtimes.process import RuntimeProcess
from compress.runtimes.table import load_runtime, module_of, settings_of
from compress.statistics import percentile

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded

logger = logging.getLogger(__name__)

TEXTS = 256
STRUCTURE = "structure.json"
LENGTHS = "lengths"
Texts = Mapping[str, np.ndarray]


def exits_of_subject(subject: Subject) -> dict[str, Any]:
    """The layers, measure and thresholds of a subject's exits, as its folder tells; empty where it has none."""
    if subject.file is not None:
        return dict(read_facts(subject.path).exits)
    structure = read_json(subject.path / STRUCTURE) if (subject.path / STRUCTURE).is_file() else {}
    exits = structure.get("exits")
    return exits if isinstance(exits, dict) else {}


def texts_of(encoded: Encoded, count: int = TEXTS) -> dict[str, np.ndarray]:
    """So many of a part's texts, evenly spread, as a subject reads them, one behind the other, and their lengths."""
    batches = [encoded.batch([int(index)]) for index in encoded.spread(count)]
    names = batches[0].keys()
    return {
        **{name: np.concatenate([batch[name][0] for batch in batches]).astype("<i8") for name in names},
        LENGTHS: np.array([batch["input_ids"].shape[1] for batch in batches], dtype="<i8"),
    }


def time_real_texts(
    subjects: Sequence[Subject], texts: Mapping[str, Texts], grid: Grid, *, baseline: str, progress: Progress | None = None
) -> dict[str, dict[str, Any]]:
    """Time subjects on the same real texts, one at a time, in turn with one another, each turn in a fresh process.

    Args:
        subjects: With different names.
        texts: For each name the texts as `texts_of` gives them.
        grid: Its device, threads and rounds; its shapes and samples count for nothing here.
        baseline: Name of the subject that `speedup` is against.
        progress: Told after each turn.

    Returns:
        For each name `texts`, a row for each number of threads, and, of a subject with exits, `exits`, with the shares of the
        texts that left at each.
    """
    samples: dict[tuple[str, int], list[list[float]]] = {}
    left: dict[str, list[int]] = {}
    work = [(subject, threads) for order in turns(subjects, grid.rounds) for threads in grid.threads for subject in order]
    for done, (subject, threads) in enumerate(work):
        if progress:
            progress(f"time {subject.name} on real texts", done, len(work))
        answer = _ask(subject, texts[subject.name], grid, threads)
        samples.setdefault((subject.name, threads), []).append(answer["samples"])
        left[subject.name] = answer["exits"]
    middles = {key: np.median(np.array(rounds), axis=0) for key, rounds in samples.items()}
    entries: dict[str, dict[str, Any]] = {}
    for subject in subjects:
        lengths = texts[subject.name][LENGTHS]
        rows = [
            _row(grid.device, threads, lengths, middles[subject.name, threads], middles[baseline, threads])
            for threads in grid.threads
        ]
        entries[subject.name] = {"texts": rows}
        exits = exits_of_subject(subject)
        if exits:
            counts = np.bincount(left[subject.name], minlength=len(exits["layers"]) + 1)
            entries[subject.name]["exits"] = {**exits, "shares": [round(float(share), 6) for share in counts / counts.sum()]}
    return entries


def _row(device: str, threads: int, lengths: np.ndarray, times: np.ndarray, baseline: np.ndarray) -> dict[str, Any]:
    """What texts took: each one's median over the rounds, and the mean over texts, which is what a next one is expected to
    take."""
    mean = float(times.mean())
    samples = [round(float(time), 4) for time in times]
    return {
        "device": device,
        "threads": threads,
        "count": len(times),
        "mean_tokens": round(float(lengths.mean()), 2),
        "mean_ms": round(mean, 4),
        "p50_ms": round(percentile(samples, 50), 4),
        "p95_ms": round(percentile(samples, 95), 4),
        "examples_per_second": round(1000 / mean, 2),
        "samples": samples,
        "speedup": round(float(baseline.mean()) / mean, 4),
    }


def _ask(subject: Subject, texts: Texts, grid: Grid, threads: int) -> dict[str, Any]:
    """Let a fresh process time a subject on each text once, and check what it answers."""
    request = {
        "do": "time_texts",
        "module": module_of(subject.kind),
        "options": settings_of(load_runtime(subject.kind), subject.facts()),
        "path": str(subject.path.resolve()),
        "device": grid.device,
        "threads": threads,
        "labels": label_count(subject),
    }
    count = len(texts[LENGTHS])
    process = RuntimeProcess(WORKER, threads=threads, time_limit=grid.time_limit)
    try:
        answer, _ = process.ask(f"timing {subject.name!r} on {count} texts", request, texts)
    finally:
        process.end()
    taken, exits = answer.get("samples"), answer.get("exits")
    is_sane = isinstance(taken, list) and len(taken) == count and all(map(is_duration, taken))
    most = len(exits_of_subject(subject).get("layers", ()))
    right = (
        isinstance(exits, list)
        and len(exits) == (count if most else 0)
        and all(type(exit) is int and 0 <= exit <= most for exit in exits)
    )
    if not is_sane or not right:
        raise CompressError(
            f"the process that timed {subject.name!r} on texts answered {str(answer)[:200]}, which are no timings of what "
            f"{subject.path / CONFIG} stands beside; export it again."
        )
    return answer
