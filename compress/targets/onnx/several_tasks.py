"""Several tasks in one file: what is the same for all of them lies there once, and an input picks the rest.

Any two files of one shape are put together so, whatever learned beside the encoder that they share: heads, adapters, biases,
normalizations. Each may have been proved and measured by itself before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import onnx_ir as ir
from pydantic import Field
from transformers import PreTrainedModel

from compress.dependencies import DependsOn
from compress.errors import CompressError, InputError
from compress.models.checkpoint.adapters import check_adapters, load_adapters
from compress.models.exits import exits_of
from compress.models.heads import label_names
from compress.runtimes.graph_files import PLAIN
from compress.runtimes.runtime import TASK
from compress.targets.onnx.graph import in_onnxruntime, sweep
from compress.targets.onnx.lowering import constant
from compress.targets.onnx.parity import ParityCheck, real_batches
from compress.targets.onnx.ranges import Source
from compress.targets.onnx.versions import save_for_old_runtimes

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

Adapters = Annotated[
    list[Annotated[str, DependsOn("adapters")]] | None,
    Field(min_length=1, description="folders of compress.save_adapters: further tasks that the file answers"),
]
Write = Callable[..., list[ParityCheck]]
TASKS = "tasks"
"""What a file's metadata tells: its tasks in the order of their numbers, each with its labels."""
TOLERANCE = 1e-3
"""Of the largest answer. The same integers are multiplied; floats may be summed in another order."""
FEWEST_SHARED = 0.5
"""Of the constants of one file, so that it is worth while."""
CHECKED = 32
"""Texts."""


def write_several_tasks(
    write: Write, model: PreTrainedModel, folder: Path, adapters: Sequence[str], *, task: Task
) -> list[ParityCheck]:
    """Write a model.onnx that answers a model's own task, and those of adapters that were learned beside its encoder.

    Its input `task`, (), int64, is the number of what is asked, and need not be given: 0 is the model's own task. Each task's
    file is written and proved by itself, and then answers the same within the one.

    Args:
        write: Writes the file of one model; is given it, a folder and the task.
        model: With the adapters or the head of its own task.
        folder: Where model.onnx goes.
        adapters: Folders of `compress.save_adapters`, whose names are the tasks'.
        task: Its calibration part's texts prove all.

    Returns:
        The stages of each, with their parity.

    Raises:
        InputError: Adapters were learned beside another encoder, or two tasks have one name.
        CompressError: A task is answered otherwise in the one file.
    """
    models = {task.name: model}
    for path in adapters:
        name = Path(path).name
        if name in models:
            raise InputError(f"two tasks of one file are called {name!r}; give the folder of one of them another name.")
        models[name] = load_adapters(model, path)
    stages: list[ParityCheck] = []
    with tempfile.TemporaryDirectory(dir=folder) as room:
        files = [Path(room) / str(number) / PLAIN for number in range(len(models))]
        for file, (name, each) in zip(files, models.items(), strict=True):
            file.parent.mkdir()
            written = write(each, file.parent, task=task)
            stages += written if each is model else [replace(stage, name=f"{name}: {stage.name}") for stage in written]
            if not all(stage.accepted for stage in written):
                return stages
        write_together(files, folder / PLAIN, {name: label_names(each) for name, each in models.items()})
        encoded = task.encode(task.calibration.require("calibration").take(CHECKED), model.tokenizer)
        check_same_answers(folder / PLAIN, files, [batch for _, batch in real_batches(encoded, task.max_length)])
    return stages


def refuse_adapters(target: str, options: Mapping[str, Any], model: PreTrainedModel, ranges: Source) -> None:
    """Raise InputError where a target's file could not answer further tasks.

    Args:
        target: Its name.
        options: Those that are given.
        model: Of the shape that is exported, whatever its weights.
        ranges: Where those of activations come from.
    """
    folders = options.get("adapters") or ()
    for beside in ("memory", "vectors"):
        if folders and options.get(beside):
            raise InputError(f"{target}: adapters and {beside} do not go together; remove one of them.")
    if folders and ranges in ("model", "calibration"):
        raise InputError(f"{target}: adapters need activations: dynamic, since static ranges are each task's own.")
    if folders and exits_of(model):
        raise InputError(f"{target}: the model has exits, which are heads of its own task; export it without adapters.")
    for folder in folders:
        check_adapters(model, folder)


