"""What setup.cfg asks for: each has a lowest version, each is pinned at or above it, and nothing else is imported."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

import pytest

import compress
from tests.pages import ROOT


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/floors.py, which `make floors` runs."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("floors")


def imported(folder: Path) -> set[str]:
    """The top-level modules that the files of a folder import, wherever in the file."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
    return names


def packages_of(modules: set[str], tool: ModuleType) -> dict[str, set[str]]:
    """Which packages each module from outside of the standard library may come from."""
    carried = importlib.metadata.packages_distributions()
    outside = modules - sys.stdlib_module_names - {"compress", "tests", "tools"}
    return {name: {tool.normalized(distribution) for distribution in carried.get(name, [name])} for name in outside}


def test_every_requirement_has_a_floor(tool: ModuleType) -> None:
    assert tool.floors().keys() == tool.requirements().keys()
    assert {"torch", "openvino", "pytest", "pydantic-core"} <= tool.floors().keys()


def test_every_requirement_is_pinned_at_its_floor_or_above(tool: ModuleType) -> None:
    pins = tool.pins()
    below = {
        name: (pins.get(name), floor)
        for name, floor in tool.floors().items()
        if name not in pins or tool.release(pins[name]) < tool.release(floor)
    }
    assert below == {}


def test_the_package_imports_what_setup_cfg_asks_for_and_nothing_else(tool: ModuleType) -> None:
    stated = tool.floors().keys()
    packages = packages_of(imported(Path(compress.__file__).parent), tool)
    assert {"torch", "openvino", "pydantic_core", "yaml"} <= packages.keys()
    assert {module: imports for module, imports in packages.items() if not imports & stated} == {}


def test_the_tests_import_what_setup_cfg_asks_for_and_nothing_else(tool: ModuleType) -> None:
    beside = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} | {path.stem for path in (ROOT / "tools").glob("*.py")}
    packages = packages_of(imported(ROOT / "tests") - beside, tool)
    assert {module: imports for module, imports in packages.items() if not imports & tool.floors().keys()} == {}


@pytest.mark.parametrize(("release", "other"), [("5.17", "5.17.0"), ("2.13.0+cpu", "2.13"), ("26", "26.0.0")])
def test_versions_are_the_same_however_many_zeros_end_them(tool: ModuleType, release: str, other: str) -> None:
    assert tool.release(release) == tool.release(other)
    assert tool.release("0.9") < tool.release("0.10") < tool.release("1")


def test_constraints_hold_the_floors_and_what_is_kept(tool: ModuleType) -> None:
    lines = tool.written(["torch", "NumPy==2.3.1"]).splitlines()
    assert f"torch=={tool.pins()['torch']}" in lines
    assert "numpy==2.3.1" in lines
    assert f"transformers=={tool.floors()['transformers']}" in lines
    assert f"joblib=={tool.pins()['joblib']}" in lines  # which is brought along
    assert len(lines) == len({line.partition("==")[0] for line in lines})


def test_what_is_not_installed_at_its_floor_is_told_by_name(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tool.wanted()
    monkeypatch.setattr("importlib.metadata.version", lambda name: {**there, "scipy": "1.99"}[name])
    assert tool.mistakes() == [
        f"scipy is 1.99, but its floor is {there['scipy']}; raise it in setup.cfg if it cannot be held."
    ]
    assert tool.mistakes(["scipy==1.99"]) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("numpy", "tells no lowest version; use numpy>=VERSION"),
        ("numpy<3", "tells no lowest version"),
        ("numpy>=2\n    NumPy>=3", "the same wherever it stands"),
        (">=2", "use NAME>=VERSION"),
    ],
)
def test_a_requirement_without_one_floor_is_refused(tool: ModuleType, tmp_path: Path, line: str, message: str) -> None:
    setup = tmp_path / "setup.cfg"
    setup.write_text(f"[options]\ninstall_requires =\n    {line}\n[options.extras_require]\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        tool.floors(setup)


def test_keeping_what_is_not_asked_for_is_refused(tool: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"^--keep is 'tensorflow', which setup.cfg does not ask for"):
        tool.wanted(["tensorflow"])
