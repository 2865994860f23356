"""A batch that a file cannot run is refused in our words, in whatever of ours runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import InputError
from compress.run_errors import refuse_run
from compress.runtimes.segment_reader import SegmentFile, open_segment_file
from compress.targets.onnx.graph import in_onnxruntime
from compress.targets.openvino_cpu import in_openvino

POSITIONS = 6
OPENERS: dict[str, Callable[[Path], Any]] = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


def write_positions(folder: Path, config: Any = None, name: str = "model.onnx") -> Path:
    """A graph that adds a row of a table of six positions to each token's number, and sums up."""
    constants = [
        numpy_helper.from_array(np.arange(2.0 * POSITIONS, dtype=np.float32).reshape(1, POSITIONS, 2), "positions"),
        *(numpy_helper.from_array(np.array([number]), f"n{number}") for number in (0, 1, 2)),
    ]
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Slice", ["shape", "n1", "n2", "n0"], ["length"]),
        helper.make_node("Slice", ["positions", "n0", "length", "n1"], ["rows"]),
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "n2"], ["column"]),
        helper.make_node("Add", ["column", "rows"], ["both"]),
        helper.make_node("ReduceSum", ["both", "n1"], ["logits"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "positions", inputs, [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / name)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / name


def batch_of(length: int) -> dict[str, np.ndarray]:
    ids = np.ones((3, length), dtype=np.int64)
    return {"input_ids": ids, "attention_mask": ids}


@pytest.mark.parametrize("runtime", OPENERS)
def test_texts_longer_than_the_model_s_positions_are_refused_with_what_it_reads(runtime: str, tmp_path: Path) -> None:
    path = write_positions(tmp_path, {"max_position_embeddings": POSITIONS})
    opened: Any = OPENERS[runtime](path)
    assert opened.run(batch_of(POSITIONS)).shape == (3, 2)
    with pytest.raises(InputError, match=r"was given 3 texts of 9 tokens, but it reads 6 at most; cut the texts to 6 tokens"):
        opened.run(batch_of(9))
    assert opened.run(batch_of(2)).shape == (3, 2)


@pytest.mark.parametrize("runtime", OPENERS)
@pytest.mark.parametrize("config", [None, {}, [], {"max_position_embeddings": "6"}, {"max_position_embeddings": 512}])
def test_where_nothing_tells_the_positions_the_runtime_s_own_words_are_told(runtime: str, config: Any, tmp_path: Path) -> None:
    opened: Any = OPENERS[runtime](write_positions(tmp_path, config))
    with pytest.raises(InputError, match=r"model\.onnx cannot run 3 examples of 9 tokens: .+ Export the model again"):
        opened.run(batch_of(9))


@pytest.mark.parametrize("runtime", OPENERS)
def test_a_segment_longer_than_the_file_reads_is_refused(runtime: Any, tmp_path: Path) -> None:
    file = open_segment_file(write_positions(tmp_path, name="segment.onnx"), runtime=runtime)
    with pytest.raises(InputError, match=r"segment\.onnx was given 3 texts of 9 tokens, but it reads 6 at most"):
        file.read(batch_of(9), {}, segment=POSITIONS)
    with pytest.raises(InputError, match=r"segment\.onnx cannot run 3 examples of 9 tokens"):
        file.read_batch(batch_of(20), 9)


def test_a_state_that_does_not_fit_is_told(tmp_path: Path) -> None:
    def refuse(_: Any) -> Any:
        raise RuntimeError("\n\n")

    with pytest.raises(InputError, match=r"segment\.onnx cannot run 3 examples of 2 tokens: RuntimeError"):
        SegmentFile({}, refuse).read(batch_of(2), {})


def test_the_last_line_that_a_runtime_says_is_shown_short() -> None:
    err = RuntimeError(f"Exception from here:\n  and there\n{'x' * 5000}\n")
    with pytest.raises(InputError) as raised:
        refuse_run(err, Path("model.onnx"), batch_of(2))
    assert "x" * 300 in str(raised.value)
    assert len(str(raised.value)) < 500
