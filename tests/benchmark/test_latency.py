from __future__ import annotations

import logging
import math
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.benchmark import latency
from compress.benchmark.latency import Grid, ask_worker, check_grid, time_subjects, turns
from compress.benchmark.steadiness import Reading
from compress.benchmark.subjects import Subject, subject_of
from compress.errors import CompressError, InputError
from compress.runtimes import process
from tests.runtimes.files import endless, few_positions, nonsense, with_external_data

Folder = Callable[..., Path]


@pytest.fixture
def subject(onnx_folder: Folder) -> Subject:
    return subject_of(onnx_folder())


@pytest.fixture
def worker_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the process that times run other code."""

    def use(code: str) -> None:
        monkeypatch.setattr(process, "worker_command", lambda module: [sys.executable, "-I", "-S", "-c", code])

    return use


def answers(monkeypatch: pytest.MonkeyPatch, given: dict[str, list[Any]]) -> list[tuple[str, int]]:
    """Let each subject's turns be answered from a list, and note who was asked with how many threads."""
    asked: list[tuple[str, int]] = []
    waiting = {name: iter(samples) for name, samples in given.items()}

    def ask(subject: Subject, grid: Grid, threads: int) -> Any:
        asked.append((subject.name, threads))
        return next(waiting[subject.name])

    monkeypatch.setattr(latency, "ask_worker", ask)
    return asked


def answer(*samples: list[float], peak: int | None = 1000, **facts: Any) -> dict[str, Any]:
    return {"samples": list(samples), "peak_memory_bytes": peak, **facts}


T_OF_ONE = 12.706204736
"""Student's t at 97.5 % for one degree of freedom, from a table."""


def around(middle: float, logarithms: list[float]) -> Any:
    """What lies t standard errors of the mean of two rounds' logarithms around a value."""
    factor = math.exp(T_OF_ONE * statistics.stdev(logarithms) / math.sqrt(len(logarithms)))
    return pytest.approx([middle / factor, middle * factor], rel=1e-3)


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
    orders = ["".join(timed.name for timed in order) for order in turns(every, 4)]
    assert orders == ["abc", "bca", "cab", "abc"]


def test_percentiles_and_speedups_are_taken_over_the_samples_of_all_rounds(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = replace(subject, name="slow"), replace(subject, name="fast")
    asked = answers(
        monkeypatch,
        {
            "slow": [answer([10.0, 12.0], peak=900), answer([8.0], peak=500)],
            "fast": [answer([2.0, 4.0], peak=None), answer([3.0, 3.0, 13.0], peak=300)],
        },
    )
    timings = time_subjects([slow, fast], Grid(batch=(4,), length=(16,), rounds=2), baseline="slow")
    assert asked == [("slow", 1), ("fast", 1), ("fast", 1), ("slow", 1)]
    # slow: 8, 10, 12, its 95 % at position 1.9; fast: 2, 3, 3, 4, 13, its 95 % at position 3.8
    assert timings["slow"].rows == [
        {
            "device": "cpu",
            "batch": 4,
            "length": 16,
            "threads": 1,
            "p50_ms": 10.0,
            "p50_ci95_ms": around(10.0, [math.log(11.0), math.log(8.0)]),
            "p95_ms": 11.8,
            "examples_per_second": 400.0,
            "samples": [10.0, 12.0, 8.0],
            "rounds_p50_ms": [11.0, 8.0],
            "speedup": 1.0,
            "speedup_ci95": [1.0, 1.0],
        }
    ]
    assert timings["fast"].rows == [
        {
            "device": "cpu",
            "batch": 4,
            "length": 16,
            "threads": 1,
            "p50_ms": 3.0,
            "p50_ci95_ms": [3.0, 3.0],
            "p95_ms": 11.2,
            "examples_per_second": 1333.33,
            "samples": [2.0, 4.0, 3.0, 3.0, 13.0],
            "rounds_p50_ms": [3.0, 3.0],
            "speedup": 3.3333,
            "speedup_ci95": around(10 / 3, [math.log(11.0 / 3), math.log(8.0 / 3)]),
        }
    ]
    assert (timings["slow"].peak_memory_bytes, timings["fast"].peak_memory_bytes) == (900, 300)


def test_each_shape_and_number_of_threads_has_its_own_row_and_baseline(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, other = replace(subject, name="base"), replace(subject, name="other")
    asked = answers(
        monkeypatch,
        {
            "base": [answer([8.0], [16.0]), answer([4.0], [6.0])],
            "other": [answer([2.0], [2.0]), answer([2.0], [1.0])],
        },
    )
    timings = time_subjects([other, base], Grid(batch=(1, 2), length=(8,), threads=(1, 2), rounds=1), baseline="base")
    assert asked == [("other", 1), ("base", 1), ("other", 2), ("base", 2)]
    rows = [(row["threads"], row["batch"], row["p50_ms"], row["speedup"]) for row in timings["other"].rows]
    assert rows == [(1, 1, 2.0, 4.0), (1, 2, 2.0, 8.0), (2, 1, 2.0, 2.0), (2, 2, 1.0, 6.0)]
    assert [row["speedup"] for row in timings["base"].rows] == [1.0] * 4


def test_memory_that_no_process_tells_is_none(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"words": [answer([1.0], peak=None)]})
    assert time_subjects([subject], Grid(rounds=1), baseline="words")["words"].peak_memory_bytes is None


def test_progress_is_told_before_each_turn_and_at_the_end(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"words": [answer([1.0]), answer([1.0])]})
    steps: list[tuple[str, int, int]] = []
    time_subjects([subject], Grid(rounds=2), baseline="words", progress=lambda *step: steps.append(step))
    assert steps == [("time words", 0, 2), ("time words", 1, 2), ("time", 2, 2)]


