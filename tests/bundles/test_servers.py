"""What servers ask of a folder before they serve it, as their sources and manuals say; none of them is run here."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from tests.bundles.answers import FP32, READ
from tests.bundles.conftest import BundleOf

pytestmark = [pytest.mark.slow, pytest.mark.matrix]
SERVED = ["text-classification", "regression", "reranking", "sentence-embedding"]
ALLOWED = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
TEI_OUTPUTS = {"logits", "sentence_embedding", "last_hidden_state", "token_embeddings"}


def _config(folder: Path, name: str = "config.json") -> dict[str, object]:
    values: dict[str, object] = json.loads((folder / name).read_text(encoding="utf-8"))
    return values


@pytest.mark.parametrize("kind", SERVED)
def test_text_embeddings_inference_finds_what_its_onnx_backend_reads(bundle_of: BundleOf, kind: str) -> None:
    """Source: text-embeddings-inference 1.9.3, backends/ort/src/lib.rs and router/src/lib.rs."""
    folder = bundle_of(kind)
    graph = onnx.load(folder / FP32).graph
    assert {value.name for value in graph.input} <= ALLOWED
    assert {value.name for value in graph.output} & TEI_OUTPUTS
    config = _config(folder)
    for key in ("hidden_size", "num_hidden_layers", "max_position_embeddings", "pad_token_id"):
        assert type(config[key]) is int, key
    assert (folder / "tokenizer.json").is_file()
    architecture = config["architectures"][0]  # type: ignore[index]
    if kind == "sentence-embedding":
        assert architecture == "BertModel"
        pooling = _config(folder / "1_Pooling")
        assert sum(bool(value) for key, value in pooling.items() if key.startswith("pooling_mode_")) == 1
    else:
        assert architecture.endswith("Classification")
        assert len(config["id2label"]) == len(config["label2id"])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", READ)
def test_triton_can_complete_the_configuration_of_the_graph(bundle_of: BundleOf, kind: str) -> None:
    """Source: Triton's manual, "Auto-generated model configuration": the first dimension of every end has to be free; and the
    graph is copied alone, without a file of weights."""
    model = onnx.load(bundle_of(kind) / FP32, load_external_data=False)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param, value.name
    assert not any(tensor.external_data for tensor in model.graph.initializer)
