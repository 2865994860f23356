from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from compress.errors import CompressError, InputError
from compress.runtimes.answering import OpenFile
from compress.runtimes.foreign_file import ForeignFile
from compress.runtimes.process import worker_environment
from compress.runtimes.runtime import Kernels
from tests.runtimes.files import endless, endless_to_open, few_positions, greedy, nonsense, sequence, sums, unknown_operator

IDS = np.array([[2, 5, 3, 0], [2, 6, 7, 3]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS > 0).astype(np.int64)}


def opened(path: Path, **how: Any) -> ForeignFile:
    return ForeignFile(path, "onnx", device="cpu", **how)


def test_answers_are_those_of_onnxruntime_in_this_process_bit_by_bit(tmp_path: Path) -> None:
    path = few_positions(tmp_path / "model.onnx")
    expected = onnxruntime.InferenceSession(path).run(["logits"], BATCH)[0]
    file = opened(path)
    for _ in range(2):
        assert file.run(BATCH).tobytes() == expected.tobytes()


def test_a_file_that_never_ends_is_given_up(tmp_path: Path) -> None:
    file = opened(endless(tmp_path / "model.onnx"))
    file.process.time_limit = 0.5
    with pytest.raises(CompressError, match=r"running 2 examples of 4 tokens through .* took more than 0\.5 seconds"):
        file.run(BATCH)


@pytest.mark.parametrize(("number", "words"), [(signal.SIGSEGV, "crashed"), (signal.SIGKILL, "memory ran out")])
def test_a_runtime_that_crashes_over_a_batch_is_an_error_here(tmp_path: Path, number: int, words: str) -> None:
    file = opened(endless(tmp_path / "model.onnx"))
    pid = file.process._process.pid
    timer = threading.Timer(0.3, os.kill, (pid, number))
    timer.start()
    with pytest.raises(CompressError, match=rf"running 2 examples of 4 tokens through .*model\.onnx, the process .*{words}"):
        file.run(BATCH)
    timer.join()


def test_a_loop_that_ends_is_none_of_these(tmp_path: Path) -> None:
    assert opened(endless(tmp_path / "model.onnx", times=3)).run(BATCH).tolist() == [[13, 13], [21, 21]]


def test_a_file_that_is_never_open_is_given_up(tmp_path: Path) -> None:
    """onnxruntime computes what is constant when it loads a file."""
    with pytest.raises(CompressError, match=r"opening .*model\.onnx took more than 2 seconds and was stopped; export the"):
        ForeignFile(endless_to_open(tmp_path / "model.onnx"), "onnx", time_limit=2)


def test_memory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CompressError, match=r"memory ran out while .*model\.onnx ran 2 examples of 4 tokens .*Failed to allo"):
        opened(greedy(tmp_path / "model.onnx")).run(BATCH)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("one row", r"shape \(1, 2\) to 2 examples"),
        ("one dimension", r"shape \(2,\) to 2 examples"),
        ("three dimensions", r"shape \(2, 1, 2\) to 2 examples"),
        ("no columns", r"shape \(2, 0\) to 2 examples"),
        ("one column", "gives 1 logits for each example, but its config.json names 2 labels"),
        ("each token", "gives 4 logits for each example, but its config.json names 2 labels"),
    ],
)
def test_answers_of_another_shape_are_refused(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(CompressError, match=words):
        opened(nonsense(tmp_path / "model.onnx", kind)).run(BATCH, 2)


@pytest.mark.parametrize("kind", ["half", "double"])
def test_other_floats_are_answers(tmp_path: Path, kind: str) -> None:
    logits = opened(nonsense(tmp_path / "model.onnx", kind)).run(BATCH, 2)
    assert logits.dtype == np.float32
    assert logits.tolist() == [[10, 10], [18, 18]]


def test_an_answer_that_is_no_tensor_of_floats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gives logits as seq\(tensor\(float\)\); allowed: tensor\(float\)"):
        opened(sequence(tmp_path / "model.onnx"))
    with pytest.raises(InputError, match=r"gives logits as tensor\(int64\)"):
        opened(nonsense(tmp_path / "model.onnx", "integers"))


def test_openvino_s_answer_that_is_no_tensor_of_floats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gives logits as i64; floats are needed"):
        ForeignFile(nonsense(tmp_path / "model.onnx", "integers"), "openvino", precision="float32")


def test_an_operator_that_nobody_knows_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"com\.acme:Foo.* is not a registered .*with standard operators alone"):
        opened(unknown_operator(tmp_path / "model.onnx"))


def test_the_process_of_a_file_that_cannot_be_opened_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **how: Any) -> Any:
        started.append(popen(*arguments, **how))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(InputError, match="cannot be loaded") as raised:
        opened(unknown_operator(tmp_path / "model.onnx"))
    assert raised.value
    assert started[0].returncode is not None


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_file_tells_what_its_runtime_made_of_it(tmp_path: Path, runtime: str) -> None:
    file = ForeignFile(sums(tmp_path / "model.onnx"), runtime)
    assert file.run(BATCH).tolist() == [[10, 10], [18, 18]]
    assert file.kernels() == Kernels()  # sums alone: no product, and nothing that is put together


def test_what_answers_says_nothing_else_on_stdout(tmp_path: Path) -> None:
    code = (
        "import os; from compress.runtimes.answering import OpenFile; from compress.runtimes.serving import serve\n"
        "def loud(request, arrays): print('a library', flush=True); os.write(1, b'and C'); return {'well': 1}, {}\n"
        "serve(OpenFile().handlers() | {'loud': loud})"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        input='{"do": "loud"}\n',
        capture_output=True,
        text=True,
        check=True,
        env=worker_environment(),
    )
    assert ended.stdout == '{"well": 1}\n'
    assert "a library" in ended.stderr
    assert "and C" in ended.stderr


def test_what_answers_can_be_asked_by_name() -> None:
    assert set(OpenFile().handlers()) == {"open", "run", "kernels"}
