"""Weights of four bits: the blocks, what onnxruntime multiplies them to, and what is written and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from compress.benchmark.counts import onnx_macs
from compress.errors import InputError
from compress.targets.exporting import export
from compress.targets.onnx.blocks import in_blocks, lower_to_blocks
from compress.targets.onnx.graph import in_onnxruntime, write_module
from compress.targets.onnx.lowering import products
from tests.contract.support import model_of, task_of
from tests.tiny_models import logits_of, tiny_bert, tokens, toy_task

LOOSE = {"max_flips": 1.0, "max_relative_error": 10.0}
WIDE = {"hidden_size": 64, "intermediate_size": 96}


def unpacked(packed: np.ndarray, scales: np.ndarray, inputs: int) -> np.ndarray:
    """The weight (in, out) that blocks stand for, by the definition of MatMulNBits."""
    outputs, blocks, half = packed.shape
    whole = np.zeros((outputs, blocks, 2 * half), dtype=np.float32)
    whole[..., 0::2], whole[..., 1::2] = packed & 15, packed >> 4
    rows = (whole - 8) * scales.reshape(outputs, blocks, 1)
    return rows.reshape(outputs, -1)[:, :inputs].T


def test_a_block_of_sixteen_steps_is_told_exactly() -> None:
    weight = np.arange(-8, 8, dtype=np.float32)[:, None] * np.float32(0.25)
    packed, scales = in_blocks(weight, 16)
    assert packed.shape == (1, 1, 8)
    assert packed.tolist() == [[[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]]]
    assert scales.tolist() == [0.25]


def test_the_sign_of_a_scale_is_that_of_what_falls_on_the_end() -> None:
    weight = np.zeros((16, 1), dtype=np.float32)
    weight[0], weight[1] = 4.0, -1.0
    packed, scales = in_blocks(weight, 16)
    assert scales.tolist() == [-0.5]
    np.testing.assert_array_equal(unpacked(packed, scales, 16), weight)


@pytest.mark.parametrize("inputs", [16, 31, 64, 100])
@pytest.mark.parametrize("block", [16, 32])
def test_no_weight_is_told_worse_than_by_the_plain_scale_on_the_whole(inputs: int, block: int) -> None:
    weight = np.random.default_rng(3).normal(size=(inputs, 7)).astype(np.float32)
    packed, scales = in_blocks(weight, block)
    assert packed.shape == (7, -(-inputs // block), block // 2)
    restored = unpacked(packed, scales, inputs)
    plain = np.zeros_like(weight)
    for start in range(0, inputs, block):
        part = weight[start : start + block]
        scale = np.abs(part).max(0) / 7
        plain[start : start + block] = np.clip(np.rint(part / scale), -7, 7) * scale
    assert np.square(restored - weight).sum() < np.square(plain - weight).sum()
    assert np.abs(restored - weight).max() < np.abs(weight).max() / 4


def test_a_block_of_zeros_stays_zeros() -> None:
    packed, scales = in_blocks(np.zeros((32, 2), dtype=np.float32), 32)
    assert np.isfinite(scales).all()
    assert not unpacked(packed, scales, 32).any()


@pytest.mark.parametrize(("inputs", "block"), [(64, 32), (40, 16), (24, 32)])
def test_onnxruntime_multiplies_what_the_blocks_stand_for(inputs: int, block: int, tmp_path: Path) -> None:
    import onnxruntime

    with torch.random.fork_rng():
        torch.manual_seed(1)
        linear = nn.Linear(inputs, 10).eval()
    path = tmp_path / "linear.onnx"
    given = torch.randn((3, inputs), generator=torch.Generator().manual_seed(2))
    free = ({0: torch.export.Dim("rows")},)
    write_module(linear, (given,), path, inputs=["x"], outputs=["y"], free=free)
    graph = ir.load(path)
    chosen = products(graph, left_out=())
    assert lower_to_blocks(graph, chosen, block=block, level=1) == 1
    ir.save(graph, path)
    own = onnxruntime.InferenceSession(str(path)).run(None, {"x": given.numpy()})[0]
    weight = unpacked(*in_blocks(linear.weight.detach().numpy().T, block), inputs)
    np.testing.assert_allclose(own, given.numpy() @ weight + linear.bias.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("computed", ["float32", "int8"])
def test_the_file_answers_nearly_as_torch_and_tells_what_it_is(computed: str, tmp_path: Path) -> None:
    model = tiny_bert(**WIDE, initializer_range=0.05)
    shipped = export(
        model, tmp_path / "out", target="onnxruntime-cpu-q4", task=toy_task(), computed=computed, block=16, max_flips=0.2
    )
    assert [stage.name for stage in shipped.stages] == ["export", "q4"]
    assert all(stage.accepted for stage in shipped.stages)
    file = shipped.path / "model.onnx"
    stored = onnx.load(file)
    blocks = [node for node in stored.graph.node if node.op_type == "MatMulNBits"]
    assert len(blocks) == shipped.stages[-1].integer_ops == 13
    assert {entry.key: entry.value for entry in stored.metadata_props}["computed"] == computed
    floats = [tensor for tensor in stored.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    assert max(np.prod(tensor.dims) for tensor in floats) < 64 * 64
    plain = export(model, tmp_path / "float", target="onnxruntime-cpu", task=toy_task())
    assert onnx_macs(file, 10) == onnx_macs(plain.path / "model.onnx", 10)
    logits = in_onnxruntime(file).run({name: values.numpy() for name, values in tokens().items()})
    expected = logits_of(model).numpy()
    assert np.square(logits - expected).mean() < 0.1 * np.square(expected).mean()


@pytest.mark.slow
def test_an_answer_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    """What a product reads is rounded row by row."""
    shipped = export(tiny_bert(**WIDE), tmp_path / "out", target="onnxruntime-cpu-q4", task=toy_task(), **LOOSE)
    opened = in_onnxruntime(shipped.path / "model.onnx")
    batch = {name: values.numpy() for name, values in tokens(lengths=(9, 9, 9)).items()}
    alone = np.concatenate([opened.run({name: values[row : row + 1] for name, values in batch.items()}) for row in range(3)])
    np.testing.assert_allclose(opened.run(batch), alone, atol=1e-5)


@pytest.mark.slow
def test_a_model_that_writes_has_two_files(tmp_path: Path) -> None:
    kind = "sequence-to-sequence"
    shipped = export(model_of(kind, "bert"), tmp_path / "out", target="onnxruntime-cpu-q4", task=task_of(kind), **LOOSE)
    for name in ("encoder.onnx", "decoder.onnx"):
        assert any(node.op_type == "MatMulNBits" for node in onnx.load(shipped.path / name).graph.node)


def test_a_model_without_products_is_refused(tmp_path: Path) -> None:
    kind = "sentence-embedding"
    static = model_of(kind, "static")
    with pytest.raises(InputError, match="a static has no product whose weight could have 4 bits"):
        export(static, tmp_path / "out", target="onnxruntime-cpu-q4", task=task_of(kind))
    assert not (tmp_path / "out").exists()


def test_blocks_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="block"):
        export(tiny_bert(), tmp_path / "out", target="onnxruntime-cpu-q4", task=toy_task(), block=48)