def write_together(files: Sequence[Path], file: Path, labels: Mapping[str, Sequence[str]]) -> None:
    """Write one file of several.

    Args:
        files: Of one task each.
        file: The new one; its metadata tells the tasks, see `TASKS`.
        labels: By task, in the order of the files.

    Raises:
        InputError: The files differ in more than constants, or in most of them.
    """
    graphs = [ir.load(path) for path in files]
    names = list(labels)
    for name, other in zip(names[1:], graphs[1:], strict=True):
        if difference := _difference(graphs[0], other):
            raise InputError(f"{name} has another shape than {names[0]}: {difference}; let both learn in the same way.")
    graph, shared, own = merge_graphs(graphs)
    whole = shared + own / len(files)
    if shared < FEWEST_SHARED * whole:
        raise InputError(
            f"the files of {', '.join(labels)} have {shared / whole:.0%} of their constants in common, so that one file of "
            "all would hardly be smaller; let tasks learn beside one encoder, with fine_tune: {train: adapters} or {train: "
            "head}, and export them with the same options, without calibration."
        )
    graph.metadata_props[TASKS] = json.dumps([{"name": name, "labels": list(names)} for name, names in labels.items()])
    save_for_old_runtimes(graph, file)


def check_same_answers(file: Path, files: Sequence[Path], batches: Sequence[dict[str, np.ndarray]]) -> None:
    """Raise CompressError where a file of several tasks does not answer as the file of each."""
    for number, path in enumerate(files):
        alone, together = in_onnxruntime(path), in_onnxruntime(file, of_task=number)
        for batch in batches:
            expected, actual = alone.run(batch), together.run(batch)
            if expected.shape != actual.shape or np.abs(expected - actual).max() > TOLERANCE * max(
                1.0, np.abs(expected).max()
            ):
                raise CompressError(f"{file} answers task {number} otherwise than {path} alone; export them one by one.")


def merge_graphs(graphs: Sequence[ir.Model]) -> tuple[ir.Model, int, int]:
    """Put graphs that differ in their constants alone into the first of them.

    A constant that is the same in all is kept; others lie one behind the other, and an operator takes that of the task. Those
    of other sizes, as of heads with more labels, are joined along the dimension that differs.

    Args:
        graphs: Two or more of the same operators; the first is changed.

    Returns:
        The graph, with an input `task`, (), int64, which is 0 where it is not given; the bytes of constants that all share;
        and of those that each has for itself.
    """
    first = graphs[0]
    shared, own = 0, 0
    chosen = _chosen(first)
    for constants, places in _constants(graphs).items():
        tensors = [_numbers(value) for value in constants]
        if all(np.array_equal(tensors[0], tensor) for tensor in tensors[1:]):
            shared += tensors[0].nbytes
            continue
        own += sum(tensor.nbytes for tensor in tensors)
        nodes = _taken(first, str(constants[0].name), tensors, chosen)
        nodes[-1].outputs[0].name, nodes[-1].outputs[0].type = f"{constants[0].name}.of_task", constants[0].type
        first.graph.insert_before(first.graph[0], nodes)
        for node, index in places:
            node.replace_input_with(index, nodes[-1].outputs[0])
    sweep(first)
    _forget_sizes(first, graphs)
    return first, shared, own


def _constants(graphs: Sequence[ir.Model]) -> dict[tuple[ir.Value, ...], list[tuple[ir.Node, int]]]:
    """The constants that stand in one place, one of each graph; and where they stand in the first. The exporter writes
    constants once that happen to be the same, so that their names need not agree."""
    together: dict[tuple[ir.Value, ...], list[tuple[ir.Node, int]]] = {}
    for nodes in zip(*(list(graph.graph) for graph in graphs), strict=True):
        for index, values in enumerate(zip(*(node.inputs for node in nodes), strict=True)):
            if values[0] is not None and values[0].const_value is not None:
                together.setdefault(values, []).append((nodes[0], index))
    return together


