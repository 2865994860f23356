"""A run that is killed goes on where it was: the weights are those of a run that nobody disturbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.pipeline.conftest import weights_of, write_recipe
from tests.tiers import mostly_matrix

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
# A process that imports everything once and forks for each run; it runs nothing itself, since threads do not survive a fork.
SCRIPT = """
import os, sys
from tests.pipeline.run_unmeasured import main
recipe, root = sys.argv[1:]
for line in sys.stdin:
    name = line.strip()
    child = os.fork()
    if not child:
        main(recipe, f"{root}/{name}", f"{root}/cache-{name}")
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""


def _start(server: subprocess.Popen[str], name: str) -> int:
    """Let a child run into the folder of that name, and return its process id."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(f"{name}\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def _run_undisturbed(server: subprocess.Popen[str], name: str) -> float:
    """Run to the end, and return the seconds that it took."""
    started = time.monotonic()
    _start(server, name)
    assert server.stdout is not None
    assert int(server.stdout.readline()) == 0
    return time.monotonic() - started


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize("kills", mostly_matrix([4, 24], always=[4]))
def test_killed_at_random_moments_a_run_ends_with_the_same_weights(kills: int, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(recipe), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **ONE_THREAD},
    ) as server:
        assert server.stdout is not None
        seconds = _run_undisturbed(server, "quiet")
        draw = random.Random(13)
        killed = finished = 0
        while killed < kills:
            name = f"disturbed-{finished}"
            child = _start(server, name)
            time.sleep(draw.uniform(0.0, 0.6 * seconds))
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            status = int(server.stdout.readline())
            killed += os.WIFSIGNALED(status)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0
            record = tmp_path / name / "run.json"
            finished += record.exists()
        _run_undisturbed(server, name)
    quiet = weights_of(tmp_path / "quiet")
    for folder in sorted(tmp_path.glob("disturbed-*")):
        assert json.loads((folder / "run.json").read_text())["steps"]
        disturbed = weights_of(folder)
        assert all(torch.equal(quiet[key], disturbed[key]) for key in quiet), folder.name


@pytest.mark.slow
def test_ctrl_c_ends_a_run_within_seconds_and_the_next_one_goes_on(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    command = [
        sys.executable,
        "-m",
        "compress",
        "run",
        str(recipe),
        "--tiny",
        "--out",
        str(tmp_path / "out"),
        "steps.distill.epochs=400",
        "steps.teacher.epochs=1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "distill" in line:
            break
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert time.monotonic() - asked < 20
    assert "same command" in said
    assert "Traceback" not in said
