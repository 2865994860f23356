"""How large a model is, and how much it computes."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.benchmark.subjects import Subject, weight_files
from compress.errors import InputError, first_line
from compress.runtimes.external_data import external_files
from compress.runtimes.graph_files import graph_files, is_writer
from compress.runtimes.onnxruntime import INTEGER_OPS, check_inputs, feeds, loaded, nodes_in, shapes_of
from compress.runtimes.process import RuntimeProcess
from compress.runtimes.writer_files import given_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.models.families.family import EncoderFree

WORKER = "compress.benchmark.worker"
PRODUCTS = frozenset(
    {
        "MatMul",
        "FusedMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "QLinearMatMul",
        "MatMulNBits",
        "Gemm",
        "FusedGemm",
        "QGemm",
    }
)
Dimensions = list[int]


def size_bytes(subject: Subject) -> int:
    """The bytes of the files that hold the model: model.onnx and its external data, or the safetensors files."""
    path = subject.file
    if path is None:
        files = weight_files(subject.path)
    else:
        files = [file for graph in graph_files(path) for file in (graph, *external_files(graph))]
    return sum(file.stat().st_size for file in files)


def torch_macs(model: PreTrainedModel, length: int) -> int:
    """Count the multiply-adds of one example, read off the live modules, so that uneven layers count right.

    Each layer: its Linear weights times the length (4·d·a·L for attention, 2·d·f·L for the feed-forward part, with width d,
    attention width a, inner width f and length L), and 2·L·L·a for the two products inside attention; a shared layer
    counts as often as it runs. The head's Linears (pooler, classifier) see one token, unless each token has an answer; those
    of the embeddings see every one.
    Looking embeddings up, softmax, norms and activations are not counted. A decoder writes as many tokens as the example has:
    each of its Linears sees every one, and both of its attentions see all of them.

    Args:
        model: Any.
        length: Tokens of the example.
    """
    from torch import nn

    from compress.models.exits import NAME as EXITS
    from compress.models.families import known_family
    from compress.models.families.family import EncoderFree
    from compress.models.heads import head_of
    from compress.models.layout import all_layers, head_count, head_size

    family = known_family(model)
    if isinstance(family, EncoderFree):
        return _plain_macs(model, family, length)
    layers = all_layers(model)
    inside = {id(module) for layer in layers for module in layer.modules()}
    head = {id(module) for name, module in model.base_model.named_modules() if name.partition(".")[0] in ("pooler", EXITS)}
    embedding = {id(module) for module in model.base_model.modules()} - head
    if head_of(model).reads_tokens:
        embedding |= {id(module) for module in model.modules()}
    total = 0
    for layer in layers:
        weights = (linear.in_features * linear.out_features for linear in layer.modules() if isinstance(linear, nn.Linear))
        crossing = getattr(layer, "crossattention", None)
        wide = head_count(layer) * head_size(layer) + (crossing.self.all_head_size if crossing is not None else 0)
        total += length * sum(weights) + 2 * length * length * wide
    for module in _linears(model):
        if id(module) not in inside:
            total += module.in_features * module.out_features * (length if id(module) in embedding else 1)
    return total


def _linears(model: PreTrainedModel) -> list[Any]:
    """Its Linears, without those of a network in the place of the word table, whose rows are a table in every file."""
    from torch import nn

    from compress.models.spelled import spelled_of

    spelled = spelled_of(model)
    looked_up = set() if spelled is None else set(spelled.modules())
    return [module for module in model.modules() if isinstance(module, nn.Linear) and module not in looked_up]


def _plain_macs(model: PreTrainedModel, family: EncoderFree, length: int) -> int:
    """The same of a model without an encoder: an LSTM sees every token, its head one state."""
    from torch import nn

    total = sum(linear.in_features * linear.out_features for linear in _linears(model))
    sentences = 2 if model.config.pairs else 1
    for module in model.modules():
        if isinstance(module, nn.LSTM):
            total += sentences * length * sum(weight.numel() for weight in module.parameters() if weight.ndim == 2)
    return total + sentences * family.macs(model.config, length)


def onnx_counts(path: Path, length: int, process: RuntimeProcess | None = None) -> dict[str, int]:
    """Count what a stored ONNX graph holds.

    Args:
        path: model.onnx, or the first of two files.
        length: Tokens of the one example that `macs` is counted for, and that are written for it.
        process: Runs that example; of `compress.benchmark.worker`. One of its own if None.

    Returns:
        parameters: elements of all initializers (scales and zero points of quantized weights included);
        integer_ops: operators that multiply integers; macs: multiply-adds, see `onnx_macs`.
    """
    graphs = [graph_of(file) for file in graph_files(path)]
    integers = sum(node.op_type in INTEGER_OPS for graph in graphs for node in nodes_in(graph))
    elements = sum(math.prod(tensor.dims) for graph in graphs for tensor in graph.initializer)
    asked = process or RuntimeProcess(WORKER)
    profile, _ = asked.ask(
        f"running one example of {length} tokens through {path}", {"do": "profile", "path": str(path), "length": length}
    )
    return {"parameters": elements, "integer_ops": integers, "macs": profile["macs"]}


def onnx_macs(path: Path, length: int) -> int:
    """Count the multiply-adds of the matrix products that really run for one example.

    The stored graph runs once, without optimizations, under onnxruntime's profiler, which tells the shapes of every
    operator's inputs and outputs; a product takes its output's elements times the length of the inner dimension. Of two files
    the second is given as many tokens at once as the example has. It runs in this process: call it in one that can be ended.

    Raises:
        InputError: The file cannot be run.
    """
    return sum(_macs_of_graph(file, length, is_pair=is_writer(path)) for file in graph_files(path))


def _macs_of_graph(path: Path, length: int, *, is_pair: bool) -> int:
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="compress-macs-") as room:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(room) / "profile")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        ids = np.ones((1, length), dtype=np.int64)
        session = loaded(path, options)
        if not is_pair:
            check_inputs(session, path)
        try:
            given = given_of(shapes_of(session), ids) if is_pair else feeds(session, {"input_ids": ids, "attention_mask": ids})
            session.run(None, given)
        except Exception as err:  # onnxruntime's errors have no common class of their own
            raise InputError(f"{path} cannot be run at length {length}: {first_line(err)}. Export the model again.") from err
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return sum(_node_macs(event["args"]) for event in events if "output_type_shape" in event.get("args", {}))


def _node_macs(node: dict[str, Any]) -> int:
    inputs, outputs = _shapes(node["input_type_shape"]), _shapes(node["output_type_shape"])
    if node["op_name"] in PRODUCTS:
        return math.prod(outputs[0]) * inputs[0][-1]
    if node["op_name"] in ("LSTM", "DynamicQuantizeLSTM"):  # (L, b, d) to (L, directions, b, h), with four gates
        width, (length, directions, batch, size) = inputs[0][-1], outputs[0]
        return length * batch * directions * 4 * size * (width + size)
    if node["op_name"] in ("Attention", "QAttention"):  # input (b, L, d), output (b, L, a); packed weights tell no shape
        length, width = inputs[0][-2:]
        return math.prod(outputs[0]) * (3 * width + 2 * length)
    if node["op_name"] == "MultiHeadAttention":  # query (b, L, a), key (b, M, a)
        return 2 * math.prod(inputs[0]) * inputs[1][1]
    return 0


def _shapes(entries: list[dict[str, Dimensions]]) -> list[Dimensions]:
    return [next(iter(entry.values()), []) for entry in entries]


def graph_of(path: Path) -> Any:
    """The graph of an ONNX file, without the data that lies beside it.

    Raises:
        InputError: It cannot be read.
    """
    import onnx

    try:
        return onnx.load(path, load_external_data=False).graph
    except Exception as err:  # protobuf's errors have no common class of their own
        raise InputError(f"{path} is no ONNX file ({first_line(err)}); export the model again.") from err
