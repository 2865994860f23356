from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compress import processor
from compress.benchmark import machine as room
from compress.benchmark.machine import machine, machine_key, versions

CPUINFO = "\n\n".join(f"processor\t: {number}\nmodel name\t: Two Core CPU" for number in range(4))


def test_machine_has_the_keys_of_run_json_and_is_plain_json() -> None:
    description = machine()
    assert list(description) == ["cpu", "flags", "cores", "threads", "gpu", "memory_bytes", "os"]
    assert json.loads(json.dumps(description)) == description


def test_the_processor_s_name_is_read_from_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert machine()["cpu"] == "Two Core CPU"


@pytest.mark.parametrize(("physical", "cores"), [(2, 2), (None, 4)])
def test_threads_of_one_core_are_counted_as_one_core_where_the_system_tells(
    monkeypatch: pytest.MonkeyPatch, physical: int | None, cores: int
) -> None:
    monkeypatch.setattr(processor.psutil, "cpu_count", lambda logical=True: 4 if logical else physical)
    assert machine()["cores"] == cores


def test_threads_are_those_that_this_process_may_use() -> None:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert machine()["threads"] == usable


def test_a_system_without_cpuinfo_is_described_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    description = machine()
    assert description["cpu"]
    assert description["cores"] >= 1


def test_a_processor_that_tells_numbers_only_is_named_by_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert machine()["cpu"].endswith("implementer 0x41 part 0xd40")
    assert processor.processor_flags.__wrapped__() == {"fp", "asimd", "asimddp"}


def test_flags_are_those_that_matter_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "processor_flags", lambda: frozenset({"fpu", "avx512_vnni", "fma", "avx2"}))
    assert machine()["flags"] == ["avx2", "fma", "avx512_vnni"]


def test_the_name_of_the_gpu_is_read_from_the_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "0000:01").mkdir()
    (tmp_path / "0000:01" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    monkeypatch.setattr(room, "NVIDIA", tmp_path)
    assert machine()["gpu"] == "NVIDIA H200"


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room, "NVIDIA", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine()["gpu"] is None


@pytest.mark.parametrize(
    ("script", "gpu"), [("echo NVIDIA H100\necho NVIDIA H100", "NVIDIA H100"), ("echo no device; exit 9", None)]
)
def test_where_the_driver_is_hidden_its_tool_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, gpu: str | None
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setattr(room, "NVIDIA", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine()["gpu"] == gpu


def test_the_key_changes_with_the_flags_only_of_what_decides_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine_key()
    monkeypatch.setattr(room.platform, "platform", lambda: "another kernel")
    assert machine_key() == before
    monkeypatch.setattr(processor, "processor_flags", lambda: frozenset({"sve2"}))
    assert machine_key() != before


def test_versions_tell_python_and_the_runtimes() -> None:
    installed = versions()
    assert installed["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert {"torch", "transformers", "onnxruntime", "onnx", "tokenizers", "numpy"} <= set(installed)


def test_describing_the_machine_imports_no_runtime() -> None:
    code = (
        "import sys; from compress.benchmark.machine import machine, versions; machine(); versions();"
        "print([name for name in ('torch', 'transformers', 'onnxruntime', 'onnx') if name in sys.modules])"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"
