"""Where a file's bytes are: in the word table, in which layer, in the head."""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compress.benchmark.counts import graph_of
from compress.benchmark.subjects import Subject, weight_files
from compress.runtimes.graph_files import graph_files

WORDS, EMBEDDINGS, HEAD, REST = "word table", "other embeddings", "head", "the rest"
LAYER = re.compile(r"(?:layers?|blocks?|h)[._](\d+)[._]")
NAMED = (
    (re.compile(r"(?:word_embeddings?|tok_embeddings|embed_tokens)\b"), WORDS),
    (re.compile(r"embedding"), EMBEDDINGS),
    (re.compile(r"(?:^|[._])(?:pre_)?(?:classifier|pooler|qa_outputs|head|lm_head|vocab_\w+|predictions|score)[._]"), HEAD),
)
FOUR_BITS = ("UINT4", "INT4", "FLOAT4E2M1")


def part_of(name: str) -> str | None:
    """The part of a model that a tensor belongs to by its name; None where that does not tell."""
    layer = LAYER.search(name)
    if layer:
        return f"layer {int(layer[1])}"
    return next((part for pattern, part in NAMED if pattern.search(name)), None)


def size_by_part(subject: Subject, size_bytes: int) -> dict[str, int]:
    """The bytes of each part of a subject's files, in the order of the flow; what is left, such as the graph, is the rest.

    Args:
        subject: Stored.
        size_bytes: Of all its files.
    """
    if subject.file is None:
        sizes = Counter[str]()
        for path in weight_files(subject.path):
            sizes.update(_of_names(_safetensors(path)))
    else:
        sizes = sum((_of_graph(graph_of(path)) for path in graph_files(subject.file)), Counter())
    sizes[REST] += size_bytes - sizes.total()
    return {part: sizes[part] for part in sorted(sizes, key=_place) if sizes[part] > 0}


def _place(part: str) -> tuple[int, int]:
    fixed = {WORDS: 0, EMBEDDINGS: 1, HEAD: 3, REST: 4}
    return (fixed[part], 0) if part in fixed else (2, int(part.split()[1]))


def _of_names(tensors: Iterable[tuple[str, int]]) -> Counter[str]:
    sizes = Counter[str]()
    for name, size in tensors:
        sizes[part_of(name) or REST] += size
    return sizes


def _safetensors(path: Path) -> list[tuple[str, int]]:
    """The names and bytes of a file's tensors, which stand in its beginning.

    Source: https://github.com/huggingface/safetensors#format
    """
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return [
        (name, entry["data_offsets"][1] - entry["data_offsets"][0]) for name, entry in header.items() if name != "__metadata__"
    ]


def _of_graph(graph: Any) -> Counter[str]:
    """The bytes of a graph's tensors by part. Exporters rename some weights; such a one belongs to the next tensor in the
    order of the graph that has kept its name, which is the bias of the same product."""
    tensors = {tensor.name: _bytes_of(tensor) for tensor in graph.initializer}
    used = list(dict.fromkeys(name for node in graph.node for name in node.input if name in tensors))
    sizes, part = Counter[str](), None
    for name in reversed(used):
        part = part_of(name) or part
        sizes[part or HEAD] += tensors.pop(name)
    return sizes + _of_names(tensors.items())


def _bytes_of(tensor: Any) -> int:
    from onnx import TensorProto, helper

    elements = math.prod(tensor.dims)
    if TensorProto.DataType.Name(tensor.data_type) in FOUR_BITS:
        return (elements + 1) // 2
    return int(elements * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
