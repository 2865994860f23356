"""What config.json says of how someone ran a model changes neither what it answers nor what is saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, GenerationConfig, PreTrainedModel

from compress.errors import InputError
from compress.methods.fine_tune import fine_tune
from compress.models.checkpoint import load, save
from compress.targets.exporting import export
from compress.targets.onnx.graph import in_onnxruntime
from tests.models.checkpoint.changing import change_weights, set_json
from tests.models.checkpoint.test_loading import without_head
from tests.tiny_models import SHAPES, differences, logits_of, state_of, tiny_bert, tiny_of, toy_task

SWITCHES: dict[str, list[Any]] = {
    "return_dict": [False, None],
    "use_return_dict": [False],
    "torchscript": [True],
    "output_attentions": [True],
    "output_hidden_states": [True, None],
    "output_router_logits": [True],
    "chunk_size_feed_forward": [4, 1, 7],
    "use_cache": [False, True],
    "gradient_checkpointing": [True],
    "_attn_implementation_internal": ["sdpa"],
    "attn_implementation": ["flash_attention_2", "eager", {"": "x"}],
    "_attn_implementation": ["flash_attention_2"],
    "_attn_implementation_autoset": [True],
    "_experts_implementation": ["grouped_mm"],
    "torch_dtype": ["float16", "nonsense", 5],
    "dtype": ["bfloat16", "nonsense", {"": "float16"}],
    "quantization_config": [{"quant_method": "bitsandbytes", "load_in_8bit": True}],
    "tie_word_embeddings": [False],
    "is_encoder_decoder": [True],
    "is_causal": [False],
    "tie_last_hidden_states": [True],
    "pruned_heads": [{}, None],
    "num_labels": [7, 1, 10**9, "two", None],
    "_num_labels": [5],
    "name_or_path": ["somewhere"],
    "sliding_window": [2],
    "attention_chunk_size": [2],
    "layer_types": [["sliding_attention"]],
    "rope_scaling": [{"type": "x"}],
    "rope_theta": [1.0],
    "text_config": [{"hidden_size": 5}],
    "decoder": ["x"],
    "generator": [{}],
    "loss_type": ["ForMaskedLM"],
    "per_layer_config": [None, {}],
    "attribute_map": [{"hidden_size": "vocab_size"}],
    "to_dict": [5],
    "save_pretrained": ["x"],
    "base_model_tp_plan": [{"*": "colwise"}],
    "distributed_config": [{"tp_size": 2}],
    "device_map": ["auto"],
    "transformers_weights": ["other.safetensors"],
    "_name_or_path": [5],
    "use_bfloat16": [True],
    "tokenizer_class": [None],
    "position_embedding_type": ["absolute", None],
    "finetuning_task": ["sst2"],
    "initializer_factor": [3],
    "sub_configs": [[1]],
    "true_hidden_size": [3],
}
GENERATION = {
    name: value
    for name, value in GenerationConfig(max_length=7, num_beams=3, temperature=0.5).to_dict().items()
    if not name.endswith("_token_id")
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in SWITCHES.items() for value in values])
def test_a_switch_changes_neither_the_answers_nor_what_is_saved(
    key: str, value: Any, model: PreTrainedModel, tmp_path: Path
) -> None:
    plain, switched = save(model, tmp_path / "plain"), save(model, tmp_path / "switched")
    set_json(switched / "config.json", **{key: value})
    loaded = load(switched)
    assert torch.equal(logits_of(loaded), logits_of(model))
    saved = save(loaded, tmp_path / "again")
    config, expected = (
        json.loads((path / "config.json").read_text()) for path in (saved, save(load(plain), tmp_path / "own"))
    )
    assert config == expected | ({"tie_word_embeddings": False} if key == "tie_word_embeddings" else {})
    theirs = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    torch.testing.assert_close(logits_of(theirs), logits_of(model))


@pytest.mark.parametrize("kind", SHAPES)
def test_every_family_is_freed_of_all_switches_at_once(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    folder = save(model, tmp_path / "saved")
    switches = {key: values[0] for key, values in SWITCHES.items() if key not in SHAPES[kind]} | GENERATION
    set_json(folder / "config.json", **switches, **({"sinusoidal_pos_embds": True} if kind == "distilbert" else {}))
    batch = {"input_ids": torch.arange(5, 12)[None], "attention_mask": torch.ones((1, 7), dtype=torch.long)}
    loaded = load(folder)
    assert torch.equal(logits_of(loaded, **batch), logits_of(model, **batch))
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    save(loaded, tmp_path / "again")


def test_a_model_with_switches_is_trained_and_exported(model: PreTrainedModel, tmp_path: Path) -> None:
    folder, task = save(model, tmp_path / "saved"), toy_task()
    set_json(
        folder / "config.json",
        return_dict=False,
        torchscript=True,
        output_attentions=True,
        output_hidden_states=True,
        chunk_size_feed_forward=4,
        gradient_checkpointing=True,
    )
    trained = fine_tune(load(folder), task=task, epochs=1, batch_size=16)
    shipped = export(trained, tmp_path / "out", target="onnxruntime-cpu", task=task)
    batch = {name: values.numpy() for name, values in trained.tokenizer("a good film", return_tensors="pt").items()}
    answers = torch.from_numpy(in_onnxruntime(shipped.path / "model.onnx").run(batch))
    torch.testing.assert_close(
        answers, logits_of(trained, **trained.tokenizer("a good film", return_tensors="pt")), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"is_decoder": True}, "is_decoder is True; a decoder is not supported"),
        ({"is_causal": True}, "is_causal is True"),
        ({"per_layer_config": {"0": {"hidden_size": 8}}}, "per_layer_config is"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"position_embedding_type": ["absolute"]}, "position_embedding_type is"),
    ],
)
def test_what_is_no_switch_but_another_model_is_refused(
    changes: dict[str, Any], said: str, model: PreTrainedModel, tmp_path: Path
) -> None:
    folder = save(model, tmp_path / "saved")
    set_json(folder / "config.json", **changes)
    with pytest.raises(InputError, match=said):
        load(folder)


def test_two_names_for_one_value_must_agree(tmp_path: Path) -> None:
    model = tiny_of("distilbert")
    folder = save(model, tmp_path / "saved")
    set_json(folder / "config.json", hidden_size=16, num_hidden_layers=2, num_attention_heads=4)
    assert not differences(state_of(load(folder)), state_of(model))
    set_json(folder / "config.json", hidden_size=32)
    with pytest.raises(InputError, match="hidden_size is 32, but dim, the same by another name, is 16; keep one"):
        load(folder)


# -- precision


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_file_and_configuration_agree_on_the_precision(kind: torch.dtype, key: str, tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    change_weights(folder, lambda weights: {name: tensor.to(kind) for name, tensor in weights.items()})
    set_json(folder / "config.json", **{"dtype": None, key: str(kind).removeprefix("torch.")})
    saved = save(load(folder), tmp_path / "again")
    assert json.loads((saved / "config.json").read_text())["dtype"] == "float32"
    theirs = AutoModelForSequenceClassification.from_pretrained(saved)
    assert {tensor.dtype for tensor in theirs.state_dict().values()} == {torch.float32}


def test_a_checkpoint_of_several_precisions_becomes_float32(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = save(model, tmp_path / "saved")
    kinds = (torch.float16, torch.float32, torch.bfloat16, torch.float64)
    change_weights(folder, lambda weights: {name: weights[name].to(kinds[index % 4]) for index, name in enumerate(weights)})
    loaded = load(folder)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert json.loads((save(loaded, tmp_path / "again") / "config.json").read_text())["dtype"] == "float32"


def test_a_model_in_half_precision_is_saved_as_what_it_is(model: PreTrainedModel, tmp_path: Path) -> None:
    for kind, name in ((torch.float16, "float16"), (torch.bfloat16, "bfloat16"), (torch.float32, "float32")):
        saved = save(model.to(kind), tmp_path / name)
        assert json.loads((saved / "config.json").read_text())["dtype"] == name
    model.bert.pooler.half()
    assert json.loads((save(model, tmp_path / "mixed") / "config.json").read_text())["dtype"] == "float32"


def test_a_number_that_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    change_weights(folder, lambda weights: weights | {"classifier.bias": torch.tensor([1e300, 0.0], dtype=torch.float64)})
    with pytest.raises(InputError, match=r"classifier\.bias holds values that are too large for float32"):
        load(folder)


# -- token types


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["bert", "albert", "mobilebert"])
def test_a_model_of_one_token_type_reads_none(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind, type_vocab_size=1)
    folder, task = save(model, tmp_path / "saved"), toy_task()
    loaded = load(folder)
    pair = loaded.tokenizer("a good film", "the plot", return_tensors="pt")
    assert set(pair) == {"input_ids", "attention_mask"}
    assert torch.equal(logits_of(loaded, **pair), logits_of(model, **pair))
    shipped = export(loaded, tmp_path / "out", target="onnxruntime-cpu", task=task)
    assert json.loads((shipped.path / "bert_compress.json").read_text())["inputs"] == ["input_ids", "attention_mask"]
    opened = in_onnxruntime(shipped.path / "model.onnx")
    answers = torch.from_numpy(opened.run({name: values.numpy() for name, values in pair.items()}))
    torch.testing.assert_close(answers, logits_of(model, **pair), atol=1e-4, rtol=0)


def test_a_model_of_one_token_type_learns_pairs(tmp_path: Path) -> None:
    task = toy_task()
    parts: dict[str, Any] = {part.role: replace(part, pairs=part.texts[::-1]) for part in task.splits()}
    loaded = load(save(tiny_bert(type_vocab_size=1), tmp_path / "saved"))
    trained = fine_tune(loaded, task=replace(task, **parts), epochs=1, batch_size=16)
    assert differences(state_of(trained), state_of(loaded))


def test_a_table_of_more_token_types_is_read(tmp_path: Path) -> None:
    model = tiny_bert(type_vocab_size=5)
    loaded = load(save(model, tmp_path / "saved"))
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert "token_type_ids" in loaded.tokenizer("a", "b")


def test_a_table_without_token_types_is_refused(tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    set_json(folder / "config.json", type_vocab_size=0)
    change_weights(folder, lambda weights: weights | {"bert.embeddings.token_type_embeddings.weight": torch.zeros(0, 16)})
    with pytest.raises(InputError, match="type_vocab_size=0 must be a positive whole number"):
        load(folder)


def test_a_base_checkpoint_with_switches_gets_the_same_head(tmp_path: Path) -> None:
    plain, switched = save(tiny_bert(), tmp_path / "plain"), save(tiny_bert(), tmp_path / "switched")
    for folder in (plain, switched):
        change_weights(folder, without_head)
        (folder / "structure.json").unlink()
    switches: dict[str, Any] = {"torchscript": True, "torch_dtype": "float16", "num_labels": 10**9, "pruned_heads": {}}
    set_json(switched / "config.json", id2label=None, **switches)
    assert not differences(state_of(load(plain)), state_of(load(switched)))
