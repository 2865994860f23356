from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.benchmark import worker
from compress.benchmark.counts import WORKER
from compress.benchmark.energy import Meter
from compress.benchmark.latency import Grid, ask_worker
from compress.benchmark.subjects import subject_of
from compress.errors import InputError
from compress.runtimes import openvino
from compress.runtimes.process import RuntimeProcess, worker_command, worker_environment
from compress.runtimes.runtime import Session

Folder = Callable[..., Path]
OPENVINO = "compress.runtimes.openvino"


def request_for(folder: Path, **changes: Any) -> dict[str, Any]:
    request = {
        "module": "compress.runtimes.onnxruntime",
        "options": {},
        "path": str(folder),
        "device": "cpu",
        "threads": 1,
        "shapes": [[1, 4], [3, 8]],
        "vocabulary": 12,
        "labels": None,
        "warm_up": 1,
        "samples": 5,
        "seconds": None,
        "seed": 13,
        "spawned": 0.0,
    }
    return request | changes


def answer_of(code: str, request: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env=worker_environment(1),
    )


def test_every_shape_gets_as_many_samples_as_were_asked_for(onnx_folder: Folder) -> None:
    answer, _ = worker.time_subject(request_for(onnx_folder()), {})
    assert [len(taken) for taken in answer["samples"]] == [5, 5]
    assert all(sample > 0 for taken in answer["samples"] for sample in taken)


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.onnx cannot be loaded"):
        worker.time_subject(request_for(tmp_path), {})


def test_random_inputs_are_full_and_within_the_vocabulary() -> None:
    given = worker.random_inputs(5, 40, 16, seed=1)
    assert {name: values.shape for name, values in given.items()} == {
        "input_ids": (40, 16),
        "attention_mask": (40, 16),
        "token_type_ids": (40, 16),
    }
    assert all(values.dtype == np.int64 for values in given.values())
    assert set(np.unique(given["input_ids"])) == {0, 1, 2, 3, 4}
    assert given["attention_mask"].all()
    assert not given["token_type_ids"].any()


def test_random_inputs_are_the_same_each_time_and_differ_by_shape_and_seed() -> None:
    first = worker.random_inputs(1000, 2, 8, seed=1)["input_ids"]
    assert np.array_equal(first, worker.random_inputs(1000, 2, 8, seed=1)["input_ids"])
    assert not np.array_equal(first, worker.random_inputs(1000, 2, 8, seed=2)["input_ids"])
    assert not np.array_equal(first[:1], worker.random_inputs(1000, 1, 8, seed=1)["input_ids"])


def test_warm_up_calls_are_made_and_not_counted() -> None:
    calls: list[int] = []
    assert len(worker.time_calls(lambda: calls.append(1), 3, 4, None)) == 4
    assert len(calls) == 3 + 4


def test_a_call_is_timed_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 1_500_000, 2_000_000, 2_250_000])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(clock))
    assert worker.time_calls(lambda: None, 0, 2, None) == [1.5, 0.25]


@pytest.mark.parametrize(("seconds", "count"), [(0.5, 3), (4.5, 5), (100.0, 20), (None, 20)])
def test_a_time_limit_ends_the_calls_but_not_before_three(
    monkeypatch: pytest.MonkeyPatch, seconds: float | None, count: int
) -> None:
    now = [0.0]

    def call() -> None:
        now[0] += 1.0

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: int(now[0] * 1e9))
    assert worker.time_calls(call, 0, 20, seconds) == [1000.0] * count


def test_the_garbage_collector_rests_while_calls_are_timed_and_returns_after_a_failure() -> None:
    seen: list[bool] = []

    def call() -> None:
        seen.append(gc.isenabled())
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        worker.time_calls(call, 0, 1, None)
    assert seen == [False]
    assert gc.isenabled()


def test_the_peak_memory_is_in_bytes_and_never_falls() -> None:
    before = worker.peak_memory_bytes()
    ballast = np.ones(8_000_000)
    after = worker.peak_memory_bytes()
    assert before is not None
    assert after is not None
    assert before > 10_000_000  # an interpreter with numpy
    assert after >= before
    assert ballast.nbytes == 64_000_000


