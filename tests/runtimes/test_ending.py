"""A command that runs a file without end is ended as any other is, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.runtimes.files import endless
from tests.runtimes.test_process import gone
from tests.tiny_models import PIECES, tiny_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose answers never come, beside a file of texts."""
    model = tmp_path / "model"
    tiny_tokenizer().save_pretrained(model)
    config = {"vocab_size": len(PIECES), "max_position_embeddings": 40, "id2label": {"0": "bad", "1": "good"}}
    (model / "config.json").write_text(json.dumps(config))
    endless(model / "model.onnx")
    (tmp_path / "data.tsv").write_text("text\tlabel\na good film\tgood\na bad film\tbad\n")
    return model


def command(name: str, folder: Path, *more: str) -> list[str]:
    data = ["--data", str(folder.parent / "data.tsv")] if name == "eval" else []
    return [sys.executable, "-m", "compress", name, str(folder), *data, *more]


@contextlib.contextmanager
def started(name: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A command, and the process in which the file runs."""
    with subprocess.Popen(command(name, folder), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking:
        try:
            yield asking, _worker_of(asking)
        finally:
            asking.kill()


def _worker_of(asking: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and asking.poll() is None:
        for child in psutil.Process(asking.pid).children():
            if "compress.benchmark.worker" in child.cmdline():
                time.sleep(1)
                return child.pid
        time.sleep(0.05)
    pytest.fail(f"no process began: {asking.communicate()}")


@pytest.mark.parametrize("name", ["eval", "bench"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_at_once_with_all_that_it_started(folder: Path, name: str, number: int) -> None:
    with started(name, folder) as (asking, worker):
        begun = time.monotonic()
        asking.send_signal(number)
        output = asking.communicate(timeout=30)
    assert time.monotonic() - begun < 5  # 0.3 s on a machine that does nothing else
    assert asking.returncode == 130
    assert output[1].splitlines()[-1] == "stopped."
    assert gone(worker, 0)


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["eval", "bench"])
def test_killed_it_leaves_no_process(folder: Path, name: str) -> None:
    with started(name, folder) as (asking, worker):
        asking.kill()
    assert gone(worker)


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["eval", "bench"])
def test_a_time_limit_ends_it_with_a_message(folder: Path, name: str) -> None:
    limited = command(name, folder, "--time-limit", "2")
    ended = subprocess.run(limited, text=True, capture_output=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert "took more than 2 seconds and was stopped" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
