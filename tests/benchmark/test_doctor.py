from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compress.benchmark import doctor
from compress.benchmark import machine as room
from compress.benchmark.doctor import Finding, diagnose

MACHINE = {"cpu": "A CPU", "flags": [], "cores": 4, "threads": 8, "gpu": None, "memory_bytes": 32_000_000_000, "os": "Linux"}


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "machine", lambda: dict(MACHINE))
    monkeypatch.setattr(doctor, "CONTROL_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(room, "NVIDIA", tmp_path / "gpus")
    monkeypatch.setattr(room, "_said", lambda *command: "")


def test_everything_is_looked_at_once_and_in_order() -> None:
    names = [finding.name for finding in diagnose()]
    assert names == [
        "processor",
        "cores",
        "instruction sets",
        "int8",
        "int8 sums",
        "bfloat16",
        "memory",
        "GPU",
        "torch",
        "onnxruntime",
        "openvino",
        "tensorrt",
    ]


def test_without_vnni_the_loss_of_a_bit_is_told() -> None:
    finding = by_name(diagnose({"avx2", "fma"}, "x86_64"))["int8"]
    assert finding.value == "no VNNI"
    assert "saturate in 16 bits, so 7-bit weights are used" in finding.meaning


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni", "amx_int8"])
def test_with_vnni_or_amx_eight_bits_are_exact(flag: str) -> None:
    finding = by_name(diagnose({"avx2", flag}, "x86_64"))["int8"]
    assert "8-bit weights are exact" in finding.meaning
    assert "7-bit" not in finding.meaning


def test_a_processor_older_than_avx2_is_sent_to_float32() -> None:
    assert "float32" in by_name(diagnose({"sse4_2"}, "x86_64"))["int8"].meaning


def test_arm_with_dot_products_is_no_processor_without_vnni() -> None:
    finding = by_name(diagnose({"asimd", "asimddp"}, "aarch64"))["int8"]
    assert (finding.value, "run fast" in finding.meaning) == ("dot product instructions", True)


def test_a_system_that_tells_no_flags_is_unknown() -> None:
    findings = by_name(diagnose(frozenset(), "AMD64"))
    assert findings["int8"].value == findings["instruction sets"].value == "unknown"


@pytest.mark.parametrize(("flags", "word"), [({"amx_tile"}, "bfloat16, which is fast"), ({"avx512f"}, "stays in float32")])
def test_bfloat16_training_follows_the_hardware(flags: set[str], word: str) -> None:
    assert word in by_name(diagnose(flags, "x86_64"))["bfloat16"].meaning


def test_flags_that_do_not_matter_are_left_out() -> None:
    assert by_name(diagnose({"fpu", "avx2", "fma"}, "x86_64"))["instruction sets"].value == "avx2, fma"


def test_limits_of_a_container_are_told(tmp_path: Path) -> None:
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "memory.max").write_text("2000000000\n")
    (tmp_path / "cgroup" / "cpu.max").write_text("150000 100000\n")
    findings = by_name(diagnose())
    assert findings["memory"].value == "2.0 GB (a control group's limit; the machine has 32.0 GB)"
    assert "1.8 GB" in findings["memory"].meaning  # 16 bytes for each of 110 million parameters
    assert findings["cores"].value == "4 cores, 8 threads usable, 1.5 processors' time"


def test_no_limit_leaves_the_machine_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "memory.max").write_text("max\n")
    (tmp_path / "cgroup" / "cpu.max").write_text("max 100000\n")
    findings = by_name(diagnose())
    assert findings["memory"] == Finding("memory", "32.0 GB")
    assert findings["cores"].value == "4 cores, 8 threads usable"


def test_a_gpu_that_this_torch_cannot_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        (tmp_path / "gpus" / str(number)).mkdir(parents=True)
        (tmp_path / "gpus" / str(number) / "information").write_text(f"Model: \t\t Card {number}\nIRQ: 1\n")
    monkeypatch.setattr(doctor, "_version", {"torch": "2.13.0+cpu"}.get)
    finding = by_name(diagnose())["GPU"]
    assert finding.value == "Card 0, Card 1"
    assert "install a CUDA build" in finding.meaning


def test_a_gpu_whose_driver_is_hidden_as_in_a_container_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_said", lambda *command: "Card 0\nCard 1")
    assert by_name(diagnose())["GPU"].value == "Card 0, Card 1"


def test_what_is_missing_comes_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", {}.get)
    findings = by_name(diagnose())
    packages = {"openvino": "'bert-compress[openvino]'"}
    for name in ("torch", "onnxruntime", "openvino", "tensorrt"):
        assert findings[name].value == "missing"
        assert f"pip install {packages.get(name, name)}" in findings[name].meaning


def test_openvino_is_shown_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", {"openvino": "2026.4.1"}.get)
    finding = by_name(diagnose())["openvino"]
    assert finding.value == "2026.4.1"
    assert "runs the openvino targets" in finding.meaning


@pytest.mark.parametrize(
    ("wrong", "value", "words"),
    [
        (False, "exact", "come out right"),
        (True, "overflow", "export with weight_bits 7"),
    ],
)
def test_the_trial_of_integer_sums_is_told(monkeypatch: pytest.MonkeyPatch, wrong: bool, value: str, words: str) -> None:
    monkeypatch.setattr(doctor, "sums_saturate", lambda: wrong)
    finding = by_name(diagnose())["int8 sums"]
    assert finding.value == value
    assert words in finding.meaning


def test_a_trial_that_cannot_be_made_is_a_finding_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bool:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(doctor, "sums_saturate", fail)
    finding = by_name(diagnose())["int8 sums"]
    assert finding.value == "unknown"
    assert "RuntimeError" in finding.meaning


def test_a_broken_runtime_is_a_finding_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "cannot be imported" in by_name(diagnose())["onnxruntime"].meaning


@pytest.mark.parametrize("missing", [("onnxruntime",), ("onnx",), ("onnx", "onnxruntime", "torch", "openvino")])
def test_the_command_looks_at_a_machine_without_runtimes(missing: tuple[str, ...]) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "import importlib.metadata as metadata\n"
        "find = metadata.version\n"
        "def version(name):\n"
        f"    if name in {missing}: raise metadata.PackageNotFoundError(name)\n"
        "    return find(name)\n"
        "metadata.version = version\n"
        "from compress.cli import app; app(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"not tried, since {missing[0]} cannot be imported" in " ".join(done.stdout.split())
    assert ("pip install onnxruntime" in done.stdout) is ("onnxruntime" in missing)


def test_two_onnxruntimes_in_one_folder_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"}.get)
    assert "overwrite each other" in by_name(diagnose())["onnxruntime"].meaning


def test_torch_is_not_imported() -> None:
    code = "import sys; from compress.benchmark.doctor import diagnose; diagnose(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
