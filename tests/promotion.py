"""Every export that a test makes is looked at for what torch's exporters before 2.13 cannot translate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

PROMOTED = ("aten.scalar_tensor.default", "prims.convert_element_type.default")
"""What the exporter puts in where numbers of two types meet."""


def weights_beside_other_types(program: torch.export.ExportedProgram) -> list[str]:
    """Operators of an exported program in which a weight itself meets a number of another type, such as `weight * 1`.

    torch 2.11 and 2.12 fail there: they call the operator to see which of its overloads takes the arguments, and the first one
    called is prim.device, of the weight (https://github.com/pytorch/pytorch/pull/185005). `weight * 1.0` is no such place, nor
    is what was computed from a weight.
    """
    weights, places = set(program.graph_signature.inputs_to_parameters), []
    for node in program.graph.nodes:
        if node.op == "call_function" and any(source.name in weights for source in node.all_input_nodes):
            where = node.meta.get("stack_trace", "?").strip().splitlines()[-1].strip()
            places += [f"{node.target} at {where}" for source in node.all_input_nodes if str(source.target) in PROMOTED]
    return places


@contextlib.contextmanager
def exports_looked_at() -> Iterator[None]:
    """Refuse, inside, each export that torch 2.11 could not make."""
    export: Any = torch.onnx.export

    def looked_at(*args: Any, **options: Any) -> Any:
        program = export(*args, **options)
        places = weights_beside_other_types(program.exported_program)
        assert not places, f"torch 2.11 cannot export {'; '.join(places)}"
        return program

    torch.onnx.export = looked_at
    try:
        yield
    finally:
        torch.onnx.export = export
