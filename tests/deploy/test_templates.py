"""The scripts for clusters run what they say, with stand-ins for what a cluster has."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.environments import python_with
from tests.pages import blocks
from tests.pipeline.conftest import recipe_on_disk
from tests.training.test_processes import free_port

ROOT = Path(__file__).parents[2]
SLURM, JOB = ROOT / "deploy" / "slurm", ROOT / "deploy" / "kubernetes" / "job.yaml"
SCRIPTS = sorted(SLURM.glob("*.sbatch"))
OPTIONS = {
    "job-name": r"[\w-]+",
    "array": r"\d+-\d+(%\d+)?",
    "cpus-per-task": r"\d+",
    "mem": r"\d+[KMGT]",
    "time": r"\d\d:\d\d:\d\d",
    "requeue": r"",
    "output": r"[\w%-]+\.log",
    "nodes": r"\d+",
    "ntasks-per-node": r"\d+",
}
"""Of sbatch, those that the scripts use, and how their values are written."""
ECHO = '#!/bin/bash\nprintf "%s\\n" "$@"\n'
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for bash")


def _path_with(folder: Path, **commands: str) -> str:
    """A PATH that begins with a folder of stand-ins."""
    folder.mkdir()
    for name, text in commands.items():
        path = folder / name.replace("_", "-")
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:{os.environ['PATH']}"


def _bash(script: str | Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(script), *arguments] if isinstance(script, Path) else ["bash", "-euc", script, *arguments]
    around = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=around, capture_output=True, text=True, timeout=240, check=False)


def _objects() -> dict[str, Any]:
    return {entry["kind"]: entry for entry in yaml.safe_load_all(JOB.read_text())}


def _container() -> Mapping[str, Any]:
    container: Mapping[str, Any] = _objects()["Job"]["spec"]["template"]["spec"]["containers"][0]
    return container


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_bash_and_tells_slurm_what_it_knows(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    text = script.read_text()
    for name, value in re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE):
        assert re.fullmatch(OPTIONS[name], value), (name, value)
    first_command = next(number for number, line in enumerate(text.splitlines()) if not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in text.splitlines()[first_command:])  # sbatch reads them no further


def test_a_task_of_an_array_runs_its_line(tmp_path: Path) -> None:
    runs = tmp_path / "runs.txt"
    runs.write_text("one.yaml seed=1\ntwo.yaml seed=2 name=b\n")
    around = {
        "RUNS": str(runs),
        "OUT": "/shared/runs",
        "CACHE": "s3://b/c",
        "PATH": _path_with(tmp_path / "bin", bert_compress=ECHO),
    }
    ended = _bash(SLURM / "array.sbatch", SLURM_ARRAY_TASK_ID="2", **around)
    said = ["run", "two.yaml", "seed=2", "name=b", "--out", "/shared/runs/2", "--cache", "s3://b/c"]
    assert ended.stdout.split() == said
    ended = _bash(SLURM / "array.sbatch", SLURM_ARRAY_TASK_ID="3", **around)
    assert ended.returncode == 2
    assert "task 3 has no line" in ended.stderr
    assert not ended.stdout


@pytest.mark.parametrize("missing", ["RUNS", "OUT", "CACHE"])
def test_a_script_without_its_settings_says_which(missing: str) -> None:
    around = {name: "/nowhere" for name in ("RUNS", "OUT", "CACHE") if name != missing}
    ended = _bash(SLURM / "array.sbatch", SLURM_ARRAY_TASK_ID="1", **around)
    assert ended.returncode != 0
    assert f"{missing}: name" in ended.stderr


def test_a_pod_runs_its_line(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    lines = _objects()["ConfigMap"]["data"]["runs"]
    runs.write_text(lines)
    given = {entry["name"]: entry["value"] for entry in _container()["env"]}
    around = given | {"RUNS": str(runs), "PATH": _path_with(tmp_path / "bin", bert_compress=ECHO)}
    for index, line in enumerate(lines.splitlines()):
        ended = _bash(_container()["command"][-1], JOB_COMPLETION_INDEX=str(index), **around)
        assert ended.stdout.split() == [
            "run",
            *line.split(),
            "--out",
            f"s3://bucket/runs/{index}",
            "--cache",
            "s3://bucket/cache",
        ]
        assert (ROOT / line.split()[0]).is_file()
    assert _bash(_container()["command"][-1], JOB_COMPLETION_INDEX="2", **around).returncode == 2


def test_the_job_has_a_pod_for_each_line_and_mounts_what_it_names() -> None:
    objects = _objects()
    spec = objects["Job"]["spec"]
    assert spec["completions"] == len(objects["ConfigMap"]["data"]["runs"].splitlines())
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in _container()["volumeMounts"]} == volumes.keys()
    assert volumes["runs"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == _container()["name"]


@pytest.mark.slow
@pytest.mark.matrix
def test_the_job_keeps_to_the_schemas_of_kubernetes(tmp_path: Path) -> None:
    python = python_with(tmp_path / "environment", "kubernetes-validate")
    checking = (
        "import kubernetes_validate as checks, sys, yaml\n"
        "for entry in yaml.safe_load_all(open(sys.argv[1])):\n"
        "    checks.validate(entry, checks.latest_version(), strict=True)\n"
    )
    ended = subprocess.run([str(python), "-c", checking, str(JOB)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    bad = tmp_path / "bad.yaml"
    bad.write_text(JOB.read_text().replace("completions: 2", "completionz: 2"))
    assert subprocess.run([str(python), "-c", checking, str(bad)], capture_output=True, check=False).returncode != 0


@pytest.mark.slow
@pytest.mark.matrix
def test_an_array_and_nodes_together_really_run(tmp_path: Path) -> None:
    """The stand-in for srun starts one task a node, as it does, both on this machine."""
    recipe = recipe_on_disk(tmp_path)
    unmeasured = f'exec {sys.executable} -m tests.pipeline.run_unmeasured_command "$@"\n'
    path = _path_with(
        tmp_path / "bin",
        bert_compress=f"#!/bin/bash\nshift\n{unmeasured}",
        scontrol="#!/bin/bash\nprintf '127.0.0.1\\nsecond\\n'\n",
        srun='#!/bin/bash\nSLURM_NODEID=0 "$@" & one=$!\nSLURM_NODEID=1 "$@" & two=$!\nwait $one && wait $two\n',
        torchrun=(
            f'#!/bin/bash\nwords=("${{@/#compress/tests.pipeline.run_unmeasured_command}}")\n'
            f'kept=(); for word in "${{words[@]}}"; do [ "$word" = run ] || kept+=("$word"); done\n'
            f'exec {sys.executable} -m torch.distributed.run "${{kept[@]}}"\n'
        ),
    )
    runs, cache = tmp_path / "runs.txt", str(tmp_path / "cache")
    runs.write_text(f"{recipe} --quiet\n{recipe} seed=2 --quiet\n")
    for number in ("1", "2", "1"):
        around = {"RUNS": str(runs), "OUT": str(tmp_path / "out"), "CACHE": cache, "PATH": path}
        ended = _bash(SLURM / "array.sbatch", SLURM_ARRAY_TASK_ID=number, **around)
        assert ended.returncode == 0, ended.stderr[-2000:]
    statuses = [_record(tmp_path / "out" / number)["steps"][0]["status"] for number in ("1", "2")]
    assert statuses == ["reused", "computed"]
    nodes = {"SLURM_JOB_NODELIST": "both", "SLURM_JOB_NUM_NODES": "2", "PORT": str(free_port()), "CACHE": f"{cache}-2"}
    together = [str(recipe), "--quiet", "--out", str(tmp_path / "together")]
    ended = _bash(SLURM / "together.sbatch", *together, PATH=path, **nodes)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert _record(tmp_path / "together")["steps"][0]["status"] == "computed"


def _record(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "run.json").read_text())
    return record


def test_the_guide_submits_the_scripts_as_they_say_themselves() -> None:
    lines = [
        line for block in blocks("docs/guides/scaling_out.md", "text") for line in block.splitlines() if "deploy/" in line
    ]
    said = "\n".join(path.read_text() for path in (*SCRIPTS, JOB))
    assert len(lines) == len(SCRIPTS) + 1
    assert all(f"#   {line}" in said for line in lines)
