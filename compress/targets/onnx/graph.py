"""From a torch model to a raw ONNX graph, and what an ONNX file holds."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir import convenience
from onnx_ir.passes.common import DeduplicateInitializersPass
from torch import nn
from transformers import PreTrainedModel

from compress.errors import CompressError, InputError, last_line
from compress.log import libraries_silenced
from compress.models.attention.disentangled import positions_folded
from compress.models.attention.kernel import attention_kernel
from compress.models.attention.long_attention import example_length
from compress.models.bilstm import lstm_as_node
from compress.models.exits import Passage, exits_of, watched_exits
from compress.models.families import inputs_of, longest_text
from compress.models.first_token import first_token_only, lean_exits
from compress.models.heads import head_of
from compress.models.layout import encoder_layers
from compress.models.sharing import shared_parameters
from compress.models.spelled import spelling_folded
from compress.models.static import weights_folded
from compress.runtimes.foreign_file import ForeignFile
from compress.runtimes.runtime import EXIT
from compress.runtimes.table import DEFAULT

FILE = "model.onnx"
SCOPES = "pkg.torch.onnx.name_scopes"
PARTS, LAST = ("state", "logits", "unsure"), f"{EXIT}.last"
"""What a flat graph tells of each exit, and of the model's own head."""


class _Logits(nn.Module):
    """The model with named inputs, and what its head answers as its only outputs."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model, self.outputs = model, output_names(model)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> Any:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        answers = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
        exits = exits_of(self.model)
        passage = exits.passage if exits is not None else None
        return (*(answers[name] for name in self.outputs), *(_exit_outputs(passage) if passage else ()))


def output_names(model: PreTrainedModel) -> list[str]:
    """The outputs of the exported file, in order; what it gives besides its answers comes first, where the model has it."""
    head = head_of(model)
    return [*(head.beside if encoder_layers(model) else ()), *head.outputs]


def exit_names(exits: int) -> list[str]:
    """What a flat graph gives for exits beside the answers: where rows leave, what each exit has and says, and what the
    model's own head answers."""
    return [EXIT, *(f"{EXIT}.{number}.{part}" for number in range(exits) for part in PARTS), LAST]


def _exit_outputs(passage: Passage) -> list[torch.Tensor]:
    """The same as the torch model computes it."""
    parts = zip(passage.states, passage.logits, passage.unsure, strict=True)
    return [passage.left, *(part for exit in parts for part in exit), passage.last]


def input_names(model: PreTrainedModel) -> list[str]:
    """The inputs of the exported file, in order."""
    return inputs_of(model.config)


def write_graph(model: PreTrainedModel, path: Path, *, once: bool = False) -> None:
    """Export the model with torch's dynamo exporter from eager attention, with free batch size and length.

    The last layer computes its first token only where the head reads no other; so do layers with exits, for these. Of a model
    that writes, encoder.onnx and decoder.onnx are written in the file's place. A model with exits is written flat, and tells
    what `exits.nest_exits` needs.

    Args:
        model: What to export.
        path: The file.
        once: Where a head multiplies by the word table, let the file hold it once, behind a Transpose that runtimes compute
            when they open the file; else it is written transposed as well, as a constant that can be quantized.

    Raises:
        CompressError: The exporter failed.
    """
    if head_of(model).writes:
        from compress.targets.onnx.writer import write_pair  # which exports by what stands below

        write_pair(model, path.parent)
        return
    names, exits = input_names(model), exits_of(model)
    example = {name: torch.ones((2, example_length(model)), dtype=torch.long) for name in names}
    example["attention_mask"][1, 5:] = 0
    if "token_type_ids" in example:
        example["token_type_ids"].zero_()
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=longest_text(model.config))}
    with contextlib.ExitStack() as stack:
        stack.enter_context(attention_kernel(model, "eager"))
        for prepared in (
            first_token_only,
            lean_exits,
            watched_exits,
            lstm_as_node,
            spelling_folded,
            weights_folded,
            positions_folded,
        ):
            stack.enter_context(prepared(model))
        write_module(
            _Logits(model).eval(),
            tuple(example[name] for name in names),
            path,
            inputs=names,
            outputs=[*output_names(model), *(exit_names(len(exits.layers)) if exits else ())],
            free=tuple(free for _ in names),
        )
    layers = encoder_layers(model)
    shares = exits is not None or len(set(layers)) < len(layers) or bool(shared_parameters(model))
    tidy(path, shares=shares, once=once)


