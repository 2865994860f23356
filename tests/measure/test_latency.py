from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.errors import CompressError, InputError
from compress.measure import latency
from compress.measure.latency import Grid, ask_worker, check_grid, time_subjects, turns, worker_environment
from compress.measure.subjects import Subject, subject_of

Folder = Callable[..., Path]


@pytest.fixture
def subject(onnx_folder: Folder) -> Subject:
    return subject_of(onnx_folder())


@pytest.fixture
def worker_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the process that times run other code."""

    def use(code: str) -> None:
        monkeypatch.setattr(latency, "worker_command", lambda: [sys.executable, "-I", "-S", "-c", code])

    return use


def answers(monkeypatch: pytest.MonkeyPatch, given: dict[str, list[Any]]) -> list[tuple[str, int]]:
    """Let each subject's turns be answered from a list, and note who was asked with how many threads."""
    asked: list[tuple[str, int]] = []
    waiting = {name: iter(found) for name, found in given.items()}

    def ask(subject: Subject, grid: Grid, threads: int) -> Any:
        asked.append((subject.name, threads))
        return next(waiting[subject.name])

    monkeypatch.setattr(latency, "ask_worker", ask)
    return asked


def answer(*samples: list[float], peak: int | None = 1000) -> dict[str, Any]:
    return {"samples": list(samples), "peak_memory_bytes": peak}


def test_shapes_have_the_batches_outermost() -> None:
    assert Grid(batch=(1, 8), length=(16, 32)).shapes == [(1, 16), (1, 32), (8, 16), (8, 32)]


