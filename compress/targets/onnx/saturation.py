"""Do this processor's integer kernels add eight-bit products without overflow? Tried, not looked up."""

from __future__ import annotations

import functools

import numpy as np

from compress.processor import has_vnni

WIDTH = 64


@functools.cache
def sums_saturate() -> bool:
    """Whether 255 * 127 + 255 * 127, the largest sum of two products, comes out wrong in onnxruntime here.

    On x86 without VNNI two products of unsigned activations and signed weights are added in 16 bits, which overflow.

    Raises:
        ImportError: onnx or onnxruntime is missing; both are imported here, since the doctor runs without them.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = np.full((WIDTH, WIDTH), 127, dtype=np.int8)
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [WIDTH, WIDTH])
    output = helper.make_tensor_value_info("y", TensorProto.INT32, [WIDTH, WIDTH])
    graph = helper.make_graph([node], "saturation", [given], [output], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = np.full((WIDTH, WIDTH), 255, dtype=np.uint8)
    (sums,) = session.run(None, {"x": values})
    return bool((sums != values.astype(np.int64) @ weight.astype(np.int64)).any())


def safe_bits() -> int:
    """Bits of a weight that are right on this processor: 8, or 7 where sums saturate or may."""
    return 8 if has_vnni() and not sums_saturate() else 7