def test_the_peak_memory_of_a_process_takes_in_what_it_has_freed() -> None:
    code = (
        "import numpy as np; from compress.benchmark.worker import peak_memory_bytes; first = peak_memory_bytes();"
        "np.ones(12_500_000); print(peak_memory_bytes() - first)"
    )
    grown = int(answer_of(code, {}).stdout)
    assert 90_000_000 < grown < 130_000_000  # 100 MB


def test_a_wrong_input_is_answered_with_its_message(tmp_path: Path) -> None:
    ended = subprocess.run(
        worker_command(WORKER),
        input=json.dumps({"do": "time", **request_for(tmp_path)}) + "\n",
        capture_output=True,
        text=True,
        check=True,
        env=worker_environment(1),
    )
    assert list(json.loads(ended.stdout)) == ["error", "exit_code"]
    assert "cannot be loaded by onnxruntime" in json.loads(ended.stdout)["error"]


def test_the_first_of_the_warm_up_calls_is_the_one_that_is_looked_at(
    onnx_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(worker, "time_calls", lambda call, warm_up, samples, seconds, turn: counts.append(warm_up) or [1.0])
    worker.time_subject(request_for(onnx_folder(), warm_up=3), {})
    assert counts == [2, 2]


def test_timing_an_onnx_file_imports_neither_torch_nor_transformers(onnx_folder: Folder) -> None:
    code = (
        "import json, sys, compress.benchmark.worker as worker; worker.time_subject(json.load(sys.stdin), {});"
        "print([name for name in ('torch', 'transformers', 'scipy', 'onnx') if name in sys.modules])"
    )
    assert answer_of(code, request_for(onnx_folder())).stdout.strip() == "[]"


@pytest.mark.slow
def test_an_openvino_file_is_timed_in_a_process_of_its_own(onnx_folder: Folder) -> None:
    subject = subject_of(onnx_folder(facts={"target": "openvino-cpu", "options": {"precision": "float32"}}))
    answer = ask_worker(subject, Grid(batch=(1, 2), length=(8,), samples=4), 1)
    assert [len(taken) for taken in answer["samples"]] == [4, 4]
    assert all(sample > 0 for taken in answer["samples"] for sample in taken)
    assert answer["peak_memory_bytes"] > 20_000_000


@pytest.mark.slow
def test_timing_an_openvino_file_imports_neither_torch_nor_onnxruntime(onnx_folder: Folder) -> None:
    code = (
        "import json, sys, compress.benchmark.worker as worker; worker.time_subject(json.load(sys.stdin), {});"
        "print([name for name in ('torch', 'transformers', 'onnxruntime', 'onnx') if name in sys.modules])"
    )
    folder = onnx_folder(facts={"target": "openvino-cpu"})
    assert answer_of(code, request_for(folder, module=OPENVINO)).stdout.strip() == "[]"


@pytest.mark.parametrize(("options", "threads"), [({"precision": "float32"}, 1), ({}, 2)])
def test_a_runtime_gets_the_threads_asked_for_and_its_options(
    onnx_folder: Folder, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], threads: int
) -> None:
    asked: list[Any] = []

    def open_file(path: Path, **how: Any) -> Session:
        asked.append((path, how))
        return Session(lambda inputs: {"logits": inputs["input_ids"].astype(np.float32)})

    monkeypatch.setattr(openvino, "RUNTIME", replace(openvino.RUNTIME, open=open_file))
    folder = onnx_folder()
    answer, _ = worker.time_subject(request_for(folder, module=OPENVINO, options=options, threads=threads), {})
    assert asked == [(folder / "model.onnx", {"threads": threads, "device": "cpu", **options})]
    assert [len(taken) for taken in answer["samples"]] == [5, 5]


