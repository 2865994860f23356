"""The GitHub Action and its workflow: their shell steps are run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.reporting.results import right, run, subject
from tests.tasks.kinds import text_classification

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "gates" / "action.yml"
TEMPLATE = ROOT / ".github" / "workflow-templates" / "recipe-gates.yml"
SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
"""As GitHub runs `shell: bash`."""


STAND_IN = """
import pathlib, runpy, shutil, sys

words = sys.argv[1:]
if words[0] != "run" or not pathlib.Path("record.json").is_file():
    sys.argv[0] = "bert-compress"
    runpy.run_module("compress", run_name="__main__", alter_sys=True)
pathlib.Path("words").write_text(repr(words))
out = pathlib.Path(words[words.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
shutil.copy("record.json", out / "run.json")
sys.exit(int(words[1].removeprefix("ends_").removesuffix(".yaml")))
"""


def action() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return content


def ran(folder: Path, **inputs: str) -> tuple[list[tuple[str, int]], str]:
    """Run every step but the installation, until one fails: their names and exit codes, and the summary."""
    described = action()
    values = {f"inputs.{name}": str(entry.get("default", "")) for name, entry in described["inputs"].items()}
    values |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    shim = bin_folder / "bert-compress"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} {folder / "stand_in.py"} "$@"\n')
    shim.chmod(0o755)
    summary, ended = folder / "summary.md", []
    for step in described["runs"]["steps"][1:]:
        output = folder / "output"
        output.write_text("")
        given = {
            name: re.sub(r"\$\{\{\s*(.+?)\s*\}\}", lambda match: values[match[1]], text) for name, text in step["env"].items()
        }
        environment = {
            **os.environ,
            **given,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
        }
        code = subprocess.run([*SHELL, step["run"]], cwd=folder, env=environment, capture_output=True, check=False).returncode
        ended.append((step["name"], code))
        for line in output.read_text().splitlines():
            key, _, value = line.partition("=")
            values[f"steps.{step['id']}.outputs.{key}"] = value
        if code:
            break
    return ended, summary.read_text(encoding="utf-8") if summary.is_file() else ""


@pytest.fixture
def shimmed(tmp_path: Path) -> Path:
    """A folder in which `bert-compress run` writes no more than a record, and ends as the recipe's name says."""
    record = json.dumps(run([subject("teacher", [1] * 1000), subject("int8", right(1000, 200))]))
    (tmp_path / "record.json").write_text(record)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    return tmp_path


def test_inputs_reach_the_shell_as_variables_alone() -> None:
    """What a pull request names is never part of a script."""
    for step in action()["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"
        for name in step["env"]:
            assert f'"${name}"' in step["run"] or f"${name}" in step["run"], name


def test_every_input_is_told_used_and_has_a_default_or_is_required() -> None:
    described = action()
    used = set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text(encoding="utf-8")))
    assert used == set(described["inputs"])
    for entry in described["inputs"].values():
        assert entry["description"]
        assert entry.get("required") or isinstance(entry["default"], str)


def test_it_installs_the_toolkit_at_its_own_version() -> None:
    step = action()["runs"]["steps"][0]
    assert step["run"] == 'python -m pip install --quiet "$PACKAGE"'
    assert "github.action_path" in step["env"]["PACKAGE"]
    assert (ACTION.parent / "../../.." / "setup.cfg").is_file()


def test_the_workflow_names_only_inputs_that_the_action_has() -> None:
    workflow = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    steps = workflow["jobs"]["gates"]["steps"]
    (own,) = [step for step in steps if "bert-compress/.github/actions/gates" in str(step.get("uses"))]
    inputs = action()["inputs"]
    assert own["with"].keys() <= inputs.keys()
    assert {name for name, entry in inputs.items() if entry.get("required")} <= own["with"].keys()
    assert workflow["permissions"] == {"contents": "read"}
    properties = json.loads(TEMPLATE.with_suffix(".properties.json").read_text(encoding="utf-8"))
    assert properties["name"] == workflow["name"]


def test_the_guide_names_only_inputs_that_the_action_has() -> None:
    (block,) = re.findall(r"```text\n(- uses.*?)```", (ROOT / "docs/guides/compare.md").read_text(encoding="utf-8"), re.DOTALL)
    (step,) = yaml.safe_load(block)
    assert step["with"].keys() <= action()["inputs"].keys()
    assert (ROOT / step["uses"].partition("bert-compress/")[2].partition("@")[0] / "action.yml") == ACTION


@pytest.mark.slow
def test_a_run_without_a_baseline_is_told_and_its_gates_decide(shimmed: Path) -> None:
    ended, summary = ran(shimmed, recipe="ends_0.yaml", arguments="seed=3 steps.distill.epochs=1")
    assert ended == [("Run the recipe", 0), ("Compare", 0), ("Verdict", 0)]
    assert "seed=3', 'steps.distill.epochs=1', '--out', 'runs/gates'" in (shimmed / "words").read_text()
    assert "### ends_0.yaml" in summary
    assert "int8" in summary
    ended, summary = ran(shimmed, recipe="ends_3.yaml")
    assert ended == [("Run the recipe", 0), ("Compare", 0), ("Verdict", 3)]
    assert "**a gate of the recipe was missed**" in summary


@pytest.mark.slow
def test_a_recipe_that_cannot_be_run_ends_the_job_at_once(shimmed: Path) -> None:
    assert ran(shimmed, recipe="ends_2.yaml") == ([("Run the recipe", 2)], "")


@pytest.mark.slow
def test_a_regression_against_what_is_recorded_fails_and_is_in_the_summary(shimmed: Path) -> None:
    recorded = {"schema": 1, "runs": [run([subject("teacher", [1] * 1000), subject("int8", right(1000, 100))])]}
    (shimmed / "recorded.json").write_text(json.dumps(recorded))
    given = {"recipe": "ends_0.yaml", "baseline": "recorded.json"}
    ended, summary = ran(shimmed, **given, max_drop="0.005", max_larger="0.1")
    assert ended == [("Run the recipe", 0), ("Compare", 0), ("Verdict", 3)]
    assert "- **regression: int8: accuracy lost 10 points" in summary
    assert summary.endswith("**a regression beyond the limits**\n")
    (shimmed / "summary.md").unlink()
    ended, summary = ran(shimmed, **given, max_drop="0.2")
    assert ended[-1] == ("Verdict", 0)
    assert "no regression beyond the limits" in summary
    assert ran(shimmed, **given, max_drop="0.105", prove="true")[0][-1] == ("Verdict", 3)
    assert ran(shimmed, **given, max_drop="ten")[0][-1] == ("Verdict", 2)
    assert ran(shimmed, recipe="ends_0.yaml", baseline="nowhere.json")[0][-1] == ("Verdict", 2)


@pytest.mark.slow
def test_names_with_spaces_and_quotes_are_names(shimmed: Path) -> None:
    ended, _ = ran(shimmed, recipe="ends_0.yaml", out='runs/a b "c" $(touch owned)')
    assert ended[-1] == ("Verdict", 0)
    assert not (shimmed / "owned").exists()
    assert (shimmed / 'runs/a b "c" $(touch owned)' / "run.json").is_file()


@pytest.mark.slow
@pytest.mark.matrix
def test_a_tiny_recipe_goes_the_whole_way_and_is_no_regression_of_itself(tmp_path: Path) -> None:
    text_classification(tmp_path, 60)
    steps = "steps: [{fine_tune: {epochs: 1}}]\nexport: [{onnxruntime-cpu: {}}]\nbenchmark: {rounds: 2, seconds: 0.05}"
    (tmp_path / "tiny.yaml").write_text(f"model: any\ntask: {{data: {{train: rows.tsv}}, max_length: 16}}\n{steps}\n")
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    given = {"recipe": "tiny.yaml", "arguments": "--tiny", "max_drop": "0", "max_larger": "0"}
    ended, summary = ran(tmp_path, **given)
    assert ended[-1] == ("Verdict", 0), summary
    ended, summary = ran(tmp_path, **given, baseline="runs/gates", out="runs/again")
    assert ended[-1] == ("Verdict", 0), summary
    assert "no regression beyond the limits" in summary
    assert "no worse at 95 %" in summary
    record = json.loads((tmp_path / "runs" / "again" / "run.json").read_text())
    assert record["subjects"][-1]["examples"]["metric"] == "accuracy"