def test_a_real_process_times_a_file(subject: Subject) -> None:
    timing = time_subjects([subject], Grid(batch=(1, 3), length=(8,), rounds=1, samples=6), baseline="words")["words"]
    assert [(row["batch"], len(row["samples"]), row["speedup"]) for row in timing.rows] == [(1, 6, 1.0), (3, 6, 1.0)]
    assert timing.peak_memory_bytes is not None
    assert timing.peak_memory_bytes > 10_000_000


def test_the_request_reaches_the_process_on_stdin(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says(
        "import json, sys; request = json.loads(sys.stdin.readline());"
        "wanted = {'do': 'time', 'module': 'compress.runtimes.onnxruntime', 'options': {}, 'device': 'cpu', "
        "'threads': 2, 'shapes': [[1, 8], [2, 8]], 'vocabulary': 12, 'labels': None, "
        "'warm_up': 3, 'samples': 7, 'seconds': 0.5, 'seed': 13, 'path': request['path'], 'spawned': request['spawned']};"
        "assert request == wanted, request;"
        "print(json.dumps({'samples': [[1.0], [2]], 'peak_memory_bytes': None}))"
    )
    grid = Grid(batch=(1, 2), length=(8,), samples=7, seconds=0.5)
    assert ask_worker(subject, grid, 2) == {"samples": [[1.0], [2]], "peak_memory_bytes": None}


def test_a_process_that_crashes_is_told_with_what_it_did(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says("import sys; print('a last word', file=sys.stderr); sys.exit(3)")
    with pytest.raises(CompressError, match=r"timing 'words', the process crashed \(exit code 3\)(?s:.*)a last word"):
        ask_worker(subject, Grid(), 1)


def test_a_process_that_takes_too_long_is_stopped(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says("import time; time.sleep(60)")
    with pytest.raises(CompressError, match=r"timing 'words' took more than 0\.2 seconds and was stopped; use fewer samples"):
        ask_worker(subject, Grid(time_limit=0.2), 1)


def test_an_error_that_the_process_answers_is_one_of_the_input(subject: Subject, worker_says: Callable[[str], None]) -> None:
    worker_says('print(\'{"error": "the file is broken; export it again.", "exit_code": 2}\')')
    with pytest.raises(InputError, match=r"^'words' cannot be timed: the file is broken; export it again\.$"):
        ask_worker(subject, Grid(), 1)


@pytest.mark.parametrize(
    "text",
    [
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
        '{"samples": [[1.0]], "peak_memory_bytes": 1, "start": 3}',
        '{"samples": [[1.0]], "peak_memory_bytes": 1, "start": {"load_ms": "long"}}',
        '{"samples": [[1.0]], "peak_memory_bytes": 1, "start": {"lunch_ms": 1.0}}',
        '{"samples": [[1.0]], "peak_memory_bytes": 1, "energy": [1.0, 2.0]}',
        '{"samples": [[1.0]], "peak_memory_bytes": 1, "energy": [-1.0]}',
    ],
)
def test_nonsense_is_refused_and_shown(subject: Subject, worker_says: Callable[[str], None], text: str) -> None:
    worker_says(f"print({text!r})")
    with pytest.raises(CompressError, match=r"answered \{.*, which are no timings"):
        ask_worker(subject, Grid(), 1)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nan", "answers to 3 of 3 examples are not finite"),
        ("infinite", "answers to 3 of 3 examples are not finite"),
        ("one row", r"an answer of shape \(1, 2\) to 3 examples"),
        ("one dimension", r"an answer of shape \(3,\) to 3 examples"),
        ("three dimensions", r"an answer of shape \(3, 1, 2\) to 3 examples"),
        ("one column", r"gives 1 logits for each example, but its config\.json names 2 labels"),
        ("three columns", r"gives 3 logits for each example, but its config\.json names 2 labels"),
        ("integers", r"gives logits as tensor\(int64\)"),
    ],
)
def test_a_file_that_answers_nonsense_is_not_timed(subject: Subject, kind: str, words: str) -> None:
    (subject.path / "config.json").write_text(
        '{"vocab_size": 12, "max_position_embeddings": 40, "id2label": {"0": "bad", "1": "good"}}'
    )
    nonsense(subject.path / "model.onnx", kind)
    with pytest.raises(CompressError, match=f"^'words' cannot be timed: .*{words}"):
        ask_worker(subject, Grid(batch=(3,), length=(8,)), 1)


@pytest.mark.parametrize("kind", ["half", "double"])
def test_a_file_that_answers_in_other_floats_is_timed(subject: Subject, kind: str) -> None:
    nonsense(subject.path / "model.onnx", kind)
    assert ask_worker(subject, Grid(length=(8,), samples=3), 1)["samples"][0]


def test_a_file_that_never_ends_is_not_timed(subject: Subject) -> None:
    endless(subject.path / "model.onnx")
    with pytest.raises(CompressError, match=r"timing 'words' took more than 1 seconds and was stopped"):
        ask_worker(subject, Grid(time_limit=1), 1)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"positions": 4}, r"Export the model again, .* and its own config\.json beside it"),
        ({"words": 4}, r"has fewer positions, or a smaller vocabulary, than the config\.json beside it says"),
    ],
)
def test_a_file_with_smaller_tables_than_its_config_says_is_refused(
    subject: Subject, tables: dict[str, int], words: str
) -> None:
    few_positions(subject.path / "model.onnx", **tables)
    with pytest.raises(InputError, match=rf"model\.onnx cannot run 1 examples of 6 tokens.*{words}"):
        ask_worker(subject, Grid(length=(6,)), 1)