def test_what_is_prepared_once_is_not_timed(onnx_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[tuple[int, ...]] = []
    calls: list[int] = []

    def prepare(inputs: Any) -> Any:
        prepared.append(inputs["input_ids"].shape)
        return lambda: calls.append(1)

    ready = Session(lambda inputs: {"logits": inputs["input_ids"].astype(np.float32)}, prepare=prepare)
    monkeypatch.setattr(openvino, "RUNTIME", replace(openvino.RUNTIME, open=lambda path, **how: ready))
    worker.time_subject(request_for(onnx_folder(), module=OPENVINO, warm_up=3), {})
    assert prepared == [(1, 4), (3, 8)]
    assert len(calls) == 2 * (2 + 5)


def test_the_precision_of_the_export_is_asked_for_and_an_unknown_one_refused(
    onnx_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Any] = []

    def ask(self: Any, what: str, request: dict[str, Any], **_: Any) -> Any:
        requests.append((request["module"], request["options"]))
        return {"samples": [[1.0]], "peak_memory_bytes": 1}, {}

    monkeypatch.setattr(RuntimeProcess, "ask", ask)
    folder = onnx_folder(facts={"target": "openvino-cpu", "options": {"precision": "float32", "memory": False}})
    ask_worker(subject_of(folder), Grid(length=(8,)), 1)
    assert requests == [(OPENVINO, {"precision": "float32"})]
    folder = onnx_folder("other", facts={"target": "openvino-cpu", "options": {"precision": "int4"}})
    with pytest.raises(InputError, match="precision is 'int4'; allowed: auto, float32, bfloat16"):
        ask_worker(subject_of(folder), Grid(length=(8,)), 1)


@pytest.mark.slow
def test_a_saved_torch_model_is_timed_in_a_process_of_its_own(torch_folder: Path) -> None:
    answer = ask_worker(subject_of(torch_folder), Grid(batch=(1, 2), length=(8,), samples=4), 1)
    assert [len(taken) for taken in answer["samples"]] == [4, 4]
    assert answer["peak_memory_bytes"] > 100_000_000  # torch and transformers alone take more


@pytest.mark.slow
def test_a_torch_model_that_does_not_fit_its_config_cannot_be_timed(torch_folder: Path) -> None:
    config = json.loads((torch_folder / "config.json").read_text())
    (torch_folder / "config.json").write_text(json.dumps(config | {"vocab_size": 13}))
    with pytest.raises(InputError, match=r"'tiny_bert' cannot be timed: (?s:.*)word_embeddings"):
        ask_worker(subject_of(torch_folder), Grid(), 1)


def test_lengths_of_several_examples_are_padded_to_the_longest_and_masked() -> None:
    given = worker.random_inputs(50, 2, [2, 4], seed=1)
    assert given["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert given["input_ids"].shape == (2, 4)
    assert given["input_ids"][0, 2:].tolist() == [0, 0]


def test_batches_of_several_lengths_are_all_timed_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of which every reading is a second later: time is up after the first call, but a turn is not."""
    ticks = iter(range(1000))
    monkeypatch.setattr(worker.time, "perf_counter", lambda: next(ticks))
    called: list[str] = []
    call = worker._in_turn([lambda: called.append("a"), lambda: called.append("b"), lambda: called.append("c")])
    assert len(worker.time_calls(call, 3, 20, 0.5, turn=3)) == 3
    assert called == ["a", "b", "c"] * 2
    assert len(worker.time_calls(call, 0, 4, None, turn=3)) == 6


def test_the_start_is_told_by_planted_clocks(onnx_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spawned at 100 s by the clock; opening takes 2 s, the first answer 1 s, and it is 107 s then."""
    now = {"s": 0.0}
    monkeypatch.setattr(worker.time, "perf_counter", lambda: now["s"])
    monkeypatch.setattr(worker.time, "time", lambda: 107.0)

    def answer(inputs: Any) -> Any:
        now["s"] += 1
        return {"logits": inputs["input_ids"].astype(np.float32)}

    def open_file(path: Path, **how: Any) -> Session:
        now["s"] += 2
        return Session(answer)

    monkeypatch.setattr(openvino, "RUNTIME", replace(openvino.RUNTIME, open=open_file))
    monkeypatch.setattr(worker, "meters", lambda device: {"package-0": Meter(lambda: now["s"] * 3)})
    answered, _ = worker.time_subject(request_for(onnx_folder(), module=OPENVINO, warm_up=1, spawned=100.0), {})
    assert answered["start"] == {"load_ms": 2000.0, "first_answer_ms": 1000.0, "total_ms": 7000.0}
    assert answered["energy"] == [3.0, 3.0]  # a second a call, at three watts
