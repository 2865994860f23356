from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from compress.errors import CompressError, InputError
from compress.runtimes import process
from compress.runtimes.process import RuntimeProcess, worker_command, worker_environment

Says = Callable[..., RuntimeProcess]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    """Start a process that runs other code."""

    def start(code: str, time_limit: float = 20) -> RuntimeProcess:
        monkeypatch.setattr(process, "worker_command", lambda module: [sys.executable, "-I", "-S", "-c", code])
        return RuntimeProcess("", time_limit=time_limit)

    return start


def is_there(pid: int) -> bool:
    """Whether a process is, and is more than the record of its end."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(pid: int, seconds: float = 5) -> bool:
    """Whether a process ends in time."""
    deadline = time.monotonic() + seconds
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_there(pid)


def failure(worker: RuntimeProcess, **how: Any) -> str:
    pid = worker._process.pid
    with pytest.raises(CompressError) as raised:
        worker.ask("timing 'small'", {"do": "time"}, **how)
    assert not is_there(pid)
    return str(raised.value)


def test_the_request_reaches_the_process_and_its_answer_comes_back(says: Says) -> None:
    worker = says(
        "import json, sys; request = json.loads(sys.stdin.readline()); print(json.dumps({'twice': 2 * request['one']}))"
    )
    assert worker.ask("counting", {"one": 21}) == ({"twice": 42}, {})


def test_a_process_answers_one_request_after_the_other(says: Says) -> None:
    worker = says("import sys\nfor line in sys.stdin: print('{\"length\": %d}' % len(line), flush=True)")
    assert [worker.ask("counting", {"a": "x" * count})[0]["length"] for count in (1, 2, 200_000)] == [11, 12, 200_010]


def test_a_crash_is_told_with_the_exit_code_and_the_last_words(says: Says) -> None:
    message = failure(says("import sys; print(*range(9), sep='\\n', file=sys.stderr); sys.exit(3)"))
    assert message.startswith("timing 'small', the process crashed (exit code 3); use smaller batches")
    assert [line.strip() for line in message.splitlines()[1:]] == ["4", "5", "6", "7", "8"]


@pytest.mark.parametrize(("number", "name"), [(11, "Segmentation fault"), (6, "Aborted"), (15, "Terminated"), (4, "Illegal")])
def test_a_crash_without_words_is_told_by_its_signal(says: Says, number: int, name: str) -> None:
    message = failure(says(f"import os; os.kill(os.getpid(), {number})"), cure="make it again")
    assert f"crashed (signal {number}, {name}" in message
    assert message.endswith("make it again. Its last words: none.")


def test_a_process_that_the_system_kills_most_likely_ran_out_of_memory(says: Says) -> None:
    message = failure(says("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert "killed by the system, most likely because memory ran out; use smaller batches" in message


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
def test_memory_that_ran_out_is_said_so(says: Says, words: str) -> None:
    message = failure(says(f"import sys; sys.exit({words!r})"))
    assert message.startswith("memory ran out while timing 'small'; use smaller batches")


def test_long_last_words_are_shortened(says: Says) -> None:
    assert len(failure(says("import sys; sys.stderr.write('x' * 10_000_000); sys.exit(1)"))) < 600


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import sys, time; sys.stdin.close(); time.sleep(60)",
        "while True: pass",
        "print('{', flush=True, end=''); import time; time.sleep(60)",
    ],
)
def test_a_process_that_takes_too_long_is_stopped(says: Says, code: str) -> None:
    begun = time.monotonic()
    message = failure(says(code, time_limit=0.3), cure="use less")
    assert time.monotonic() - begun < 3
    assert message == (
        "timing 'small' took more than 0.3 seconds and was stopped; use less, or allow more time (time_limit, --time-limit)."
    )


def test_a_process_that_does_not_read_is_stopped_too(says: Says) -> None:
    worker = says("import time; time.sleep(60)", time_limit=0.3)
    with pytest.raises(CompressError, match="took more than"):
        worker.ask("running", {}, {"large": np.zeros(1_000_000, dtype=np.int64)})


@pytest.mark.parametrize(("code", "kind"), [(2, InputError), (1, CompressError)])
def test_an_error_that_the_process_answers_keeps_its_kind(says: Says, code: int, kind: type) -> None:
    worker = says(f'import sys; sys.stdin.readline(); print(\'{{"error": "it is broken.", "exit_code": {code}}}\')')
    with pytest.raises(CompressError, match=r"^it cannot be: it is broken\.$") as raised:
        worker.ask("timing", {}, failed="it cannot be: ")
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    "text", ["", "hello", "hello\n", "[[1.0]]\n", '{"arrays": 3}\n', '{"arrays": [["a", "<f4", [4]]]}\n123']
)
def test_nonsense_is_refused_and_shown(says: Says, text: str) -> None:
    message = failure(says(f"import sys; print('a last word', file=sys.stderr); print({text!r}, end='')"))
    assert f"answered {text!r}, which is no answer" in message
    assert "a last word" in message


def test_a_process_ends_with_its_object(says: Says) -> None:
    worker = says("import time; time.sleep(60)")
    pid = worker._process.pid
    assert is_there(pid)
    del worker
    gc.collect()
    assert not is_there(pid)


def test_ctrl_c_ends_the_process_at_once(says: Says) -> None:
    worker = says("import time; time.sleep(60)", time_limit=50)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            worker.ask("timing", {})
        assert time.monotonic() - begun < 2
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not is_there(worker._process.pid)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "9", None])
def test_a_time_limit_that_is_none_is_refused_before_anything_starts(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(InputError, match=r"time_limit is .*a number of seconds above 0"):
        RuntimeProcess("", time_limit=value)


def test_the_threads_of_every_runtime_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = worker_environment(3)
    assert {environment[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}
    assert environment["PYTHONPATH"].split(os.pathsep)[-1] == "elsewhere"
    assert os.environ["OMP_NUM_THREADS"] == "64"


def test_without_a_number_threads_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert worker_environment()["OMP_NUM_THREADS"] == "64"
    assert "MKL_NUM_THREADS" not in worker_environment()


@pytest.mark.parametrize("busy", [False, True])
def test_no_process_outlives_the_one_that_asks(tmp_path: Path, busy: bool) -> None:
    """Killed, it cannot end what it started."""
    from tests.runtimes.files import endless, sums

    path = (endless if busy else sums)(tmp_path / "model.onnx")
    code = (
        "import sys, time, numpy as np; from pathlib import Path; from compress.runtimes.foreign_file import ForeignFile\n"
        "file = ForeignFile(Path(sys.argv[1]), 'onnxruntime', device='cpu'); print(file.process._process.pid, flush=True)\n"
        "ids = np.ones((1, 4), dtype=np.int64); file.run({'input_ids': ids, 'attention_mask': ids}); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_there(worker)
        parent.kill()
    assert gone(worker)


def test_a_process_whose_parent_is_gone_before_it_looks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    command = worker_command("compress.runtimes.answering")
    ended = subprocess.run(
        [*command[:-1], "1"], input=b'{"do": "open"}\n', capture_output=True, check=False, env=worker_environment(), timeout=60
    )
    assert (ended.returncode, ended.stdout) == (1, b"")
