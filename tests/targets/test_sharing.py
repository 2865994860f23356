"""What layers share is one tensor in every file, float and whole numbers, and in what OpenVINO reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import compress as cp
from compress.models.quantizers import quantized_linears
from compress.models.sharing import shared_parameters
from compress.quantization.calibration import Calibrated, calibrated
from compress.targets.exporting import export
from compress.training.step_context import StepContext
from tests.tiny_models import tiny_bert, toy_task

pytestmark = pytest.mark.slow
LOOSE: dict[str, Any] = {"max_flips": 0.5, "max_relative_error": 2.0}  # random weights answer next to nothing
TARGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "float": ("onnxruntime-cpu", {}),
    "dynamic": ("onnxruntime-cpu-int8", LOOSE),
    "static": ("onnxruntime-cpu-int8", {"activations": "static", "correct_bias": True, **LOOSE}),
    "openvino": ("openvino-cpu-int8", {"precision": "float32", **LOOSE}),
    "tensorrt": ("tensorrt-int8", LOOSE),
}
SIZES: dict[str, Any] = {"layers": 4, "hidden_size": 192, "intermediate_size": 256, "initializer_range": 0.05}
"""Large enough that the exporter does not fold what it does to a weight that is read several times."""
WIDTH, NEURONS = 192, 256


def shared(**changes: Any) -> Any:
    return cp.share_layers(tiny_bert(**SIZES), task=toy_task(), group=4, **changes)


def matrices(path: Path) -> list[np.ndarray]:
    """The constant matrices, and tables, of a file."""
    return [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer if len(tensor.dims) == 2]


def names_of(path: Path) -> set[str]:
    """Of the constants of a file."""
    return {tensor.name for tensor in onnx.load(path).graph.initializer}


@pytest.mark.matrix
@pytest.mark.parametrize("form", TARGETS)
def test_a_weight_is_written_once_for_all_layers_that_share_it(form: str, tmp_path: Path) -> None:
    target, options = TARGETS[form]
    shipped = export(shared(), tmp_path / "out", target=target, task=toy_task(), **options)
    assert all(stage.accepted for stage in shipped.stages)
    weights = [matrix for matrix in matrices(shipped.path / "model.onnx") if matrix.size >= WIDTH * WIDTH]
    # query, key, value, the answer of attention, the pooler, and in the last layer maybe key and value once more, transposed
    assert 5 <= sum(matrix.size == WIDTH * WIDTH for matrix in weights) <= 7
    assert sum(matrix.size == WIDTH * NEURONS for matrix in weights) == 2
    assert {matrix.dtype for matrix in weights} == ({np.dtype("float32")} if form == "float" else {np.dtype("int8")})
    assert not any(
        node.op_type == "Transpose" and node.input[0] in names_of(shipped.path / "model.onnx")
        for node in onnx.load(shipped.path / "model.onnx").graph.node
    )
    assert form == "float" or shipped.stages[-1].integer_ops == 4 * 6 + 1


@pytest.mark.matrix
def test_a_file_is_as_large_as_the_tensors_that_differ(tmp_path: Path) -> None:
    dense = tiny_bert(layers=6, hidden_size=128, intermediate_size=512)
    model = cp.share_layers(dense, task=toy_task(), group=6)
    shipped = export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    tensors = sum(4 * tensor.numel() for tensor in model.parameters())
    written = sum(
        onnx.numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(shipped.path / "model.onnx").graph.initializer
    )
    both_ways = 4 * 128 * 128  # the last layer, of one token, reads the key's weight the other way round
    assert tensors * 0.98 < written < tensors * 1.02 + both_ways


@pytest.mark.matrix
def test_a_model_that_learned_its_ranges_ships_shared(tmp_path: Path) -> None:
    tuned = cp.quantize_aware(
        shared(), task=toy_task(), epochs=1, batch_size=8, learning_rate=1e-3, run=StepContext(device="cpu")
    )
    again = cp.load(cp.save(tuned, tmp_path / "saved"))
    assert shared_parameters(again) == shared_parameters(tuned)
    shipped = export(again, tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task(), **LOOSE)
    assert all(stage.accepted for stage in shipped.stages)
    assert sum(matrix.size == WIDTH * NEURONS for matrix in matrices(shipped.path / "model.onnx")) == 2


@pytest.mark.matrix
def test_openvino_reads_each_shared_tensor_once(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    shipped = export(shared(), tmp_path / "out", target="openvino-cpu-int8", task=toy_task(), precision="float32", **LOOSE)
    read = openvino.Core().read_model(shipped.path / "model.onnx")
    shapes = [tuple(node.get_output_shape(0)) for node in read.get_ops() if node.get_type_name() == "Constant"]
    assert sum(sorted(shape) == [WIDTH, NEURONS] for shape in shapes) == 2


def test_all_layers_that_share_a_weight_have_one_divisor() -> None:
    quantized = quantized_linears(calibrated(shared(), toy_task(), Calibrated("mse", smooth=0.5)))
    divisors = [linear.divisor for name, linear in quantized.items() if name.endswith(("query", "key", "value"))]
    assert len(divisors) == 12
    assert all(torch.equal(divisor, divisors[0]) for divisor in divisors)  # type: ignore[arg-type]
    ranges = {linear.high.item() for name, linear in quantized.items() if name.endswith("query")}
    assert len(ranges) == 4


@pytest.mark.parametrize("keep_biases", [True, False])
def test_a_shared_bias_takes_up_the_mean_error_of_its_layers(keep_biases: bool) -> None:
    model = shared(keep_biases=keep_biases)
    plain, mended = (
        quantized_linears(calibrated(model, toy_task(), Calibrated("mse", smooth=None, correct_bias=correct)))
        for correct in (False, True)
    )
    moved = {name: float((mended[name].bias - plain[name].bias).detach().norm()) for name in plain}
    first, last = (moved[f"bert.encoder.layer.{index}.output.dense"] for index in (0, 3))
    assert first > 0
    assert (first == last) != keep_biases
    assert max(moved.values()) < 10 * max(first, last)


@pytest.mark.matrix
def test_low_rank_and_a_factorized_table_ship_to_every_target(tmp_path: Path) -> None:
    task = toy_task()
    model = cp.factorize_embedding(cp.low_rank(shared(), task=task, rank=11), task=task, rank=8)
    for form, (target, options) in TARGETS.items():
        shipped = export(model, tmp_path / form, target=target, task=task, **options)
        assert all(stage.accepted for stage in shipped.stages)
        sizes = [matrix.size for matrix in matrices(shipped.path / "model.onnx")]
        assert sizes.count(11 * NEURONS) == 2
        assert sizes.count(8 * WIDTH) == 1
