"""One recipe in several processes, started as their launcher starts them, on one machine and on two."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.marks import MARK
from compress.pipeline import processes
from compress.pipeline.processes import check_shared, is_left_alone, tells, whose
from tests.pipeline.conftest import recipe_on_disk, weights_of
from tests.training.test_processes import free_port

ROOT = Path(__file__).parents[2]
COMMAND = ("-m", "tests.pipeline.run_unmeasured_command")
ADDRESS = "10.231.7"
HOSTS = ("bc-first", "bc-second")


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def _launch(command: Sequence[str], *, processes: int = 2, **more: str) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    port = ["--master_port", str(free_port())]
    environment = _environment(**more)
    return subprocess.run(
        [*launch, *port, *command], capture_output=True, text=True, timeout=240, check=False, env=environment
    )


def test_a_process_alone_tells_its_errors_and_asks_nobody(tmp_path: Path) -> None:
    assert tells()
    assert whose() == ""
    assert not is_left_alone(RuntimeError("Connection closed by peer"))
    check_shared(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_before_processes_meet_one_on_each_machine_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(processes.socket, "gethostname", lambda: "second")
    for local, expected in (("0", True), ("1", False)):
        monkeypatch.setenv("LOCAL_RANK", local)
        assert tells() is expected
    assert whose() == "process 3 of 4, on second: "
    assert is_left_alone(RuntimeError("[gloo/pair.cc] Connection closed by peer [127.0.0.1]:1"))
    assert not is_left_alone(RuntimeError("shapes differ"))


@pytest.mark.slow
@pytest.mark.matrix
def test_two_processes_train_what_one_trains_and_share_its_cache(tmp_path: Path) -> None:
    recipe = recipe_on_disk(tmp_path)
    alone, both, again = (tmp_path / name for name in ("alone", "both", "again"))
    options = [str(recipe), "--quiet"]
    for out, cache, count in ((alone, "one", 1), (both, "two", 2), (again, "two", 2)):
        ended = _launch([*COMMAND, *options, "--out", str(out), "--cache", str(tmp_path / cache)], processes=count)
        assert ended.returncode == 0, ended.stderr[-3000:]
    _check_same(alone, both)
    assert json.loads((again / "run.json").read_text())["steps"][0]["status"] == "reused"
    assert (both / MARK).is_file()
    assert not list(tmp_path.glob("two/.probe*"))


def _check_same(alone: Path, both: Path) -> None:
    first, second = weights_of(alone), weights_of(both)
    assert first.keys() == second.keys()
    for name in first:
        if not name.endswith("key.bias"):  # nothing depends on it: it follows the noise of its gradient
            assert torch.allclose(first[name].float(), second[name].float(), atol=2e-5), name


@pytest.mark.slow
@pytest.mark.matrix
def test_wrong_input_is_told_once_and_leaves_nothing(tmp_path: Path) -> None:
    recipe = recipe_on_disk(tmp_path)
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: -2"))
    ended = _launch([*COMMAND, str(recipe), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")])
    assert ended.returncode != 0
    assert ended.stderr.count("fine_tune.epochs: -2 is not allowed") == 1, ended.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


FAILING = """
import os, signal, sys
from compress.errors import CompressError
from compress.training import loop

how, step = sys.argv.pop(), loop._step

def fail(training, group):
    if os.environ["RANK"] == "1" and training.position.step == 3:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise CompressError("the second process failed.")
    return step(training, group)

loop._step = fail
from tests.pipeline.run_unmeasured_command import run
run(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize(
    ("how", "said"),
    [("told", "process 1 of 2, on .*: the second process failed."), ("killed", "ended without a word|stopped; finished")],
)
def test_one_process_that_fails_ends_all_with_one_message(tmp_path: Path, how: str, said: str) -> None:
    recipe, script, out = recipe_on_disk(tmp_path), tmp_path / "failing.py", tmp_path / "out"
    script.write_text(FAILING)
    ended = _launch([str(script), str(recipe), "--quiet", "--out", str(out), "--cache", str(tmp_path / "cache"), how])
    assert ended.returncode != 0
    assert len(re.findall(said, ended.stderr)) == 1, ended.stderr[-3000:]
    assert "unexpected error" not in ended.stderr
    assert not (out / "run.json").exists()
    assert not list((tmp_path / "cache").glob("steps/*/facts.json"))
    ended = _launch([*COMMAND, str(recipe), "--quiet", "--out", str(out), "--cache", str(tmp_path / "cache")])
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert (out / "run.json").is_file()


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces joined by a cable, each with a name of its own."""
    if shutil.which("ip") is None or shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("two hosts are two network namespaces, which need Linux, ip, unshare and root")
    made = subprocess.run(["ip", "netns", "add", HOSTS[0]], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this machine lets nobody make network namespaces: {made.stderr.strip()}")
    try:
        _cable()
        yield HOSTS
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "delete", host], capture_output=True, check=False)


def _cable() -> None:
    first, second = HOSTS
    steps = [f"ip netns add {second}", f"ip link add bc0 netns {first} type veth peer name bc0 netns {second}"]
    for number, host in enumerate(HOSTS, 1):
        steps += [f"ip -n {host} addr add {ADDRESS}.{number}/24 dev bc0"]
        steps += [f"ip -n {host} link set {device} up" for device in ("lo", "bc0")]
    for step in steps:
        done = subprocess.run(step.split(), capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"this machine joins no network namespaces: {step}: {done.stderr.strip()}")


def _on_both(hosts: tuple[str, str], commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Run a command on each host as a launcher would; how each ended, and what it said."""
    running: list[subprocess.Popen[str]] = []
    with contextlib.ExitStack() as stack:
        for rank, (host, command) in enumerate(zip(hosts, commands, strict=True)):
            named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]
            launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node_rank", str(rank)]
            launch += ["--nproc_per_node", "1", "--master_addr", f"{ADDRESS}.1", "--master_port", "29400"]
            process = subprocess.Popen(
                ["ip", "netns", "exec", host, *named, *launch, *command],
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
                env=_environment(GLOO_SOCKET_IFNAME="bc0"),
            )
            stack.callback(process.kill)
            running.append(process)
        return [(process.returncode, said) for process, (_, said) in ((p, p.communicate(timeout=240)) for p in running)]


@pytest.mark.slow
@pytest.mark.matrix
def test_two_hosts_train_what_one_process_trains(tmp_path: Path, hosts: tuple[str, str]) -> None:
    recipe = recipe_on_disk(tmp_path)
    options = [*COMMAND, str(recipe), "--quiet"]
    alone = [*options, "--out", str(tmp_path / "alone"), "--cache", str(tmp_path / "one")]
    assert _launch(alone, processes=1).returncode == 0
    both = [*options, "--out", str(tmp_path / "both"), "--cache", str(tmp_path / "two")]
    for code, said in _on_both(hosts, [both, both]):
        assert code == 0, said[-3000:]
    _check_same(tmp_path / "alone", tmp_path / "both")


@pytest.mark.slow
@pytest.mark.matrix
def test_hosts_without_a_common_cache_are_told(tmp_path: Path, hosts: tuple[str, str]) -> None:
    recipe = recipe_on_disk(tmp_path)
    commands = [
        [*COMMAND, str(recipe), "--quiet", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / name)]
        for name in ("here", "there")
    ]
    ended: list[Any] = _on_both(hosts, commands)
    said = "".join(text for _, text in ended)
    assert all(code != 0 for code, _ in ended)
    assert said.count("need one cache") == 1, said[-3000:]
    assert f"is not there on {HOSTS[1]}" in said
    assert not any((tmp_path / name).exists() for name in ("out", "here", "there"))
