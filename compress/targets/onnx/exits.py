"""Let the texts of a batch that are sure leave an ONNX graph: what stands above an exit runs for the others alone.

A model with exits is exported as a flat graph that computes all of it, and tells beside its answers what each exit said and
what goes on from there. Here, after everything else is done to it, the nodes above each exit are moved into the branch of an
If, which gathers the rows that are not sure, and puts their answers back. A file is then whole in itself: any runtime runs it
as it runs others, one text at a time or many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compress.runtimes.runtime import EXIT, LOGITS
from compress.targets.onnx.graph import LAST, PARTS, sweep
from compress.targets.onnx.lowering import constant

Values = dict[ir.Value, ir.Value]


def nest_exits(model: ir.Model) -> int:
    """Move what stands above each exit of a flat graph into a branch that runs for the rows that go on.

    Args:
        model: Is changed; one without exits is left as it is.

    Returns:
        How many exits there are.
    """
    outputs = {str(value.name): value for value in model.graph.outputs}
    count = sum(re.fullmatch(rf"{EXIT}\.\d+\.unsure", name) is not None for name in outputs)
    if not count:
        return 0
    flat = [outputs.pop(name) for name in (LOGITS, EXIT)]
    nodes, *answers = _Nesting(model, outputs, count).above(0, {})
    model.graph.extend(nodes)
    for old, new in zip(flat, answers, strict=True):
        new.type, new.shape = old.type, old.shape
        old.name, new.name = f"{old.name}.flat", old.name
    model.graph.outputs[:] = answers
    RemoveUnusedNodesPass()(model)
    sweep(model)
    return count


class _Nesting:
    """Builds the branches of a flat graph with exits."""

    def __init__(self, model: ir.Model, outputs: Mapping[str, ir.Value], count: int) -> None:
        self.model, self.outputs, self.count = model, outputs, count
        self.zero, self.one = (
            constant(model, f"{EXIT}.{name}", np.array([number], dtype=np.int64)) for name, number in (("zero", 0), ("one", 1))
        )
        self.numbers = [constant(model, f"{EXIT}.{number}", np.array([number], dtype=np.int64)) for number in range(count + 1)]

    def above(self, exit: int, here: Values) -> tuple[list[ir.Node], ir.Value, ir.Value]:
        """What becomes of the rows that are at an exit.

        Args:
            exit: Its number.
            here: What stands for values of the flat graph where the exit is; those that are not named stand for themselves.

        Returns:
            Nodes, the rows' answers, and where each of them has left.
        """
        state, logits, unsure = (self.outputs[f"{EXIT}.{exit}.{part}"] for part in PARTS)
        answers, marks = here.get(logits, logits), here.get(unsure, unsure)
        nonzero = ir.node("NonZero", [marks])
        rows = ir.node("Squeeze", [nonzero.outputs[0], self.zero])
        size = ir.node("Size", [rows.outputs[0]])
        none = ir.node("Squeeze", [self.zero, self.zero])
        any_ = ir.node("Greater", [size.outputs[0], none.outputs[0]])
        here_of = _filled(self.numbers[exit], marks)
        then = self._branch(exit, here, state, (answers, here_of[-1].outputs[0]), rows.outputs[0])
        same = [ir.node("Identity", [value]) for value in (answers, here_of[-1].outputs[0])]
        otherwise = _graph(same, [node.outputs[0] for node in same], f"{EXIT}.{exit}.all_left")
        branches = {"then_branch": ir.AttrGraph("then_branch", then), "else_branch": ir.AttrGraph("else_branch", otherwise)}
        chosen = ir.Node("", "If", [any_.outputs[0]], branches.values(), num_outputs=2)
        nodes = [nonzero, rows, size, none, any_, *here_of, chosen]
        self._name(nodes, exit)
        return nodes, chosen.outputs[0], chosen.outputs[1]

    def _branch(self, exit: int, here: Values, state: ir.Value, known: tuple[ir.Value, ir.Value], rows: ir.Value) -> ir.Graph:
        """What the rows that go on go through, their answers and exits put among those that are known."""
        above = exit + 1
        ends = [f"{EXIT}.{above}.{part}" for part in PARTS] if above < self.count else [LAST]
        needed = _needed(self.model.graph, [self.outputs[name] for name in ends], state)
        reads = dict.fromkeys(value for node in needed for value in node.inputs)
        gathers: Values = {}
        nodes: list[ir.Node] = []
        for value in (state, *self.model.graph.inputs):
            if value in reads or value is state:
                nodes.append(ir.node("Gather", [here.get(value, value), rows], {"axis": 0}))
                gathers[value] = nodes[-1].outputs[0]
        inside = {**gathers}
        nodes += [_copied(node, inside, above) for node in needed]
        if above < self.count:
            further, *answers = self.above(above, inside)
        else:
            further = _filled(self.numbers[above], rows)
            answers = [inside[self.outputs[LAST]], further[-1].outputs[0]]
        places = ir.node("Unsqueeze", [rows, self.one])
        put = [ir.node("ScatterND", [old, places.outputs[0], new]) for old, new in zip(known, answers, strict=True)]
        nodes += [*further, places, *put]
        self._name(nodes, exit, ".above")
        return _graph(nodes, [node.outputs[0] for node in put], f"{EXIT}.{exit}.above")

    def _name(self, nodes: Iterable[ir.Node], exit: int, part: str = "") -> None:
        """Name values that have no name yet."""
        for number, node in enumerate(nodes):
            for place, value in enumerate(node.outputs):
                value.name = value.name or f"{EXIT}.{exit}{part}.{node.op_type}.{number}.{place}"


def _filled(number: ir.Value, rows: ir.Value) -> list[ir.Node]:
    """As many of a number as there are rows."""
    shape = ir.node("Shape", [rows])
    return [shape, ir.node("Expand", [number, shape.outputs[0]])]


def _graph(nodes: list[ir.Node], outputs: list[ir.Value], name: str) -> ir.Graph:
    """A branch; it reads what it needs from around it."""
    for value, dtype in zip(outputs, (ir.DataType.FLOAT, ir.DataType.INT64), strict=True):
        value.name = value.name or f"{name}.{dtype.name.lower()}"
        value.type = ir.TensorType(dtype)
    return ir.Graph([], outputs, nodes=nodes, name=name)


def _needed(graph: ir.Graph, ends: Iterable[ir.Value], stop: ir.Value) -> list[ir.Node]:
    """The nodes that the ends depend on but for what lies before a value, in order."""
    todo, nodes = list(ends), set()
    while todo:
        value = todo.pop()
        node = value.producer()
        if value is stop or node is None or node in nodes:
            continue
        nodes.add(node)
        todo += [read for read in node.inputs if read is not None]
    return [node for node in graph if node in nodes]


def _copied(node: ir.Node, inside: Values, level: int) -> ir.Node:
    """The same node over the values inside a branch. Sizes are left out: names of free ones mean the whole batch's."""
    copy = ir.Node(
        node.domain,
        node.op_type,
        [None if value is None else inside.get(value, value) for value in node.inputs],
        node.attributes.values(),
        num_outputs=len(node.outputs),
        name=f"{node.name}/{level}" if node.name else None,
    )
    for old, new in zip(node.outputs, copy.outputs, strict=True):
        new.name, new.type = f"{old.name}/{level}", old.type
        inside[old] = new
    return copy