@pytest.mark.parametrize("name", ["batch", "length", "threads"])
@pytest.mark.parametrize("values", [(), (0,), (1, -2), (1.0,), (True,), ("8",)])
def test_what_is_no_list_of_counts_is_refused(subject: Subject, name: str, values: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is .*whole numbers from 1"):
        check_grid(replace(Grid(), **{name: values}), [subject])


@pytest.mark.parametrize("name", ["batch", "length", "threads"])
def test_a_count_that_stands_twice_is_refused(subject: Subject, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} is \[2, 1, 2\]; each number may stand there once"):
        check_grid(replace(Grid(), **{name: (2, 1, 2)}), [subject])


@pytest.mark.parametrize("name", ["rounds", "samples"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, None])
def test_rounds_and_samples_below_one_are_refused(subject: Subject, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is .*a whole number from 1"):
        check_grid(replace(Grid(), **{name: value}), [subject])


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_time_limit_of_nothing_is_refused(subject: Subject, value: float) -> None:
    with pytest.raises(InputError, match=r"seconds is .*above 0"):
        check_grid(Grid(seconds=value), [subject])


def test_a_length_beyond_what_a_subject_reads_is_refused_and_the_longest_is_not(subject: Subject) -> None:
    check_grid(Grid(length=(40,)), [subject])
    with pytest.raises(InputError, match="length is 41, but 'words' reads at most 40 tokens"):
        check_grid(Grid(length=(8, 41)), [subject])


def test_more_threads_than_processors_are_said_aloud(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    here = os.cpu_count() or 1
    with caplog.at_level(logging.WARNING):
        check_grid(Grid(threads=(here,)), [subject])
        assert caplog.messages == []
        check_grid(Grid(threads=(1, here + 1)), [subject])
    assert caplog.messages == [f"{here + 1} threads are timed on a machine of {here}; use at most that many"]


def test_turns_rotate_so_that_none_is_always_first(subject: Subject) -> None:
    every = [replace(subject, name=name) for name in "abc"]
    found = ["".join(one.name for one in order) for order in turns(every, 4)]
    assert found == ["abc", "bca", "cab", "abc"]


def test_percentiles_and_speedups_are_taken_over_the_samples_of_all_rounds(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = replace(subject, name="slow"), replace(subject, name="fast")
    asked = answers(monkeypatch, {
        "slow": [answer([10.0, 12.0], peak=900), answer([8.0], peak=500)],
        "fast": [answer([2.0, 4.0], peak=None), answer([3.0, 3.0, 13.0], peak=300)],
    })  # fmt: skip
    found = time_subjects([slow, fast], Grid(batch=(4,), length=(16,), rounds=2), baseline="slow")
    assert asked == [("slow", 1), ("fast", 1), ("fast", 1), ("slow", 1)]
    # slow: 8, 10, 12, its 95 % at position 1.9; fast: 2, 3, 3, 4, 13, its 95 % at position 3.8
    assert found["slow"].rows == [{
        "device": "cpu", "batch": 4, "length": 16, "threads": 1, "p50_ms": 10.0, "p95_ms": 11.8,
        "examples_per_second": 400.0, "samples": [10.0, 12.0, 8.0], "speedup": 1.0,
    }]  # fmt: skip
    assert found["fast"].rows == [{
        "device": "cpu", "batch": 4, "length": 16, "threads": 1, "p50_ms": 3.0, "p95_ms": 11.2,
        "examples_per_second": 1333.33, "samples": [2.0, 4.0, 3.0, 3.0, 13.0], "speedup": 3.3333,
    }]  # fmt: skip
    assert (found["slow"].peak_memory_bytes, found["fast"].peak_memory_bytes) == (900, 300)


def test_each_shape_and_number_of_threads_has_its_own_row_and_baseline(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, other = replace(subject, name="base"), replace(subject, name="other")
    asked = answers(monkeypatch, {
        "base": [answer([8.0], [16.0]), answer([4.0], [6.0])],
        "other": [answer([2.0], [2.0]), answer([2.0], [1.0])],
    })  # fmt: skip
    found = time_subjects([other, base], Grid(batch=(1, 2), length=(8,), threads=(1, 2), rounds=1), baseline="base")
    assert asked == [("other", 1), ("base", 1), ("other", 2), ("base", 2)]
    rows = [(row["threads"], row["batch"], row["p50_ms"], row["speedup"]) for row in found["other"].rows]
    assert rows == [(1, 1, 2.0, 4.0), (1, 2, 2.0, 8.0), (2, 1, 2.0, 2.0), (2, 2, 1.0, 6.0)]
    assert [row["speedup"] for row in found["base"].rows] == [1.0] * 4


def test_memory_that_no_process_tells_is_none(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"words": [answer([1.0], peak=None)]})
    assert time_subjects([subject], Grid(rounds=1), baseline="words")["words"].peak_memory_bytes is None


def test_progress_is_told_before_each_turn_and_at_the_end(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"words": [answer([1.0]), answer([1.0])]})
    told: list[tuple[str, int, int]] = []
    time_subjects([subject], Grid(rounds=2), baseline="words", progress=lambda *one: told.append(one))
    assert told == [("time words", 0, 2), ("time words", 1, 2), ("time", 2, 2)]


def test_a_real_process_times_a_file(subject: Subject) -> None:
    found = time_subjects([subject], Grid(batch=(1, 3), length=(8,), rounds=1, samples=6), baseline="words")["words"]
    assert [(row["batch"], len(row["samples"]), row["speedup"]) for row in found.rows] == [(1, 6, 1.0), (3, 6, 1.0)]
    assert found.peak_memory_bytes is not None
    assert found.peak_memory_bytes > 10_000_000


def test_the_threads_of_every_runtime_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    found = worker_environment(3)
    assert {found[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}
    assert found["PYTHONPATH"].split(os.pathsep)[-1] == "elsewhere"
    assert os.environ["OMP_NUM_THREADS"] == "64"


def test_the_request_reaches_the_process_on_stdin(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says(
        "import json, sys; told = json.load(sys.stdin);"
        "wanted = {'kind': 'onnx', 'device': 'cpu', 'threads': 2, 'shapes': [[1, 8], [2, 8]], 'vocabulary': 12,"
        " 'warm_up': 3, 'samples': 7, 'seconds': 0.5, 'seed': 13, 'path': told['path']}; assert told == wanted, told;"
        "print(json.dumps({'samples': [[1.0], [2]], 'peak_memory_bytes': None}))"
    )
    grid = Grid(batch=(1, 2), length=(8,), samples=7, seconds=0.5)
    assert ask_worker(subject, grid, 2) == {"samples": [[1.0], [2]], "peak_memory_bytes": None}


def test_a_crash_is_told_with_the_exit_code_and_the_last_words(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says("import sys; print(*range(9), sep='\\n', file=sys.stderr); sys.exit(3)")
    with pytest.raises(CompressError, match=r"timed 'words' crashed \(exit code 3\)") as raised:
        ask_worker(subject, Grid(), 1)
    assert [line.strip() for line in str(raised.value).splitlines()[1:]] == ["4", "5", "6", "7", "8"]
    assert not isinstance(raised.value, InputError)


def test_a_crash_without_words_is_told_by_its_signal(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    with pytest.raises(CompressError, match=r"crashed \(signal 15\); its last words: none\.$"):
        ask_worker(subject, Grid(), 1)


def test_a_process_that_the_system_kills_most_likely_ran_out_of_memory(
    subject: Subject, worker_says: Callable[[str], None]
) -> None:
    worker_says("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(CompressError, match="killed by the system, most likely because memory ran out; use smaller"):
        ask_worker(subject, Grid(), 1)


@pytest.mark.parametrize(
    "words",
    [
        "MemoryError",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 3 TiB",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory",
        "onnxruntime: Failed to allocate memory for requested buffer of size 123",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_memory_that_ran_out_is_said_so(subject: Subject, worker_says: Callable[[str], None], words: str) -> None:
    worker_says(f"import sys; sys.exit({words!r})")
    with pytest.raises(CompressError, match="memory ran out while timing 'words'; use smaller batches"):
        ask_worker(subject, Grid(), 1)


def test_a_process_that_takes_too_long_is_stopped(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says("import time; time.sleep(60)")
    with pytest.raises(CompressError, match=r"timing 'words' took more than 0\.2 seconds and was stopped"):
        ask_worker(subject, Grid(time_limit=0.2), 1)


def test_an_error_that_the_process_answers_is_one_of_the_input(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says('print(\'{"error": "the file is broken; export it again."}\')')
    with pytest.raises(InputError, match=r"^'words' cannot be timed: the file is broken; export it again\.$"):
        ask_worker(subject, Grid(), 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[[1.0]]",
        "{}",
        '{"error": 3}',
        '{"samples": [[1.0]]}',
        '{"samples": [[1.0]], "peak_memory_bytes": "much"}',
        '{"samples": [[1.0], [1.0]], "peak_memory_bytes": 1}',
        '{"samples": [[]], "peak_memory_bytes": 1}',
        '{"samples": [1.0], "peak_memory_bytes": 1}',
        '{"samples": [[0.0]], "peak_memory_bytes": 1}',
        '{"samples": [[1.0, -1.0]], "peak_memory_bytes": 1}',
        '{"samples": [[NaN]], "peak_memory_bytes": 1}',
        '{"samples": [[Infinity]], "peak_memory_bytes": 1}',
        '{"samples": [["1.0"]], "peak_memory_bytes": 1}',
    ],
)
def test_nonsense_is_refused_and_shown(subject: Subject, worker_says: Callable[[str], None], text: str) -> None:
    worker_says(f"import sys; print('a last word', file=sys.stderr); print({text!r}, end='')")
    with pytest.raises(CompressError, match="which are no timings") as raised:
        ask_worker(subject, Grid(), 1)
    assert f"answered {text!r}" in str(raised.value)
    assert "a last word" in str(raised.value)


def test_a_file_that_vanished_is_an_error_of_the_input(subject: Subject) -> None:
    (subject.path / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"'words' cannot be timed: .*cannot be loaded by onnxruntime"):
        ask_worker(subject, Grid(), 1)
