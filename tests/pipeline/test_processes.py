from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compress.pipeline.processes import broadcast, is_main, wait_for_all
from tests.pipeline.conftest import weights_of, write_recipe
from tests.training.test_processes import free_port

SCRIPT = Path(__file__).with_name("run_unmeasured.py")
AGREEING = """
from compress.pipeline.processes import broadcast, is_main, join_processes

join_processes("cpu")
assert [broadcast(is_main()), broadcast(not is_main())] == [True, False]
"""


def _launch(processes: int, *command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port"]
    ended = subprocess.run(
        [*launch, str(free_port()), *command], capture_output=True, text=True, timeout=200, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def _run(recipe: Path, out: Path, cache: Path) -> dict[str, object]:
    _launch(2, str(SCRIPT), str(recipe), str(out), str(cache))
    record: dict[str, object] = json.loads((out / "run.json").read_text())
    return record


def test_a_process_alone_is_the_main_one_and_waits_for_nobody() -> None:
    assert is_main()
    assert broadcast(True)
    assert not broadcast(False)
    wait_for_all()


@pytest.mark.matrix
@pytest.mark.slow
def test_processes_agree_with_the_main_one_and_end_at_once(tmp_path: Path) -> None:
    """Four of them, since what used to abort one of them as it ended did so one time in four."""
    script = tmp_path / "agreeing.py"
    script.write_text(AGREEING)
    _launch(4, str(script))


@pytest.mark.matrix
@pytest.mark.slow
def test_two_processes_run_a_recipe_together_and_reuse_it(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    first = _run(recipe, tmp_path / "one", tmp_path / "cache")
    second = _run(recipe, tmp_path / "two", tmp_path / "cache")
    assert [step["status"] for step in first["steps"]] == ["computed"] * 3  # type: ignore[attr-defined]
    assert [step["status"] for step in second["steps"]] == ["reused"] * 3  # type: ignore[attr-defined]
    weights, reused = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert all(torch.equal(weights[name], reused[name]) for name in weights)
