"""Vectors as an index keeps them, a byte or a bit for each number, given by a sentence embedder's file itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import onnx_ir as ir
from pydantic import Field
from transformers import PreTrainedModel

from compress.errors import CompressError, InputError
from compress.labels import listed
from compress.models.heads import head_of, label_names
from compress.runtimes.runtime import VECTORS
from compress.runtimes.table import DEFAULT, load_runtime
from compress.targets.onnx.graph import FILE
from compress.targets.onnx.lowering import constant
from compress.targets.onnx.versions import save_for_old_runtimes
from compress.tasks.compared_vectors import AS_BYTES, bytes_of, directions, steps_of
from compress.training.batches import sorted_batches

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

ShortVectors = Annotated[
    list[Literal["int8", "binary"]] | None,
    Field(min_length=1, description="of a sentence embedder, what the file gives besides: a byte or a bit for each number"),
]
TEXTS, BATCH_SIZE, CHECKED = 1000, 32, 2
BITS = (2.0 ** np.arange(7, -1, -1)).astype(np.float32)
TOLD = "short_vectors"
HALF, SHORTEST = 128, 1e-12
ROUNDED = {"int8": 1, "binary": 0}
"""By how much a whole number may be off: a half is rounded up or down."""


def refuse_no_vectors(vectors: Sequence[str], model: PreTrainedModel) -> None:
    """Raise InputError where a model answers with something else than vectors."""
    head = head_of(model)
    if not head.gives_vectors:
        answers = listed(label_names(model)) if head.is_named else "pieces of words"
        raise InputError(
            f"vectors is {list(vectors)}, but the model answers with {answers}; remove it, or use a task of "
            "sentence-embedding."
        )


def write_short_vectors(vectors: Sequence[str] | None, model: PreTrainedModel, folder: Path, task: Task) -> None:
    """Let model.onnx give its vectors, of length 1, in whole numbers too; and prove these.

    `sentence_embedding_int8` is int8: each number's range among up to 1,000 texts of the training part (of a search queries
    and documents) is divided into 256 steps, and what lies outside is moved to the range's end.
    `sentence_embedding_binary` is uint8: the signs of eight numbers in a byte, the first one highest, as `numpy.packbits` and
    faiss have it. What the file's metadata tells, under `short_vectors`, are the outputs' names, and of bytes `low` and `step`
    of each number: value = (byte + 128) * step + low.

    Source: sentence-transformers' `quantize_embeddings`, "int8" and "ubinary" (which cuts digits off where this rounds).

    Args:
        vectors: "int8", "binary" or both; None writes nothing.
        model: Which answers with vectors.
        folder: Holds model.onnx.
        task: Its training part's texts give the ranges.

    Raises:
        InputError: The model answers with something else.
        CompressError: The file's whole numbers are not those of its vectors.
    """
    if not vectors:
        return
    refuse_no_vectors(vectors, model)
    path, batches = folder / FILE, _batches(model, task)
    seen = [vectors for [vectors] in _answers(path, batches, (VECTORS,))]
    low, step = steps_of(directions(np.concatenate(seen)))
    facts: dict[str, dict[str, Any]] = {name: {"output": f"{VECTORS}_{name}"} for name in dict.fromkeys(vectors)}
    graph = ir.load(path)
    whole = next(output for output in graph.graph.outputs if output.name == VECTORS)
    unit = _of_length_1(graph, whole)
    if "int8" in facts:
        facts["int8"] |= {"low": low.tolist(), "step": step.tolist()}
        _add_bytes(graph, unit, facts["int8"]["output"], low, step)
    if "binary" in facts:
        _add_bits(graph, whole, facts["binary"]["output"], len(low))
    graph.metadata_props[TOLD] = json.dumps(facts)
    save_for_old_runtimes(graph, path)
    for before, after in zip(
        seen, _answers(path, batches[:CHECKED], [entry["output"] for entry in facts.values()]), strict=False
    ):
        _check(path, before, dict(zip(facts, after, strict=True)), low, step)


def _batches(model: PreTrainedModel, task: Task) -> list[dict[str, np.ndarray]]:
    """Texts of the training part, evenly spread."""
    encoded = task.encode(task.train.require("train"), model.tokenizer)
    chosen = np.linspace(0, len(encoded) - 1, min(TEXTS, len(encoded))).round().astype(int)
    return [encoded.batch(chosen[batch].tolist()) for batch in sorted_batches(np.asarray(encoded.lengths)[chosen], BATCH_SIZE)]


def _answers(path: Path, batches: Sequence[dict[str, np.ndarray]], names: Sequence[str]) -> Iterator[list[np.ndarray]]:
    session = load_runtime(DEFAULT).graph(path)
    for batch in batches:
        given = session.run({name: batch[name] for name in session.inputs})
        yield [given[name] for name in names]


def _check(path: Path, vectors: np.ndarray, given: dict[str, np.ndarray], low: np.ndarray, step: np.ndarray) -> None:
    expected = {"int8": bytes_of(directions(vectors), low, step) - HALF, "binary": np.packbits(vectors > 0, axis=1)}
    apart = {name: np.abs(expected[name].astype(np.int64) - codes) for name, codes in given.items()}
    if any(errors.max() > ROUNDED[name] for name, errors in apart.items()):
        raise CompressError(f"{path} does not give its vectors in whole numbers as it gives them in float; leave vectors out.")


def _of_length_1(graph: ir.Model, vectors: ir.Value) -> ir.Value:
    total = _then(graph, "ReduceSum", _then(graph, "Mul", vectors, vectors), constant(graph, f"{VECTORS}.axis", np.array([1])))
    shortest = constant(graph, f"{VECTORS}.shortest", np.array(SHORTEST, dtype=np.float32))
    return _then(graph, "Div", vectors, _then(graph, "Max", _then(graph, "Sqrt", total), shortest))


def _add_bytes(graph: ir.Model, unit: ir.Value, name: str, low: np.ndarray, step: np.ndarray) -> None:
    made = unit
    for operator, values in (("Sub", low), ("Div", step)):
        made = _then(graph, operator, made, constant(graph, f"{name}.{operator}", values.astype(np.float32)))
    ends = [constant(graph, f"{name}.{end}", np.array(value, dtype=np.float32)) for end, value in AS_BYTES.items()]
    made = _then(graph, "Clip", _then(graph, "Round", made), *ends)
    half = constant(graph, f"{name}.half", np.array(HALF, dtype=np.float32))
    _give(graph, _then(graph, "Sub", made, half), name, ir.DataType.INT8, len(low))


def _add_bits(graph: ir.Model, vectors: ir.Value, name: str, width: int) -> None:
    zero = constant(graph, f"{name}.zero", np.array(0, dtype=np.float32))
    signs = _cast(graph, _then(graph, "Greater", vectors, zero), ir.DataType.FLOAT)
    missing = -width % 8
    if missing:
        signs = _then(graph, "Pad", signs, constant(graph, f"{name}.pads", np.array([0, 0, 0, missing], dtype=np.int64)))
    octets = (width + missing) // 8
    eights = _then(graph, "Reshape", signs, constant(graph, f"{name}.eights", np.array([-1, octets, 8])))
    valued = _then(graph, "Mul", eights, constant(graph, f"{name}.values", BITS))
    total = _then(graph, "ReduceSum", valued, constant(graph, f"{name}.axis", np.array([2])))
    flat = _then(graph, "Reshape", total, constant(graph, f"{name}.flat", np.array([-1, octets])))
    _give(graph, flat, name, ir.DataType.UINT8, octets)


def _then(graph: ir.Model, operator: str, *inputs: ir.Value) -> ir.Value:
    node = ir.node(operator, list(inputs))
    graph.graph.append(node)
    return node.outputs[0]


def _cast(graph: ir.Model, values: ir.Value, kind: ir.DataType) -> ir.Value:
    node = ir.node("Cast", [values], attributes={"to": int(kind)})
    graph.graph.append(node)
    return node.outputs[0]


def _give(graph: ir.Model, values: ir.Value, name: str, kind: ir.DataType, width: int) -> None:
    """Make values, cast, an output."""
    given = _cast(graph, values, kind)
    given.name, given.dtype = name, kind
    given.shape = ir.Shape([next(iter(graph.graph.inputs[0].shape or ["batch"])), width])
    graph.graph.outputs.append(given)