def test_a_file_that_keeps_weights_outside_its_folder_is_refused_before_anything_runs(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_external_data(subject.path / "model.onnx", "../../etc/passwd")
    monkeypatch.setattr(latency, "ask_worker", None)
    with pytest.raises(InputError, match=r"keeps weights in '\.\./\.\./etc/passwd'; allowed are files in its own folder"):
        time_subjects([subject], Grid(), baseline="words")


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "9"])
def test_a_time_limit_that_is_none_is_refused(subject: Subject, value: Any) -> None:
    with pytest.raises(InputError, match=r"time_limit is .*a number of seconds above 0"):
        check_grid(Grid(time_limit=value), [subject])


def test_a_file_that_vanished_is_an_error_of_the_input(subject: Subject) -> None:
    (subject.path / "model.onnx").unlink()
    with pytest.raises(InputError, match=r"'words' cannot be timed: .*cannot be loaded by onnxruntime"):
        ask_worker(subject, Grid(), 1)


def rounds_of(*medians: float, **facts: Any) -> list[dict[str, Any]]:
    return [answer([median] * 3, **facts) for median in medians]


def timed(
    monkeypatch: pytest.MonkeyPatch, subject: Subject, given: dict[str, list[Any]], **asked: Any
) -> dict[str, latency.Timing]:
    answers(monkeypatch, given)
    monkeypatch.setattr(latency, "reading", lambda: Reading(0.0, None, 0.0))
    subjects = [replace(subject, name=name) for name in given]
    return time_subjects(subjects, Grid(length=(8,), **asked), baseline=next(iter(given)))


