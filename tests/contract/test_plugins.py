"""A package from outside brings entries for every table, without a change here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from compress import plugins
from compress.errors import InputError
from compress.plugins import with_plugins
from tests.tasks.kinds import ROWS

PAGES = Path(__file__).parents[2] / "docs" / "extending"
BLOCK = re.compile(r"```(?:python|toml)\n# (\S+)\n(.*?)```", re.DOTALL)
RECIPE = """
name: outside
model: any
task: {{kind: sentiment, data: {{train: {rows}}}, max_length: 24}}
steps:
  - halve_biases: {{factor: 0.25}}
    as: teacher
  - distill: {{teacher: teacher, objectives: {{logits: 1.0, squared_gap: 0.5}}, epochs: 1}}
export:
  - plain-onnx: {{}}
  - onnx-reference-cpu: {{}}
benchmark: {{rounds: 1}}
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the page, with the files of the pages on runtimes and families, as it would be installed."""
    folder = tmp_path_factory.mktemp("site")
    told_here, *pages = (
        BLOCK.findall((PAGES / page).read_text(encoding="utf-8")) for page in ("packages.md", "runtime.md", "family.md")
    )
    told_there = [file for page in pages for file in page]
    moved = [(f"their_package/{Path(name).name}", code) for name, code in told_there if name.startswith("compress/")]
    for name, code in [*told_here, *moved]:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code, encoding="utf-8")
    (folder / "their_package" / "__init__.py").touch()
    project = (folder / "pyproject.toml").read_text(encoding="utf-8") + "\n\n"
    groups = re.findall(r'\[project\.entry-points\."(\S+?)"\]\n(.*?)\n\n', project, re.DOTALL)
    metadata = folder / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "\n".join(line.replace('"', "") for line in entries.splitlines()) for group, entries in groups]
    (metadata / "entry_points.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return folder


def called(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, with the package installed."""
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])}
    command = [sys.executable, "-m", "compress", *arguments]
    return subprocess.run(command, env=around, capture_output=True, text=True, check=False)


def test_the_tables_list_what_the_package_brings(package: Path) -> None:
    ended = called(package, "list")
    assert ended.returncode == 0, ended.stderr
    for name in ("halve_biases", "squared_gap", "plain-onnx", "sentiment", "onnx-reference-cpu", "onnx-reference "):
        assert name in ended.stdout


