"""The command in a process of its own: what it imports, how signals and closed pipes end it, and its name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import compress

ROOT = Path(__file__).parents[1]
WRONG_RECIPE = "model: m\ntask: sst2\nsteps:\n  - fine_tuna: {epochs: 1}\n"


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """The code in a process of its own, in the folder of this project."""
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, env=environment, cwd=ROOT, **pipes)


WITHOUT_TORCH = """
import sys
from compress.__main__ import main
try:
    main()
except SystemExit as end:
    print(f"exit {end.code}, heavy: {sorted({'torch', 'transformers', 'onnxruntime'} & set(sys.modules))}", file=sys.stderr)
"""


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["list"], 0), (["check", "RECIPE"], 2)])
def test_what_needs_no_torch_does_not_wait_for_it(arguments: list[str], code: int, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(WRONG_RECIPE)
    given = [str(tmp_path / "wrong.yaml") if argument == "RECIPE" else argument for argument in arguments]
    out, err = python(WITHOUT_TORCH, *given).communicate(timeout=60)
    assert err.splitlines()[-1] == f"exit {code}, heavy: []"
    assert bool(out) is (code == 0)
    assert ("fine_tune" in err) is (code == 2)


def test_python_dash_m_is_the_same_command() -> None:
    completed = subprocess.run([sys.executable, "-m", "compress", "list", "frob"], capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stdout) == (2, "")


SLOW_READING = """
import sys, time, compress.recipe
from compress.__main__ import main
def read_recipe(path, overrides):
    sys.stderr.write("ready\\n")
    sys.stderr.flush()
    time.sleep(60)
compress.recipe.read_recipe = read_recipe
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_with_one_line(number: signal.Signals) -> None:
    process = python(SLOW_READING, "run", "a.yaml")
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == ["stopped; finished steps are kept, and the same command goes on from there."]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
@pytest.mark.parametrize("arguments", [["list", "--json"], ["--help"], ["check", "no.yaml", "--json"]])
def test_a_reader_that_went_away_is_no_news(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # before the command starts, so that it never writes to anybody
    process = python("from compress.__main__ import main; main()", *arguments, stdout=writer)
    os.close(writer)
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) in (1, 120)
    assert errors == ""


def test_the_command_is_installed_under_its_name() -> None:
    from importlib.metadata import entry_points

    from compress.__main__ import main

    [entry] = [point for point in entry_points(group="console_scripts") if point.name == "bert-compress"]
    assert entry.load() is main
    assert compress.__version__
