"""The wheel works where there is no checkout: built, installed into an environment of its own, it runs a recipe there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import compress
from tests.contract.test_readme import ROOT
from tests.pipeline.conftest import write_recipe

pytestmark = [pytest.mark.slow, pytest.mark.matrix]

PACKAGE = Path(compress.__file__).parent
BESIDE = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "tests", "tools", "benchmarks/results")


def _run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that must end well, out of the checkout's reach."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "RANK")}
    ended = subprocess.run(list(map(str, command)), cwd=folder, env=own, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist, and of that a wheel, from a copy: what an older build left in the checkout would go in too."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for path in (PACKAGE, *(ROOT / name for name in BESIDE)):
        if path.is_dir():
            shutil.copytree(path, source / path.relative_to(ROOT), ignore=unwanted)
        else:
            shutil.copy(path, source)
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, folder=folder)
    return folder


@pytest.fixture(scope="module")
def scripts(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment that sees the packages of this one; nothing is downloaded."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = built.glob("*.whl")
    install = ("install", "--no-index", "--no-deps", "--disable-pip-version-check", wheel)
    _run(sys.executable, "-m", "pip", "--python", scripts / "python", *install, folder=built)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    here = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (own / "packages_of_the_tests.pth").write_text("".join(f"{path}\n" for path in here), encoding="utf-8")
    return scripts


def test_the_wheel_holds_the_package_whole_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    files = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in opened.namelist()} - {""}
    assert names == {name for name in files if "__pycache__" not in name}
    assert {"compress/py.typed", *(f"compress/reporting/report.{end}" for end in ("html.jinja", "css", "js"))} <= names
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= about


def test_the_sdist_holds_what_a_wheel_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "setup.cfg",
        "compress/py.typed",
        "compress/reporting/report.html.jinja",
    } <= names


def test_the_installed_package_is_the_one_that_runs(scripts: Path, tmp_path: Path) -> None:
    path = _run(scripts / "python", "-c", "import compress; print(compress.__file__)", folder=tmp_path).stdout
    assert Path(path.strip()).is_relative_to(scripts.parent)


def test_the_installed_command_helps_and_lists(scripts: Path, tmp_path: Path) -> None:
    assert "--help" in _run(scripts / "bert-compress", "--help", folder=tmp_path).stdout
    assert "fine_tune" in _run(scripts / "bert-compress", "list", folder=tmp_path).stdout


def test_the_installed_command_runs_a_recipe_to_its_report(scripts: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, exports="[onnxruntime-cpu]", steps="\n  - fine_tune: {epochs: 1, batch_size: 8}\n")
    command = ("run", recipe, "--tiny", "--device", "cpu", "--out", tmp_path / "out", "--json")
    record = json.loads(_run(scripts / "bert-compress", *command, folder=tmp_path).stdout)
    assert [subject["kind"] for subject in record["subjects"]][-1] == "onnx"
    assert (tmp_path / "out/report.html").is_file()
    assert (tmp_path / "out/export/onnxruntime-cpu/model.onnx").is_file()
    assert record["versions"]["bert-compress"] == compress.__version__
