"""Folders that are no whole model of a family here are refused with cause and cure, and wrappers' names are stripped."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForTokenClassification,
    PreTrainedModel,
)

from compress.errors import InputError
from compress.models.checkpoint import load, save
from compress.models.checkpoint.masked_lm import load_masked_lm
from compress.models.head import SINGLE_LABEL_HEAD
from tests.models.checkpoint.changing import Weights, change_weights, set_json
from tests.models.checkpoint.test_loading import without_head
from tests.tiny_models import PIECES, differences, logits_of, state_of, tiny_bert, tiny_of, tiny_tokenizer

SIZES = {
    "vocab_size": len(PIECES),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
}


@pytest.fixture
def folder(model: PreTrainedModel, tmp_path: Path) -> Path:
    """A saved model, without what this toolkit alone writes."""
    saved = save(model, tmp_path / "saved")
    (saved / "structure.json").unlink()
    return saved


def saved_as(kind: type[PreTrainedModel], folder: Path, **changes: Any) -> Path:
    """A checkpoint of another class, as transformers saves it."""
    kind(BertConfig(**SIZES, **changes)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def prefixed(start: str) -> Callable[[Weights], Weights]:
    """All names with something before them."""
    return lambda weights: {f"{start}{name}": tensor for name, tensor in weights.items()}


# -- wrappers


@pytest.mark.parametrize(
    "start",
    [
        "_orig_mod.",
        "module.",
        "model.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "net.model.",
        "_forward_module.",
        "bert_model.",
        "_fsdp_wrapped_module.",
        "student.",
        "bert.",
        "0.auto_model.",
        "encoder.",
    ],
)
def test_what_all_names_begin_with_is_stripped(start: str, folder: Path, model: PreTrainedModel) -> None:
    change_weights(folder, prefixed(start))
    assert torch.equal(logits_of(load(folder)), logits_of(model))


def test_wrappers_within_names_are_stripped(folder: Path, model: PreTrainedModel) -> None:
    """As FSDP and activation checkpointing leave them."""

    def wrap(weights: Weights) -> Weights:
        return {
            f"_fsdp_wrapped_module.{name.replace('encoder.layer.', 'encoder._orig_mod.layer.')}".replace(
                ".attention.", "._checkpoint_wrapped_module._fsdp_wrapped_module.attention."
            ): tensor
            for name, tensor in weights.items()
        }

    change_weights(folder, wrap)
    assert torch.equal(logits_of(load(folder)), logits_of(model))


def test_a_base_model_in_a_wrapper_gets_a_new_head(folder: Path, model: PreTrainedModel) -> None:
    change_weights(folder, lambda weights: prefixed("model.")(without_head(weights)) | {"loss.weight": torch.zeros(2)})
    loaded = load(folder)
    assert loaded.has_new_head
    assert all(name.startswith(("classifier.", "bert.pooler.")) for name in differences(state_of(loaded), state_of(model)))


@pytest.mark.parametrize("kind", ["distilbert", "albert", "mobilebert"])
def test_every_family_is_found_in_wrappers(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    folder = save(model, tmp_path / "saved")
    change_weights(folder, prefixed("_orig_mod.module.model."))
    assert not differences(state_of(load(folder)), state_of(model))


def test_a_head_for_masked_words_is_found_in_a_wrapper(tmp_path: Path) -> None:
    folder = saved_as(BertForMaskedLM, tmp_path / "saved")
    before = load_masked_lm(folder)
    change_weights(folder, prefixed("module."))
    assert not differences(state_of(load_masked_lm(folder)), state_of(before))


def test_a_copy_of_the_word_table_counts_for_nothing_where_tables_are_tied(tmp_path: Path) -> None:
    folder = saved_as(BertForMaskedLM, tmp_path / "saved")
    before = load_masked_lm(folder)
    change_weights(folder, lambda weights: weights | {"cls.predictions.decoder.weight": torch.ones(len(PIECES), 16)})
    assert not differences(state_of(load_masked_lm(folder)), state_of(before))
    set_json(folder / "config.json", tie_word_embeddings=False)
    own = state_of(load_masked_lm(folder))
    assert own["cls.predictions.decoder.weight"].eq(1).all()
    table = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(own[table], state_of(before)[table])


def as_family(prefix: str) -> Callable[[Weights], Weights]:
    """The names that weights of another family have."""
    return lambda weights: {name.replace("bert.", prefix): tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda weights: prefixed("teacher.")(weights) | prefixed("student.")(weights),
            "2 models, under 'student.', 'teacher.'",
        ),
        (lambda weights: weights | {"module.classifier.bias": torch.zeros(2)}, "holds 'classifier.bias' twice"),
        (
            lambda weights: prefixed("model.")(weights) | {"classifier.bias": torch.zeros(2)},
            "of one name with 'model.' before it",
        ),
        (as_family("roberta."), "those of a roberta, which"),
        (as_family("electra."), "those of a electra, which"),
        (as_family("model.xlm_roberta."), "those of a xlm_roberta"),
        (as_family("distilbert."), "those of a distilbert"),
    ],
)
def test_weights_of_several_models_or_of_another_are_refused(
    change: Callable[[Weights], Weights], said: str, folder: Path
) -> None:
    change_weights(folder, change)
    with pytest.raises(InputError, match=said):
        load(folder)


# -- what is no plain model


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight", "adapter of PEFT that was not merged"),
        ("bert.encoder.layer.0.attention.self.query.base_layer.weight", "adapter of PEFT that was not merged"),
        ("bert.encoder.layer.0.attention.self.distance_embedding.weight", "tables for relative positions"),
        ("bert.encoder.layer.0.attention.self.query.SCB", "bitsandbytes has quantized"),
        ("bert.encoder.layer.0.attention.self.query.weight.absmax", "bitsandbytes has quantized"),
        ("bert.encoder.layer.0.attention.self.query.weight.quant_state.bitsandbytes__nf4", "bitsandbytes has quantized"),
        ("bert.encoder.layer.0.attention.self.query.qweight", "GPTQ or AWQ has quantized"),
        ("bert.encoder.layer.0.attention.self.query.weight_packed", "compressed-tensors has quantized"),
        ("bert.encoder.layer.0.attention.self.query.weight_scale", "compressed-tensors has quantized"),
    ],
)
def test_weights_that_a_program_has_changed_are_refused_by_its_name(name: str, said: str, folder: Path) -> None:
    change_weights(folder, lambda weights: weights | {name: torch.zeros(2)})
    with pytest.raises(InputError, match=said):
        load(folder)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_weights_of_eight_bits_are_refused_by_their_type(kind: torch.dtype, folder: Path) -> None:
    change_weights(folder, lambda weights: weights | {"bert.pooler.dense.weight": torch.ones(16, 16).to(kind)})
    with pytest.raises(InputError, match=rf"bert\.pooler\.dense\.weight is of type {kind}, not a float"):
        load(folder)


def test_an_adapter_alone_is_refused_with_the_command_that_merges_it(tmp_path: Path) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "x"}))
    with pytest.raises(InputError, match=r"holds an adapter of PEFT .*merge it first: python -c .*AutoPeftModelForSequenceCl"):
        load(tmp_path)
    path.write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(InputError, match=r"merge it first: load its model with the class that it was trained with, then"):
        load(tmp_path)


def test_code_that_comes_with_a_checkpoint_is_refused_by_name(folder: Path) -> None:
    set_json(folder / "config.json", auto_map={"AutoConfig": "theirs.Theirs", "AutoModel": "theirs.Model"})
    with pytest.raises(InputError, match=r"auto_map names code that comes with the checkpoint \('theirs.Theirs'\), which is"):
        load(folder)
    set_json(folder / "config.json", auto_map={"AutoTokenizer": ["theirs.Theirs", None]})
    load(folder)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (BertForTokenClassification, "is 'BertForTokenClassification': its head labels each token"),
        (BertForQuestionAnswering, "is 'BertForQuestionAnswering': its head finds the answer"),
        (BertForMultipleChoice, "is 'BertForMultipleChoice': its head chooses one of several texts"),
    ],
)
def test_a_head_of_another_task_is_refused_by_name(kind: type[PreTrainedModel], said: str, tmp_path: Path) -> None:
    folder = saved_as(kind, tmp_path / "saved")
    with pytest.raises(InputError, match=said):
        load(folder, head=SINGLE_LABEL_HEAD)
    set_json(folder / "config.json", architectures=None)
    with pytest.raises(InputError, match=r"its head labels each token|finds the answer|answers one number"):
        load(folder, head=SINGLE_LABEL_HEAD)


def test_a_distilbert_that_labels_tokens_is_told_by_what_its_head_lacks(tmp_path: Path) -> None:
    config = DistilBertConfig(vocab_size=len(PIECES), dim=16, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=24)
    DistilBertForTokenClassification(config).save_pretrained(tmp_path)
    set_json(tmp_path / "config.json", architectures=None)
    with pytest.raises(InputError, match="is a model for TokenClassification: its head labels each token"):
        load(tmp_path, head=SINGLE_LABEL_HEAD)


def test_one_logit_is_refused_in_its_own_words(tmp_path: Path) -> None:
    folder = save(tiny_bert(labels=("score",)), tmp_path / "saved")
    with pytest.raises(InputError, match=r"answers one number \(a score, as rerankers and similarity models give\)"):
        load(folder, head=SINGLE_LABEL_HEAD)
    assert load(folder).config.problem_type == "regression"


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM, BertForPreTraining])
def test_checkpoints_without_such_a_head_get_a_new_one(kind: type[PreTrainedModel], tmp_path: Path) -> None:
    assert load(saved_as(kind, tmp_path / "saved"), labels=("bad", "good")).has_new_head


def test_a_checkpoint_of_masked_words_has_its_own_head_where_nobody_asks_for_another(tmp_path: Path) -> None:
    model = load(saved_as(BertForMaskedLM, tmp_path / "saved"))
    assert isinstance(model, BertForMaskedLM)
    assert not model.has_new_head


# -- configurations


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["BertForSequenceClassification"]}, 'has no model_type; add "model_type": "bert"'),
        ({"architectures": ["AlbertModel"]}, 'add "model_type": "albert"'),
        ({"architectures": None}, 'add "model_type": "bert"'),
        ({"architectures": None, "trigram_input": True, "intra_bottleneck_size": 8}, 'add "model_type": "mobilebert"'),
        ({"architectures": ["FunnelForSequenceClassification"]}, "write the one that it was trained as; allowed: bert"),
        ({"architectures": ["XLMRobertaForMaskedLM"]}, 'add "model_type": "xlm-roberta"'),
        ({"architectures": 5}, 'add "model_type": "bert"'),
    ],
)
def test_a_configuration_without_model_type_is_told_which_one_to_write(
    changes: dict[str, Any], said: str, folder: Path
) -> None:
    set_json(folder / "config.json", model_type=None, **changes)
    with pytest.raises(InputError, match=said):
        load(folder)


@pytest.mark.parametrize(
    "kind", ["funnel", "rembert", "deberta", "gte", ["bert"], {"bert": 1}, 5, True, "", "x" * 5000, ["x"] * 5000]
)
def test_other_families_are_refused_and_shown_shortened(kind: Any, folder: Path) -> None:
    set_json(folder / "config.json", model_type=kind)
    with pytest.raises(InputError, match=r"config\.json: model_type is .*allowed: bert, distilbert") as caught:
        load(folder)
    assert len(str(caught.value)) < 600


# -- files


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tf_model.h5", r"holds tf_model\.h5, weights of TensorFlow.*from_tf=True"),
        ("flax_model.msgpack", "weights of Flax"),
        ("model.gguf", "a file for llama.cpp"),
        ("onnx/model.onnx", r"holds onnx/model\.onnx, an exported file"),
        ("model.onnx", "an exported file"),
        ("bert_model.ckpt.index", "a checkpoint of TensorFlow 1"),
        ("openvino_model.xml", "a file of OpenVINO"),
        ("global_step500/mp_rank_00_model_states.pt", "zero_to_fp32.py"),
        ("pytorch_model_fsdp_0/__0_0.distcp", "accelerate merge-weights"),
        ("optimizer.pt", r"has no model\.safetensors"),
        ("model-00001-of-00002.safetensors", r"has no model\.safetensors, only model-00001-of-00002\.safetensors; fetch all"),
        ("adapter_model.safetensors", r"has no model\.safetensors, only adapter_model"),
        ("checkpoint-9/model.safetensors", r"has no model\.safetensors; give the folder of a whole model"),
    ],
)
def test_what_is_there_instead_of_safetensors_is_named(name: str, said: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(InputError, match=said):
        load(folder)


@pytest.mark.parametrize("inner", [("checkpoint-500", "checkpoint-1000"), ("0_Transformer",), ("saved/best",)])
def test_a_model_further_down_is_named(inner: tuple[str, ...], model: PreTrainedModel, tmp_path: Path) -> None:
    for name in inner:
        save(model, tmp_path / "out" / name)
    with pytest.raises(InputError, match=rf"has no config\.json, but .*give that folder, .*{inner[-1]}\.$"):
        load(tmp_path / "out")


def test_a_checkpoint_as_google_published_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "bert_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"has bert_config\.json and no config\.json: a checkpoint as Google published it"):
        load(tmp_path)


def test_a_shard_outside_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    for outside in ("../model.safetensors", "/etc/passwd", "a/b.safetensors", ".."):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": outside}}))
        with pytest.raises(InputError, match=rf"index\.json: weight_map names '{outside}', which is no file of this folder"):
            load(folder)


def test_one_file_comes_before_an_index_as_in_transformers(folder: Path, model: PreTrainedModel) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert torch.equal(logits_of(load(folder)), logits_of(model))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "structure.json"])
def test_links_to_nowhere_and_folders_in_a_file_s_place_are_named(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder / "gone")
    with pytest.raises(InputError, match=rf"{name} \(?(it )?is a link to .*gone, which is not there"):
        load(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(InputError, match=rf"{name} \(?(it )?is a folder, not a file"):
        load(folder)


# -- the command for a pickle


def command_in(folder: Path) -> str:
    """The command of the message about a pickle."""
    with pytest.raises(InputError, match="convert it once with: python -c") as caught:
        load(folder)
    return str(caught.value).partition("convert it once with: ")[2].partition(" on a machine")[0]


@pytest.mark.parametrize(
    ("architecture", "auto"),
    [
        ("BertModel", "AutoModel"),
        ("BertForMaskedLM", "AutoModelForMaskedLM"),
        ("BertForPreTraining", "AutoModelForPreTraining"),
        ("BertForSequenceClassification", "AutoModelForSequenceClassification"),
        ("BertForTokenClassification", "AutoModelForTokenClassification"),
        ("BertLMHeadModel", None),
        ("JinaBertModel", None),
        (None, None),
    ],
)
def test_the_command_keeps_the_checkpoint_s_own_class(architecture: str | None, auto: str | None, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    set_json(folder / "config.json", architectures=architecture and [architecture])
    command = command_in(folder)
    assert (f"from transformers import {auto} as M;" if auto else "weights_only=True") in command
    assert not auto or "AutoModel" in command


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["BertModel", None])
def test_the_command_makes_no_head_that_the_checkpoint_did_not_have(
    architecture: str | None, model: PreTrainedModel, tmp_path: Path
) -> None:
    """A random head that is saved counts as a trained one from then on."""
    folder = save(model, tmp_path / 'it\'s a "name" with $HOME')
    weights = without_head(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    set_json(folder / "config.json", architectures=architecture and [architecture])
    python, *words = shlex.split(command_in(folder))
    assert python == "python"
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=300)
    loaded = load(folder)
    assert loaded.has_new_head
    assert torch.equal(loaded.bert.embeddings.word_embeddings.weight, model.bert.embeddings.word_embeddings.weight)


def test_a_damaged_shard_names_the_file(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "a.safetensors")
    (folder / "b.safetensors").write_bytes(b"x")
    index = {"weight_map": dict.fromkeys(weights, "a.safetensors") | {"classifier.bias": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"b\.safetensors is damaged or cut short"):
        load(folder)