def _difference(first: ir.Model, other: ir.Model) -> str:
    """What two graphs differ in besides the numbers of their constants; empty where in nothing."""
    nodes, others = list(first.graph), list(other.graph)
    if [node.op_type for node in nodes] != [node.op_type for node in others]:
        return f"one has {len(nodes)} operators, the other {len(others)}, or they are of other kinds"
    made: dict[ir.Value | None, ir.Value | None] = {None: None}
    made |= {
        value: same for value, same in zip(first.graph.inputs, other.graph.inputs, strict=False) if value.name == same.name
    }
    for node, same in zip(nodes, others, strict=True):
        called = node.name or node.op_type
        if len(node.inputs) != len(same.inputs) or not all(
            _same_constants(*values) if _is_constant(values[0]) else values[0] in made and made[values[0]] is values[1]
            for values in zip(node.inputs, same.inputs, strict=True)
        ):
            return f"{called} reads something else"
        if _attributes(node) != _attributes(same):
            return f"{called} has other attributes"
        made |= dict(zip(node.outputs, same.outputs, strict=True))
    return ""


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None


def _same_constants(value: ir.Value | None, other: ir.Value | None) -> bool:
    if value is None or other is None or value.const_value is None or other.const_value is None:
        return False
    shapes = [tuple(tensor.shape) for tensor in (value.const_value, other.const_value)]
    alike = len(shapes[0]) == len(shapes[1]) and len(_different(*shapes)) <= 1
    return alike and value.const_value.dtype == other.const_value.dtype


def _attributes(node: ir.Node) -> dict[str, str]:
    return {name: str(attribute) for name, attribute in node.attributes.items()}


def _chosen(model: ir.Model) -> ir.Value:
    """The number of the task, as an input that need not be given."""
    value = ir.Value(
        name=TASK,
        type=ir.TensorType(ir.DataType.INT64),
        shape=ir.Shape([]),
        const_value=ir.tensor(np.array(0, dtype=np.int64), name=TASK),
    )
    model.graph.inputs.append(value)
    model.graph.initializers[TASK] = value
    return value


def _numbers(value: ir.Value) -> np.ndarray:
    assert value.const_value is not None
    return value.const_value.numpy()


def _taken(model: ir.Model, name: str, tensors: Sequence[np.ndarray], chosen: ir.Value) -> list[ir.Node]:
    """What takes the tensor of the task out of all of them."""
    axes = _different(*(tensor.shape for tensor in tensors))
    if len(axes) > 1:
        raise InputError(f"{name} differs in several dimensions from task to task; let all learn in the same way.")
    axis = axes[0] if axes else None
    if axis is None:
        return [ir.node("Gather", [constant(model, f"{name}.tasks", np.stack(tensors)), chosen], {"axis": 0})]
    ends = np.cumsum([tensor.shape[axis] for tensor in tensors], dtype=np.int64)[:, None]
    starts = np.concatenate([[[0]], ends[:-1]])
    places = [
        ir.node("Gather", [constant(model, f"{name}.{key}", numbers), chosen], {"axis": 0})
        for key, numbers in (("starts", starts), ("ends", ends))
    ]
    together = constant(model, f"{name}.tasks", np.concatenate(tensors, axis=axis))
    along = constant(model, f"{name}.axis", np.array([axis]))
    return [*places, ir.node("Slice", [together, *(node.outputs[0] for node in places), along])]


def _different(*shapes: Sequence[Any]) -> list[int]:
    """The dimensions in which shapes of as many dimensions differ."""
    return [axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1]


def _forget_sizes(model: ir.Model, graphs: Sequence[ir.Model]) -> None:
    """Let no value have a fixed size that it has for the first task alone."""
    for index, output in enumerate(model.graph.outputs):
        shapes = [tuple(graph.graph.outputs[index].shape or ()) for graph in graphs]
        output.shape = ir.Shape([sizes[0] if len(set(map(str, sizes))) == 1 else None for sizes in zip(*shapes, strict=True)])
    kept = {*model.graph.outputs, *model.graph.inputs, *model.graph.initializers.values()}
    for value in (value for node in model.graph for value in node.outputs if value not in kept):
        value.shape = None
