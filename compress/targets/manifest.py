"""Let transformers open an exported folder as one of its own exports: `transformers.exporters.ExportedModel`."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from compress.facts import MANIFEST
from compress.models.families import known_family
from compress.models.families.family import Family
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS
from compress.models.heads import head_of
from compress.targets.onnx.graph import FILE

SCHEMA = 1
OUTPUTS = {
    SEQUENCE: (SequenceClassifierOutput, ("logits",)),
    TOKENS: (TokenClassifierOutput, ("logits",)),
    MASKED: (MaskedLMOutput, ("logits",)),
    SPANS: (QuestionAnsweringModelOutput, ("start_logits", "end_logits")),
    SENTENCES: (BaseModelOutputWithPooling, ("last_hidden_state", "pooler_output")),
}
"""What transformers takes a head's outputs for, in their order: its class, and the fields."""
WEIGHTS = ".data"
"""Ends the name of a file beside the graph that transformers asks for whether the graph refers to it or not; here it is empty,
since the graph holds its weights."""
TYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.INT64: "int64"}


def write_manifest(model: PreTrainedModel, folder: Path, file: str = FILE) -> bool:
    """Write transformers' export.json and the empty weights file that it asks for, into a folder that has the graph.

    Source: transformers 5.23, exporters/base.py (`ExportedModel.save_pretrained`) and exporters/metadata.py.

    Args:
        model: Which the graph was exported from.
        folder: Where to.
        file: The graph's path from there.

    Returns:
        Whether it was written: not for a model of ours, whose configuration transformers cannot read, not for one that writes,
        whose parts are others there, and not for a file that gives more than transformers has names for.
    """
    if not isinstance(known_family(model), Family) or head_of(model).writes:
        return False
    graph = onnx.load(folder / file, load_external_data=False).graph
    head = head_of(model)
    kind, fields = OUTPUTS[head.architecture]
    if len(graph.output) > len(fields):
        return False
    output = kind(**{name: torch.empty(1) for name in fields})
    _, structure = torch.utils._pytree.tree_flatten(output)
    metadata = {
        "architecture": model.config.architectures[0],
        "export_dtype": TYPES[graph.output[0].type.tensor_type.elem_type],
        "export_device": "cpu",
        "kwargs": {
            value.name: {"rank": len(value.type.tensor_type.shape.dim), "dtype": TYPES[value.type.tensor_type.elem_type]}
            for value in graph.input
        },
        "out_spec": torch.utils._pytree.treespec_dumps(structure),
    }
    manifest = {
        "schema_version": SCHEMA,
        "export_format": "onnx",
        "components": {"model": {"file": file, "metadata": metadata}},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    (folder / f"{file}{WEIGHTS}").touch()
    return True
