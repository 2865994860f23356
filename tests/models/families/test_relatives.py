"""Relatives of BERT and of ModernBERT answer as in transformers, whole and cut, and are read as others write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.attention.kernel import attention_kernel
from compress.models.families import encoder_family, inputs_of
from compress.models.fused import new_model
from compress.models.head import MASKED, OF_TOKENS
from compress.models.layout import encoder_layers, head_count
from compress.models.surgery import keep_heads, keep_layers
from compress.training.step_context import StepContext
from tests.models.checkpoint.changing import set_json
from tests.tiny_models import LONGEST, in_transformers, logits_of, tiny_of, tokens, toy_task

CPU = StepContext(device="cpu")
LENGTHS = [(9, 4, 1, 7), (6, 6), (1,), (LONGEST,)]
RELATIVES = ("ernie", "megatron-bert", "data2vec-text", "nomic_bert", "eurobert")
every_relative = pytest.mark.parametrize("kind", RELATIVES)


def logits_with_gradients(model: PreTrainedModel) -> torch.Tensor:
    reads = inputs_of(model.config)
    logits: torch.Tensor = model(**{name: values for name, values in tokens().items() if name in reads}).logits
    return logits


@every_relative
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_it_answers_as_in_transformers(kind: str, kernel: str) -> None:
    model = tiny_of(kind)
    plain = in_transformers(model)
    with attention_kernel(model, kernel):
        for lengths in LENGTHS:
            batch = tokens(lengths=lengths)
            torch.testing.assert_close(logits_of(model, **batch), logits_of(plain, **batch))


@every_relative
def test_gradients_are_those_of_transformers(kind: str) -> None:
    model = tiny_of(kind)
    plain = in_transformers(model)
    for each in (model, plain):
        logits_with_gradients(each).sum().backward()
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-4, rtol=1e-3)


@every_relative
def test_a_saved_model_is_read_by_transformers(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    folder = cp.save(model, tmp_path / "saved")
    read = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    torch.testing.assert_close(logits_of(read), logits_of(model))


@every_relative
def test_what_transformers_saves_is_read(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    folder = cp.save(model, tmp_path / "saved")
    in_transformers(model).save_pretrained(folder)
    torch.testing.assert_close(logits_of(cp.load(folder)), logits_of(model))


def test_what_nomic_s_own_names_tell_is_read(tmp_path: Path) -> None:
    """As transformers turns them around when it saves: one matrix for query, key and value, and other names."""
    model = tiny_of("nomic_bert")
    folder = cp.save(model, tmp_path / "saved")
    in_transformers(model).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for theirs_, own in encoder_family("nomic_bert").told_as.items():
        config[theirs_] = config.pop(own)
    (folder / "config.json").write_text(json.dumps(config))
    names = load_file(folder / "model.safetensors").keys()
    assert "nomic_bert.encoder.layers.0.attn.Wqkv.weight" in names
    assert not any("q_proj" in name for name in names)
    torch.testing.assert_close(logits_of(cp.load(folder)), logits_of(model))


@torch.no_grad()
@every_relative
@pytest.mark.parametrize("keep", [[[1, 3], [0, 1, 2, 3]], [[], [2]]])
def test_heads_that_stay_answer_as_before(kind: str, keep: list[list[int]], tmp_path: Path) -> None:
    model, family = tiny_of(kind), encoder_family(kind)
    silent = keep_heads(model, [[0, 1, 2, 3]] * 2)
    for layer, heads in zip(encoder_layers(silent), keep, strict=True):
        for head in set(range(4)) - set(heads):
            layer.get_submodule(family.context).weight[:, 4 * head : 4 * head + 4] = 0
    cut = keep_heads(model, keep)
    assert [head_count(layer) for layer in encoder_layers(cut)] == [len(heads) for heads in keep]
    torch.testing.assert_close(logits_of(cut), logits_of(silent))
    assert torch.equal(logits_of(cp.load(cp.save(cut, tmp_path / "cut"))), logits_of(cut))


@every_relative
def test_one_layer_alone_answers_as_transformers_would(kind: str) -> None:
    student = keep_layers(tiny_of(kind, layers=3), [1])
    torch.testing.assert_close(logits_of(student), logits_of(in_transformers(student)))


def test_an_ernie_without_kinds_of_tasks_has_no_table_for_them() -> None:
    with_them, without = (tiny_of("ernie", use_task_id=reads) for reads in (True, False))
    assert with_them.base_model.embeddings.task_type_embeddings.weight.shape == (3, 16)
    assert not hasattr(without.base_model.embeddings, "task_type_embeddings")


def test_an_ernie_s_width_is_cut_with_its_kinds_of_tasks() -> None:
    model = tiny_of("ernie")
    narrow = cp.prune_width(model, width=12, multiple_of=4, task=toy_task(), run=CPU)
    assert narrow.base_model.embeddings.task_type_embeddings.weight.shape == (3, 12)
    assert torch.isfinite(logits_of(narrow)).all()


def test_a_eurobert_whose_head_has_a_matrix_of_its_own_keeps_it(tmp_path: Path) -> None:
    """Its checkpoints do not tie the head for masked words to the word table."""
    head = OF_TOKENS[MASKED]
    config = tiny_of("eurobert", tie_word_embeddings=False).config
    config.architectures = ["EuroBertForMaskedLM"]
    model: Any = new_model(encoder_family("eurobert").classes[MASKED], config)
    model.tokenizer = tiny_of("eurobert").tokenizer
    folder = cp.save(model.eval(), tmp_path / "saved")
    loaded: Any = cp.load(folder, head=head, labels=())
    assert not loaded.has_new_head
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(loaded.lm_head.weight, loaded.get_input_embeddings().weight)


@pytest.mark.parametrize(
    ("kind", "key", "value", "wrong"),
    [
        ("eurobert", "num_key_value_heads", 2, "num_key_value_heads is 2, but num_attention_heads 4"),
        ("eurobert", "rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}, "rope_type default"),
        ("nomic_bert", "rope_parameters", {"rope_type": "linear", "rope_theta": 1e3, "factor": 2.0}, "rope_type default"),
        ("data2vec-text", "pad_token_id", None, "pad_token_id is None"),
    ],
)
def test_a_configuration_that_it_would_not_follow_is_refused(
    kind: str, key: str, value: object, wrong: str, tmp_path: Path
) -> None:
    folder = cp.save(tiny_of(kind), tmp_path / "saved")
    set_json(folder / "config.json", **{key: value})
    with pytest.raises(InputError, match=wrong):
        cp.load(folder)


@pytest.mark.parametrize("kind", ["megatron-bert", "nomic_bert", "eurobert"])
def test_it_is_refused_where_it_cannot_be_narrow_or_see_far(kind: str) -> None:
    model = tiny_of(kind)
    with pytest.raises(InputError, match=f"the attention of a {kind} cannot be swapped"):
        cp.swap_attention(model, kind="longformer", window=8, task=toy_task(), run=CPU)
    with pytest.raises(InputError, match=f"the stream between the layers of a {kind} cannot be narrowed"):
        cp.prune_width(model, width=12, task=toy_task(), run=CPU)
