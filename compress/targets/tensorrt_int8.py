"""int8 ONNX for TensorRT."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import CompressError, InputError
from compress.models.quantizers import quantized_linears
from compress.quantization.calibration import Calibrated, Smooth
from compress.quantization.histogram import Calibration, Percentile
from compress.runtimes.onnxruntime import float_products
from compress.targets.onnx.graph import Session, in_onnxruntime
from compress.targets.onnx.integers import MaxDrop, MaxFlips, MaxRelativeError, QuantizedFormat, write_static
from compress.targets.onnx.lowering import lower_to_qdq
from compress.targets.onnx.parity import ParityCheck

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

TARGET = "tensorrt-int8"
RUNTIME = "onnx"
"""TensorRT itself is not run here: onnxruntime runs the file's operators one after the other in its place."""
DEVICE = "cuda"
FACTS = {
    "weight_bits": "8",
    "activations": "static",
    "safe_on": "NVIDIA GPUs",
    "fast_on": "NVIDIA GPUs with int8 tensor cores",
}
PAIR = ("QuantizeLinear", "DequantizeLinear")


@within_range
def tensorrt_int8(
    model: PreTrainedModel,
    folder: Path,
    *,
    task: Task,
    calibration: Calibration = "mse",
    percentile: Percentile = 99.99,
    smooth: Smooth = 0.5,
    correct_bias: bool = False,
    max_drop: MaxDrop = None,
    max_flips: MaxFlips = 0.1,
    max_relative_error: MaxRelativeError = 0.5,
) -> list[ParityCheck]:
    """Write a model.onnx with explicit quantization as TensorRT reads it: signed, symmetric, between pairs of Q and DQ.

    It is checked by its structure and run by its operators one after the other on the CPU; no GPU is needed to write it.

    Source: https://docs.nvidia.com/deeplearning/tensorrt, "Working with quantized types" (explicit quantization); Wu et al.
    2020, arXiv 2004.09602.

    Args:
        model: What to export; one trained by `quantize_aware` brings its ranges, which must be symmetric.
        folder: Where model.onnx goes.
        task: Its calibration part gives the sentences on which ranges are found and each stage is compared.
        calibration: How the range of a float model's activation is chosen.
        percentile: For calibration "percentile".
        smooth: alpha of SmoothQuant.
        correct_bias: Let biases take up the mean error of their products; a few outliers can make that worse than it was.
        max_drop: Keeps the fewest products float that this loss on the selection part allows.
        max_flips: The fraction of labels that may change before the file is rejected.
        max_relative_error: The root mean square error over that of the logits before the file is rejected.

    Returns:
        The stages with their parity; the last one is what lies in the folder if it was accepted.

    Raises:
        InputError: The model's ranges are not symmetric.
        CompressError: The file would not be read as explicit quantization.
    """
    refuse(model)
    form = QuantizedFormat(TARGET, partial(lower_to_qdq, unsigned=False), executed, FACTS, tables_in_pairs=True)
    how = Calibrated(calibration, percentile, True, smooth, correct_bias)
    return write_static(
        model,
        folder,
        task=task,
        form=form,
        how=how,
        max_drop=max_drop,
        max_flips=max_flips,
        max_relative_error=max_relative_error,
    )


def refuse(model: PreTrainedModel) -> None:
    """Raise InputError where a model's ranges are not symmetric."""
    if any(not linear.symmetric for linear in quantized_linears(model).values()):
        raise InputError(f"{TARGET} needs symmetric ranges; train with quantize_aware's symmetric: true.")


def executed(path: Path) -> Session:
    """Check a file, and run its operators one after the other on the CPU."""
    count = check_explicit_quantization(path)
    opened = in_onnxruntime(path, as_written=True)
    return Session(opened.run, count, opened.fused_ops, left_float(onnx.load(path).graph))


def left_float(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of the products with constant weights that TensorRT will not run on integers."""
    whole = {node.name for node in _whole_products(graph)}
    return tuple(name for name in float_products(graph) if name not in whole)


def check_explicit_quantization(path: Path) -> int:
    """Check what TensorRT demands of a file with Q and DQ, and count the products that it will run on integers.

    Scales are positive constants, zero points are 0 and int8; a weight has one scale per output column (axis 1); whatever is
    quantized is dequantized.

    Raises:
        CompressError: A demand is not met.
    """
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type not in PAIR:
            continue
        scale, zero = (constants.get(name) for name in (*node.input, "")[1:3])  # a zero point may be left out
        if scale is None or zero is None or zero.data_type != onnx.TensorProto.INT8:
            raise CompressError(f"{TARGET}: {node.name} has no constant scale with a signed zero point.")
        if not (onnx.numpy_helper.to_array(scale) > 0).all() or np.any(onnx.numpy_helper.to_array(zero)):
            raise CompressError(f"{TARGET}: {node.name} has a scale that is not positive, or a zero point that is not 0.")
        readers = [reader.op_type for reader in graph.node if node.op_type == PAIR[0] and node.output[0] in reader.input]
        if node.op_type == PAIR[0] and set(readers) != {PAIR[1]}:
            raise CompressError(f"{TARGET}: what {node.name} quantizes is not dequantized.")
    products = _whole_products(graph)
    for node in products:
        weight = makers[node.input[1]]
        if [attribute.i for attribute in weight.attribute if attribute.name == "axis"] != [1]:
            raise CompressError(f"{TARGET}: the weight of {node.name} has no scale per output column.")
    return len(products)


def _whole_products(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The products whose two inputs come from DequantizeLinear."""
    back = {name for node in graph.node if node.op_type == PAIR[1] for name in node.output}
    return [node for node in graph.node if node.op_type == "MatMul" and back.issuperset(node.input)]
