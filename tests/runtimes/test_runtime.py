"""What a runtime says of itself is enough to ask for it, to refuse a device, and to tell of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compress.errors import InputError
from compress.runtimes.runtime import Runtime, Session

DOUBLED = Session(lambda batch: {"logits": 2.0 * batch["input_ids"]})
SMALL = Runtime(
    name="small",
    title="Small",
    package="numpy",
    install="pip install small",
    distributions=("small", "small-gpu"),
    purpose="runs small files",
    open=lambda path, **how: DOUBLED,
)
BATCH = {"input_ids": np.array([[1, 2]])}


def test_one_that_is_not_installed_comes_with_the_command_that_installs_it() -> None:
    missing = replace(SMALL, package="no_such_package")
    assert SMALL.available()
    assert not missing.available()
    SMALL.need()
    with pytest.raises(InputError, match="Small is not installed, and this target runs on it; run pip install small, or"):
        missing.need()


def test_a_device_that_it_does_not_run_on_is_refused_before_it_is_looked_for() -> None:
    looked: list[str] = []
    on_both = replace(SMALL, devices=("cpu", "cuda"), check_device=looked.append)
    on_both.need_device("cuda:1")
    assert looked == ["cuda:1"]
    with pytest.raises(InputError, match="device is 'cuda:1', but small files run on the CPU here; measure them on cpu"):
        replace(SMALL, check_device=looked.append).need_device("cuda:1")
    assert looked == ["cuda:1"]
    assert on_both.places == "the CPU and a GPU"


def test_what_is_timed_is_the_whole_run_unless_something_can_be_prepared() -> None:
    assert np.array_equal(DOUBLED.call_of(BATCH)()["logits"], [[2.0, 4.0]])  # type: ignore[index]
    prepared = replace(DOUBLED, prepare=lambda batch: lambda: batch["input_ids"].sum())
    assert prepared.call_of(BATCH)() == 3


def test_a_file_of_other_ends_is_refused_where_it_cannot_be_read() -> None:
    with pytest.raises(InputError, match=r"segment\.onnx is not read by Small here; .* leave memory out"):
        SMALL.graph(Path("segment.onnx"))
    assert replace(SMALL, open_graph=lambda path, **how: DOUBLED).graph(Path("segment.onnx")) is DOUBLED


def test_it_opens_its_file_in_a_folder_or_the_folder_itself() -> None:
    assert SMALL.place(Path("out")) == Path("out/model.onnx")
    assert replace(SMALL, file=None).place(Path("out")) == Path("out")


def test_the_doctor_tells_the_first_distribution_s_version_or_how_to_install_it() -> None:
    assert SMALL.diagnosis({"small": "1.2", "small-gpu": "1.3"}.get) == ("1.2", "runs small files")
    assert SMALL.diagnosis({}.get) == ("missing", "optional: pip install small (runs small files)")
    assert replace(SMALL, diagnose=lambda version: ("odd", "look")).diagnosis({}.get) == ("odd", "look")


def test_a_process_that_runs_files_looks_into_no_table() -> None:
    """Looking through the installed packages takes memory, which would be reported as the file's."""
    code = (
        "import sys, compress.benchmark.worker, compress.runtimes.onnxruntime;"
        "print([name for name in ('importlib.metadata', 'compress.runtimes.table') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
