"""Time models beside each other without any data, price what they answer, and set an earlier result beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.benchmark.latency import Grid, Progress, baseline_among, numbers_of, time_subjects
from compress.benchmark.machine import machine, machine_key, versions
from compress.benchmark.runners import check_device
from compress.benchmark.subjects import Subject, read_json, subjects_on_disk
from compress.errors import InputError, shown
from compress.runtimes.limits import TIME_LIMIT_SECONDS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCHEMA = 1
SHOWN = ("name", "batch", "length", "threads", "p50_ms", "p95_ms", "examples_per_second", "speedup", "peak_memory_bytes")
"""What a row of an earlier result must have to be shown."""


@dataclass(frozen=True)
class Latencies:
    """What was found.

    Args:
        rows: {name, kind, target, device, batch, length, threads, p50_ms, p50_ci95_ms, p95_ms, examples_per_second, samples,
            rounds_p50_ms, speedup, speedup_ci95, peak_memory_bytes, cold_start}, the subjects in the order given; with a price
            answers_per_hour and answers_per_unit too, where energy is counted joules_per_example.
        machine: Where it was measured.
        versions: Of what ran.
        conditions: How the machine behaved meanwhile, see `compress.benchmark.steadiness.conditions`.
    """

    rows: list[dict[str, Any]]
    machine: dict[str, Any]
    versions: dict[str, str]
    conditions: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"schema": SCHEMA, **asdict(self)}


def latencies(
    subjects: Sequence[Subject | str | Path | PreTrainedModel],
    *,
    batch: Sequence[int] = (1,),
    length: Sequence[int] = (32,),
    threads: Sequence[int] = (1,),
    device: str = "cpu",
    baseline: str | None = None,
    rounds: int = 5,
    samples: int = 20,
    seconds: float | None = None,
    time_limit: float = TIME_LIMIT_SECONDS,
    tight: float | None = None,
    most_rounds: int | None = None,
    lengths: Sequence[int] = (),
    price: float | None = None,
    progress: Progress | None = None,
) -> Latencies:
    """Time models beside each other, without any data; the other arguments are those of `measure`.

    Args:
        subjects: Folders, exports or models in memory.
        lengths: Tokens of texts, as `compress.benchmark.latency.Grid` takes them.
        price: Of an hour of this machine, in any currency.
    """
    wanted = (numbers_of("batch", batch), numbers_of("length", length), numbers_of("threads", threads))
    grid = Grid(*wanted, device, rounds, samples, seconds, time_limit, tight, most_rounds, tuple(lengths))
    with subjects_on_disk(subjects) as stored:
        reference = baseline_among(stored, baseline)
        check_device(device, {subject.kind for subject in stored})
        timed = time_subjects(stored, grid, baseline=reference, progress=progress)
        rows = [
            {
                "name": subject.name,
                "kind": subject.kind,
                "target": subject.target,
                **row,
                "peak_memory_bytes": timed[subject.name].peak_memory_bytes,
                "cold_start": timed[subject.name].cold_start,
                **_priced(row["examples_per_second"], price),
            }
            for subject in stored
            for row in timed[subject.name].rows
        ]
    return Latencies(rows, machine(), versions(), timed[reference].conditions)


def _priced(examples_per_second: float, price: float | None) -> dict[str, float]:
    """What one process with these threads answers in an hour, and for a unit of the currency."""
    if price is None:
        return {}
    hourly = examples_per_second * 3600
    return {"answers_per_hour": round(hourly), "answers_per_unit": round(hourly / price)}


def rows_of_before(path: Path) -> list[dict[str, Any]]:
    """Read the rows of an earlier result, `bench --json`, to be shown in one table with new ones.

    Raises:
        InputError: It is no such result, or was measured on another machine, whose latencies are not set beside these.
    """
    content = read_json(path)
    rows, described = content.get("rows"), content.get("machine")
    is_whole = isinstance(rows, list) and rows and all(isinstance(row, Mapping) and row.keys() >= set(SHOWN) for row in rows)
    if content.get("schema") != SCHEMA or not is_whole or not isinstance(described, Mapping):
        raise InputError(f"{shown(str(path))} holds no result of bench --json; write one with bert-compress bench ... --json.")
    if machine_key(described) != machine_key():
        raise InputError(
            f"{shown(str(path))} was measured on another machine ({shown(described.get('cpu'))}) than this one "
            f"({machine()['cpu']}); latencies of two machines do not stand in one table: time both here."
        )
    assert isinstance(rows, list)
    return rows