@pytest.mark.matrix
@pytest.mark.slow
def test_a_recipe_runs_with_them_and_is_checked_by_their_signatures(package: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "outside.yaml"
    recipe.write_text(RECIPE.format(rows=ROWS["text-classification"](tmp_path, 200)), encoding="utf-8")
    wrong = called(package, "check", str(recipe), "steps.halve_biases.factor=2")
    assert wrong.returncode == 2
    assert "factor" in wrong.stderr
    ended = called(package, "run", str(recipe), "--tiny", "--out", str(tmp_path / "out"))
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert (tmp_path / "out" / "export" / "plain-onnx" / "model.onnx").is_file()
    _check_runtime(tmp_path / "out")
    again = called(package, "run", str(recipe), "--tiny", "--out", str(tmp_path / "out"))
    assert "halve_biases" in again.stderr
    assert "reused" in again.stderr
    method = package / "their_package" / "halve_biases.py"
    method.write_text(method.read_text(encoding="utf-8").replace("* factor", "* factor * 1.0"), encoding="utf-8")
    changed = called(package, "run", str(recipe), "--tiny", "--out", str(tmp_path / "out"))
    assert re.search(r"halve_biases\)? starts", changed.stderr)  # other code, another result


def _check_runtime(out: Path) -> None:
    """The runtime has proved, answered, timed and told of its file."""
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert [subject["kind"] for subject in record["subjects"]] == ["torch", "onnx", "onnx-reference"]
    plain, reference = record["subjects"][-2:]
    assert reference["metrics"] == plain["metrics"]
    assert reference["latency"][0]["p50_ms"] > plain["latency"][0]["p50_ms"]  # operator by operator, in numpy
    facts = json.loads((out / "export" / "onnx-reference-cpu" / "bert_compress.json").read_text(encoding="utf-8"))
    assert [(stage["name"], stage["accepted"]) for stage in facts["stages"]] == [("reference", True)]
    assert "kind-onnx-reference" in (out / "report.html").read_text(encoding="utf-8")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert 'session = onnx.reference.ReferenceEvaluator(f"{folder}/model.onnx")' in card


def test_its_runtime_is_shown_by_the_doctor_and_refused_where_it_does_not_run(package: Path, tmp_path: Path) -> None:
    findings = {finding["name"]: finding for finding in json.loads(called(package, "doctor", "--json").stdout)}
    assert findings["onnx"]["meaning"] == "runs each operator as the standard says it, slowly"
    recipe = tmp_path / "outside.yaml"
    recipe.write_text(RECIPE.format(rows=ROWS["text-classification"](tmp_path, 200)), encoding="utf-8")
    assert called(package, "check", str(recipe)).returncode == 0
    ended = called(package, "check", str(recipe), "benchmark.device=cuda")
    assert ended.returncode == 2
    assert "onnx-reference-cpu runs on the CPU; use cpu" in ended.stderr


def test_a_target_of_a_runtime_that_is_not_here_is_refused_by_name(package: Path, tmp_path: Path) -> None:
    alone = tmp_path / "site"
    shutil.copytree(package, alone)
    entries = alone / "their_package-1.0.dist-info" / "entry_points.txt"
    entries.write_text(
        entries.read_text(encoding="utf-8").replace("bert_compress.runtimes", "other.runtimes"), encoding="utf-8"
    )
    recipe = tmp_path / "outside.yaml"
    recipe.write_text(RECIPE.format(rows=ROWS["text-classification"](tmp_path, 200)), encoding="utf-8")
    ended = called(alone, "check", str(recipe))
    assert ended.returncode == 2
    assert "runtime 'onnx-reference' is unknown; allowed: torch, onnx, openvino" in ended.stderr


LAYOUTLM = """
import sys
from pathlib import Path
import compress as cp
from tests.tiny_models import logits_of, tiny_tokenizer, toy_task
from transformers import LayoutLMConfig, LayoutLMForSequenceClassification

folder, task = Path(sys.argv[1]), toy_task()
config = LayoutLMConfig(vocab_size=17, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24)
plain = LayoutLMForSequenceClassification(config).eval()
plain.save_pretrained(folder / "layoutlm")
tiny_tokenizer().save_pretrained(folder / "layoutlm")
model = cp.load(folder / "layoutlm", labels=task.labels)
assert (logits_of(model) - logits_of(plain)).abs().max() < 1e-6
pruned = cp.prune_heads(model, task=task, fraction=0.5)
print(cp.export(pruned, folder / "out", target="onnxruntime-cpu", task=task).path)
"""


@pytest.mark.matrix
@pytest.mark.slow
def test_its_family_is_loaded_pruned_and_shipped(package: Path, tmp_path: Path) -> None:
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(PAGES.parents[1]), *sys.path])}
    command = [sys.executable, "-c", LAYOUTLM, str(tmp_path)]
    ended = subprocess.run(command, env=around, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert (tmp_path / "out" / "model.onnx").is_file()
    without = subprocess.run(
        command, env={**around, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, check=False
    )
    assert b"model_type is 'layoutlm'; allowed: bert, distilbert" in without.stderr


def test_a_name_that_is_taken_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setattr(plugins, "_installed", entry_points)  # looked through anew
    assert with_plugins("methods", {})["halve_biases"] == "their_package.halve_biases"
    with pytest.raises(InputError, match=r"registered as 'halve_biases' in bert_compress\.methods, which ours is already"):
        with_plugins("methods", {"halve_biases": "ours"})
