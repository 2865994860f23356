"""An LSTM as onnxruntime's integer kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from compress.errors import CompressError
from compress.targets.onnx.lowering import constant
from compress.targets.onnx.lstm import lower_lstms

WIDTH, SIZE, BATCH, LENGTH = 12, 8, 3, 7
LENGTHS = np.array([7, 2, 5], dtype=np.int32)


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(4)
    shapes = {"W": (2, 4 * SIZE, WIDTH), "R": (2, 4 * SIZE, SIZE), "B": (2, 8 * SIZE)}
    return {name: (random.standard_normal(shape) * 0.4).astype(np.float32) for name, shape in shapes.items()}


def graph(*, computed: bool = False) -> ir.Model:
    """One LSTM in both directions, its states and its last ones."""
    values = ir.val("values", ir.DataType.FLOAT, ["length", "batch", WIDTH])
    lengths = ir.val("lengths", ir.DataType.INT32, ["batch"])
    model = ir.Model(ir.Graph([values, lengths], [], nodes=[], opset_imports={"": 20}, name="one"), ir_version=10)
    given = {name: constant(model, name, array) for name, array in weights().items()}
    if computed:
        given["R"] = model.graph.append(ir.node("Identity", [given["R"]])) or model.graph[-1].outputs[0]
    node = ir.node(
        "LSTM",
        [values, *given.values(), lengths],
        num_outputs=2,
        attributes={"direction": "bidirectional", "hidden_size": SIZE},
    )
    model.graph.append(node)
    for name, value in zip(("states", "ends"), node.outputs, strict=True):
        value.name, value.type = name, ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(value)
    return model


def rounded(weight: np.ndarray, qmax: int) -> np.ndarray:
    scale = np.abs(weight).max(axis=2, keepdims=True) / qmax
    return np.round(weight / scale) * scale


def torchs_ends(values: np.ndarray, qmax: int) -> np.ndarray:
    """The last states of torch's LSTM with the weights that the integers stand for, (directions, batch, size)."""
    lstm = torch.nn.LSTM(WIDTH, SIZE, bidirectional=True)
    given = weights()
    order = [0, 2, 3, 1]  # ONNX: input, output, forget, cell; torch: input, forget, cell, output
    with torch.no_grad():
        for direction, end in enumerate(("", "_reverse")):
            tensors = {
                "weight_ih_l0": rounded(given["W"], qmax)[direction],
                "weight_hh_l0": rounded(given["R"], qmax)[direction],
                "bias_ih_l0": given["B"][direction, : 4 * SIZE],
                "bias_hh_l0": given["B"][direction, 4 * SIZE :],
            }
            for name, array in tensors.items():
                parts = np.split(array, 4)
                getattr(lstm, f"{name}{end}").copy_(torch.from_numpy(np.concatenate([parts[gate] for gate in order])))
        packed = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(values), LENGTHS.tolist(), enforce_sorted=False)
        return lstm(packed)[1][0].numpy()


@pytest.mark.parametrize("qmax", [127, 63])
def test_the_kernel_answers_as_torch_does_with_the_rounded_weights(tmp_path: Path, qmax: int) -> None:
    values = np.random.default_rng(5).standard_normal((LENGTH, BATCH, WIDTH)).astype(np.float32)
    model = graph()
    assert lower_lstms(model, qmax=qmax) == 1
    ir.save(model, tmp_path / "model.onnx")
    _, ends = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"values": values, "lengths": LENGTHS})
    np.testing.assert_allclose(ends, torchs_ends(values, qmax), atol=0.02)


def test_weights_are_stored_in_bytes_within_the_highest_number() -> None:
    model = graph()
    lower_lstms(model, qmax=63)
    stored = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    assert set(stored) >= {"W_int8", "R_int8", "B"}
    assert not {"W", "R"} & set(stored)
    for name, shape in (("W_int8", (2, WIDTH, 4 * SIZE)), ("R_int8", (2, SIZE, 4 * SIZE))):
        assert stored[name].dtype == np.int8
        assert stored[name].shape == shape
        assert np.abs(stored[name]).max() == 63


def test_weights_that_are_computed_are_refused() -> None:
    with pytest.raises(CompressError, match=r"weights of .* are computed in the graph"):
        lower_lstms(graph(computed=True))


def test_a_graph_without_an_lstm_stays_as_it_is() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 20}), ir_version=10)
    assert lower_lstms(model) == 0
    assert "com.microsoft" not in model.opset_imports
