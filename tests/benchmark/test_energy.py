"""Energy, read from planted counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.benchmark import energy
from compress.benchmark.energy import Meter, joules, meters, readings


def package(root: Path, name: str, called: str, microjoules: str, turn: int = 1_000_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "energy_uj").write_text(microjoules)
    (folder / "name").write_text(f"{called}\n")
    (folder / "max_energy_range_uj").write_text(str(turn))
    return folder


@pytest.fixture
def powercap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    return tmp_path


def test_packages_are_added_and_their_parts_are_not(powercap: Path) -> None:
    first = package(powercap, "intel-rapl:0", "package-0", "5000000")
    package(powercap, "intel-rapl:1", "package-1", "1000000")
    package(powercap, "intel-rapl:0:0", "core", "4000000")
    every = meters("cpu")
    assert list(every) == ["package-0", "package-1"]
    before = readings(every)
    (first / "energy_uj").write_text("7500000")
    assert joules(every, before, readings(every)) == pytest.approx(2.5)


def test_a_counter_that_began_again_is_read_rightly(powercap: Path) -> None:
    folder = package(powercap, "intel-rapl:0", "package-0", "9000000", turn=10_000_000)
    every = meters("cpu")
    before = readings(every)
    (folder / "energy_uj").write_text("500000")
    assert joules(every, before, readings(every)) == pytest.approx(1.5)


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_what_cannot_be_read_is_left_out(powercap: Path, content: str) -> None:
    package(powercap, "intel-rapl:0", "package-0", content)
    assert meters("cpu") == {}
    assert joules({}, {}, {}) is None


def test_a_counter_that_falls_silent_tells_nothing(powercap: Path) -> None:
    folder = package(powercap, "intel-rapl:0", "package-0", "9000000")
    every = meters("cpu")
    before = readings(every)
    (folder / "energy_uj").unlink()
    assert joules(every, before, readings(every)) is None


def test_a_gpu_without_its_library_has_no_counter(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "NVML", "libnothing-of-this-name.so.1")
    assert meters("cuda:1") == {}


def test_counters_of_several_kinds_are_added() -> None:
    every = {"package-0": Meter(lambda: 3.0, 10.0), "gpu-0": Meter(lambda: 8.0)}
    assert joules(every, {"package-0": 1.0, "gpu-0": 5.0}, readings(every)) == pytest.approx(5.0)