def test_a_subject_that_is_a_fifth_slower_is_reported_as_such_though_the_machine_moves(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is 30 % slower in rounds 2 and 4, for both alike; what is compared within a round is certain. The slowest
    round is 1.31 times the root of 1.002 slower than the fastest: 31.1 %."""
    machine = [1.0, 1.3, 1.02, 1.31, 1.01]
    noise = [1.0, 1.004, 0.997, 1.002, 1.001]
    timings_there = timed(
        monkeypatch,
        subject,
        {
            "base": rounds_of(*(10 * speed for speed in machine)),
            "slow": rounds_of(*(12 * speed * part for speed, part in zip(machine, noise, strict=True))),
        },
    )
    row = timings_there["slow"].rows[0]
    assert row["speedup"] == pytest.approx(1 / 1.2, rel=0.01)
    low, high = row["speedup_ci95"]
    assert 0.82 < low < 1 / 1.2 < high < 0.85
    assert row["p50_ci95_ms"][1] / row["p50_ms"] > 1.15  # what is not compared is not
    (warning,) = timings_there["slow"].conditions["warnings"]
    assert "speed moved by 31.1 % between rounds (round 1 was fastest, 4 slowest)" in warning


def test_rounds_go_on_until_every_median_is_tight(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = [10.0, 10.1, 9.9, 10.0, 10.05, 9.95, 10.0, 10.0]
    rough = [5.0, 5.4, 5.2, 5.2, 5.25, 5.2, 5.2, 5.2]
    timings_there = timed(
        monkeypatch, subject, {"base": rounds_of(*steady), "rough": rounds_of(*rough)}, rounds=2, tight=0.05, most_rounds=8
    )
    rounds = timings_there["base"].conditions["rounds"]
    assert 2 < rounds < 8
    logarithms = [math.log(value) for value in rough]

    def half_width(count: int) -> float:
        t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447}[count]
        return math.expm1(t * statistics.stdev(logarithms[:count]) / math.sqrt(count))

    assert half_width(rounds) <= 0.05 < half_width(rounds - 1)
    assert timings_there["rough"].conditions["warnings"] == []


def test_what_is_not_tight_in_the_end_is_said(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    timings_there = timed(monkeypatch, subject, {"base": rounds_of(5.0, 7.0, 5.0, 7.0)}, rounds=2, tight=0.01, most_rounds=4)
    conditions = timings_there["base"].conditions
    assert conditions["rounds"] == 4
    assert any("base at batch 1, length 8, 1 thread: the median is known to" in text for text in conditions["warnings"])


def test_four_times_the_rounds_are_the_most_if_nothing_is_said() -> None:
    assert Grid(rounds=3, tight=0.1).last_round == 12
    assert Grid(rounds=3, tight=0.1, most_rounds=5).last_round == 5
    assert Grid(rounds=3, most_rounds=5).last_round == 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tight": 0.0}, "tight is 0.0; a share"),
        ({"tight": 1.0}, "tight is 1.0; a share"),
        ({"tight": float("nan")}, "tight is nan; a share"),
        ({"tight": 0.1, "most_rounds": 4}, "most_rounds is 4; a whole number from 5"),
        ({"tight": 0.1, "most_rounds": True}, "most_rounds is True"),
    ],
)
def test_widths_and_rounds_that_cannot_be_are_refused(subject: Subject, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_grid(Grid(**asked), [subject])


def test_the_start_is_the_median_over_processes_and_energy_that_of_an_example(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = [{"load_ms": load, "first_answer_ms": 2.0, "total_ms": load + 300} for load in (50.0, 60.0, 90.0)]
    given = [answer([1.0], start=start, energy=[joules]) for start, joules in zip(starts, (8.0, 10.0, 12.0), strict=True)]
    (timing,) = timed(monkeypatch, subject, {"words": given}, batch=(4,), rounds=3).values()
    assert timing.cold_start == {"load_ms": 60.0, "first_answer_ms": 2.0, "total_ms": 360.0}
    assert timing.rows[0]["joules_per_example"] == pytest.approx(10.0 / 4)
    silent = [answer([1.0], energy=[None]), answer([1.0], energy=[3.0])]
    (timing,) = timed(monkeypatch, subject, {"words": silent}, rounds=2).values()
    assert "joules_per_example" not in timing.rows[0]
    assert timing.cold_start == {}


def test_lengths_of_data_are_drawn_alike_for_all_and_no_longer_than_a_subject_reads() -> None:
    grid = Grid(batch=(2,), length=(8,), lengths=(3, 5, 60))
    assert grid.shapes == [(2, 8), (2, "data")]
    drawn = grid.drawn(2, 40)
    assert drawn == grid.drawn(2, 40)
    assert (len(drawn), {len(lengths) for lengths in drawn}) == (latency.DRAWN, {2})
    assert {length for lengths in drawn for length in lengths} == {3, 5, 40}
    assert Grid(length=(8,)).shapes == [(1, 8)]


def test_a_row_of_the_data_s_lengths_has_its_pace_from_the_mean(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts take 1 ms and long ones 9: the median says 1, what comes through in a second the mean of 3."""
    given = [answer([5.0], [1.0, 1.0, 1.0, 9.0])]
    (timing,) = timed(monkeypatch, subject, {"words": given}, batch=(6,), rounds=1, lengths=(4, 4, 4, 40)).values()
    fixed, of_data = timing.rows
    assert (fixed["length"], of_data["length"]) == (8, "data")
    assert of_data["p50_ms"] == 1.0
    assert of_data["examples_per_second"] == 6000 / 3
    assert of_data["tokens"]["mean"] == 13.0
    assert of_data["p50_ci95_ms"] is None


@pytest.mark.slow
def test_a_real_process_times_batches_of_the_data_s_lengths_and_its_own_start(subject: Subject) -> None:
    grid = Grid(batch=(2,), length=(8,), rounds=2, samples=6, lengths=(3, 5, 60))
    timing = time_subjects([subject], grid, baseline="words")["words"]
    assert [len(row["samples"]) for row in timing.rows] == [2 * 6, 2 * latency.DRAWN]
    assert timing.cold_start["total_ms"] > timing.cold_start["load_ms"] > 0
