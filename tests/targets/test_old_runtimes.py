"""Exported files run in onnxruntime of 2024, each version in an environment of its own, and answer as in that of today."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.methods.factorize_embedding import factorize_embedding
from compress.methods.swap_attention import swap_attention
from compress.runtimes.segment_reader import open_segment_file
from compress.targets import TARGETS
from compress.targets.exporting import export
from tests.targets.onnx.test_versions import LOOSE, model_of
from tests.targets.quantized import wide_bert
from tests.tiny_models import tokens, toy_task

VERSIONS = {"1.17.3": "numpy<2", "1.20.1": "numpy"}
"""What reads format 9 at most, and the oldest of the two years before November 2026; and each one's numpy."""
SEGMENT = 10
ROUGH = {"fp16": 5e-3, "q4": 3e-2}
"""What answers may differ by where versions round differently: what a product reads has eight bits in a file of q4, by the
kernels that a version has for the processor."""
ROOM = int(os.environ.get("BERT_COMPRESS_OLD_RUNTIMES_SECONDS", "400"))
SCRIPT = """
import pathlib, sys
import numpy, onnxruntime
folder = pathlib.Path(sys.argv[1])
given = dict(numpy.load(folder / "given.npz"))
arrays = {"version": numpy.array(onnxruntime.__version__)}
for path in sorted(folder.glob("*.onnx")):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {}
    for node in session.get_inputs():
        sizes = [given["input_ids"].shape[0], *(size if isinstance(size, int) else 0 for size in node.shape[1:])]
        inputs[node.name] = given.get(node.name, numpy.zeros(sizes, dtype=numpy.float32))
    if path.name.startswith("segment"):
        inputs = {name: value[:, :SEGMENT] if name in given else value for name, value in inputs.items()}
    arrays[path.name] = session.run(["logits"], inputs)[0]
numpy.savez(folder / "found.npz", **arrays)
""".replace("SEGMENT", str(SEGMENT))


def _segmented(kind: Any) -> Callable[[], Any]:
    return lambda: swap_attention(wide_bert(), task=toy_task(max_length=60), max_length=60, kind=kind, segment=SEGMENT)


def _swapped(**options: Any) -> Callable[[], Any]:
    return lambda: swap_attention(wide_bert(), task=toy_task(max_length=60), max_length=60, **options)


MODELS: dict[str, Callable[[], Any]] = {
    **{kind: partial(model_of, kind) for kind in ("distilbert", "albert", "mobilebert", "bilstm", "static")},
    "transformer_xl": _segmented("transformer_xl"),
    "chunk_and_pool": _segmented("chunk_and_pool"),
    "longformer": _swapped(kind="longformer", window=8),
    "reformer": _swapped(kind="reformer", chunk=10, buckets=4),
    "factorized": lambda: factorize_embedding(wide_bert(), task=toy_task(), rank=8),
}
MEMORY = ("transformer_xl", "chunk_and_pool")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of every target, and float and int8 files of every kind of model, those that read segments too."""
    folder, paths = tmp_path_factory.mktemp("files"), {}
    asked: list[tuple[str, Callable[[], Any], str]] = [("bert", wide_bert, target) for target in TARGETS]
    asked += [(name, make, target) for name, make in MODELS.items() for target in ("onnxruntime-cpu", "onnxruntime-cpu-int8")]
    asked += [("bert static", wide_bert, "onnxruntime-cpu-int8")]
    asked += [("transformer_xl", MODELS["transformer_xl"], "openvino-cpu-int8")]
    for name, make, target in asked:
        options: dict[str, Any] = {} if target in ("onnxruntime-cpu", "openvino-cpu") else dict(LOOSE)
        options |= {"memory": True} if name in MEMORY else {}
        options |= {"activations": "static"} if name.endswith("static") and name != "static" else {}
        label = f"{name} {target}"
        shipped = export(make(), folder / label, target=target, task=toy_task(), **options)
        paths[f"model {label}.onnx"] = shipped.path / "model.onnx"
        if name in MEMORY:
            paths[f"segment {label}.onnx"] = shipped.path / "segment.onnx"
    return paths


def old_python(version: str, folder: Path) -> Path:
    """Python with an onnxruntime of before and nothing of ours."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", f"onnxruntime=={version}", VERSIONS[version]]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=ROOM, check=False)
    except subprocess.TimeoutExpired:
        ended = subprocess.CompletedProcess(command, 1, "", f"pip took more than {ROOM} seconds")
    if ended.returncode:
        if os.environ.get("BERT_COMPRESS_NEED_OLD_RUNTIMES") == "1":
            pytest.fail(f"onnxruntime {version} could not be installed: {ended.stderr[-500:]}")
        pytest.skip(f"onnxruntime {version} could not be installed")
    return python


def answers_of_today(path: Path, given: dict[str, np.ndarray]) -> np.ndarray:
    """The current onnxruntime's."""
    import onnxruntime

    if path.name.startswith("segment"):
        file = open_segment_file(path)
        return file.read({name: values[:, :SEGMENT] for name, values in given.items()}, file.start(4))[0]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answer: np.ndarray = session.run(["logits"], {node.name: given[node.name] for node in session.get_inputs()})[0]
    return answer


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="onnxruntime 1.17 was built for Python 3.12 at most")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_runtime_answers_as_that_of_today(version: str, files: dict[str, Path], tmp_path: Path) -> None:
    python = old_python(version, tmp_path / "environment")
    folder = tmp_path / "files"
    folder.mkdir()
    for name, path in files.items():
        (folder / name).symlink_to(path)
    given = {name: values.numpy() for name, values in tokens(lengths=(11, 4, 1, 7)).items()}
    np.savez(folder / "given.npz", **given)  # type: ignore[arg-type]
    ended = subprocess.run([str(python), "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    with np.load(folder / "found.npz") as arrays:
        assert str(arrays["version"]) == version
        for name, path in files.items():
            today = answers_of_today(path, given).astype(np.float32)
            old = arrays[name].astype(np.float32)
            assert (old.argmax(1) == today.argmax(1)).all(), name
            assert np.abs(old - today).max() < next((most for part, most in ROUGH.items() if part in name), 1e-5), name