def write_module(
    module: nn.Module, example: tuple[Any, ...], path: Path, *, inputs: list[str], outputs: list[str], free: tuple[Any, ...]
) -> None:
    """Export a module with torch's dynamo exporter.

    Args:
        module: Its forward takes the example.
        example: Tensors, or lists of them.
        path: The ONNX file.
        inputs: Names of the example's tensors.
        outputs: Names of what the module gives.
        free: The example's dimensions that are free, in its shape.

    Raises:
        CompressError: The exporter failed.
    """
    try:
        with libraries_silenced(), contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(
                module,
                example,
                str(path),
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=free,
                external_data=False,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as err:
        raise CompressError(
            f"the model could not be exported to ONNX: {last_line(err)}. See --debug for the whole error."
        ) from err


def tidy(path: Path, *, shares: bool, once: bool = False) -> None:
    """Leave out what the exporter tells of itself (stack traces with paths of this machine, half of a small file), but for the
    modules that nodes come from, and all but one of the copies that it makes of a weight that is read in several places."""
    graph = ir.load(path)
    if shares:
        _fold_transposes(graph)
        DeduplicateInitializersPass(size_limit=1 << 40)(graph)
    if once:
        _turn_tables(graph)
    graph.metadata_props.clear()
    graph.graph.metadata_props.clear()
    for value in (*graph.graph.inputs, *graph.graph.outputs, *graph.graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph.graph.all_nodes():
        scopes = node.metadata_props.get(SCOPES)
        node.metadata_props.clear()
        node.doc_string = None
        if scopes is not None:
            node.metadata_props[SCOPES] = scopes
        for value in node.outputs:
            value.metadata_props.clear()
    ir.save(graph, path)


def _fold_transposes(graph: ir.Model) -> None:
    """Write weights transposed where they are read so. The exporter does it where a weight is read once, and else leaves a
    Transpose before every product, which then has no constant to multiply by."""
    for node in list(graph.graph):
        weight = node.inputs[0] if node.op_type == "Transpose" else None
        if weight is None or weight.const_value is None:
            continue
        order = node.attributes["perm"].as_ints() if "perm" in node.attributes else None
        name = f"{weight.name}.transposed.{node.outputs[0].name}"
        values = np.ascontiguousarray(weight.const_value.numpy().transpose(order))
        turned = ir.Value(name=name, const_value=ir.tensor(values, name=name))
        graph.graph.initializers[name] = turned
        convenience.replace_all_uses_with(node.outputs[0], turned)
        graph.graph.remove(node, safe=True)
    sweep(graph)


def _turn_tables(graph: ir.Model) -> None:
    """Let products by a table that is looked up as well read that, behind a Transpose, and leave the transposed copy out."""
    initializers = graph.graph.initializers
    tables = [node.inputs[0] for node in graph.graph if node.op_type == "Gather" and node.inputs[0] in initializers.values()]
    for table in dict.fromkeys(tables):
        assert table is not None
        values = _values_of(table)
        for copy in list(initializers.values()):
            if copy is table or not copy.uses() or copy.shape is None or copy.shape.numpy() != values.shape[::-1]:
                continue
            if values.ndim == 2 and np.array_equal(_values_of(copy), values.T):
                turned = ir.node("Transpose", [table], {"perm": [1, 0]})
                turned.outputs[0].name = f"{table.name}.turned"
                graph.graph.insert_before(next(iter(copy.uses())).node, turned)
                convenience.replace_all_uses_with(copy, turned.outputs[0])
    sweep(graph)


def _values_of(initializer: ir.Value) -> np.ndarray:
    assert initializer.const_value is not None
    return initializer.const_value.numpy()


def sweep(model: ir.Model) -> None:
    """Remove initializers that nothing reads any more."""
    outputs = set(model.graph.outputs)
    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and value not in outputs:
            del model.graph.initializers[name]


@dataclass(frozen=True)
class Session:
    """A file that a runtime has opened, and what it made of it.

    Args:
        run: Turns a batch, (batch, length) each, into logits, (batch, labels), float32.
        integer_ops: Operators in the running graph that multiply integers.
        fused_ops: Operators in the running graph that do the work of several.
        stayed_float: Names of the products with constant weights that do not run on integers.
    """

    run: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    integer_ops: int
    fused_ops: int
    stayed_float: tuple[str, ...]


def in_runtime(path: Path, runtime: str, **options: Any) -> Session:
    """Open a file in a runtime, in a process of its own.

    Args:
        path: The ONNX file.
        runtime: Its name, see `compress.runtimes.table`.
        options: The runtime's own; and `segment`, see `ForeignFile`.

    Raises:
        InputError: The runtime cannot load it.
        CompressError: The runtime crashed over it, or took too long.
    """
    file = ForeignFile(path, runtime, **options)
    kernels = file.kernels()
    return Session(file.run, kernels.integer_ops, kernels.fused_ops, kernels.stayed_float)


def in_onnxruntime(path: Path, *, as_written: bool = False, of_task: int | None = None) -> Session:
    """Open a file in onnxruntime on the CPU, in a process of its own.

    Args:
        path: The ONNX file.
        as_written: Run the operators as they stand, without onnxruntime's fusions.
        of_task: Of a file of several tasks, the number of that which answers.

    Raises:
        CompressError: onnxruntime cannot load it, crashed over it, or took too long.
    """
    try:
        return in_runtime(path, DEFAULT, fused=not as_written, of_task=of_task)
    except InputError as err:  # it is our own
        raise CompressError(str(err)) from err


def facts_in_file(path: Path) -> dict[str, str]:
    """What the file's own metadata tells, for whoever finds it alone."""
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
