"""Everything that is read is checked, and what is wrong is said."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification, PreTrainedModel

from compress.errors import InputError
from compress.models.checkpoint import load, save
from tests.models.test_structure import quantized
from tests.tiny_models import PIECES, differences, logits_of, state_of, tiny_bert, tiny_tokenizer

HEAD = ("classifier.", "bert.pooler.")
Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(model: PreTrainedModel, tmp_path: Path) -> Path:
    """A saved model."""
    return save(model, tmp_path / "saved")


def change_weights(folder: Path, change: Callable[[Weights], Weights]) -> None:
    """Write other weights into a folder."""
    path = folder / "model.safetensors"
    save_file(change({name: tensor.clone() for name, tensor in load_file(path).items()}), path)


def change_json(path: Path, **changes: Any) -> None:
    """Write other values into a JSON file; None takes a key out."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def without_head(weights: Weights) -> Weights:
    """Weights as a base checkpoint names them."""
    return {name.removeprefix("bert."): tensor for name, tensor in weights.items() if not name.startswith(HEAD)}


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.write_text, (self.path, "sprung")


# -- heads and labels


def test_a_base_checkpoint_gets_a_new_head_and_keeps_its_encoder(folder: Path, model: PreTrainedModel) -> None:
    change_weights(folder, without_head)
    loaded = load(folder, labels=["low", "middle", "high"])
    assert loaded.has_new_head is True
    assert loaded.config.id2label == {0: "low", 1: "middle", 2: "high"}
    assert loaded.config.label2id == {"low": 0, "middle": 1, "high": 2}
    assert loaded.classifier.weight.shape == (3, 16)
    assert all(name.startswith(HEAD) for name in differences(state_of(loaded), state_of(model)))


def test_a_new_head_is_the_seed_s(folder: Path) -> None:
    change_weights(folder, without_head)
    torch.manual_seed(99)
    first = load(folder, seed=1)
    torch.manual_seed(7)
    again, other = load(folder, seed=1), load(folder, seed=2)
    assert not differences(state_of(first), state_of(again))
    assert {"classifier.weight", "bert.pooler.dense.weight"} <= set(differences(state_of(first), state_of(other)))
    assert first.config.num_labels == 2


def test_loading_draws_nothing_from_the_caller_s_random_numbers(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(folder)
    assert torch.equal(torch.rand(3), expected)


def test_labels_come_from_the_configuration_in_the_order_of_their_ids(folder: Path) -> None:
    change_json(folder / "config.json", id2label={"1": "zero comes first", "0": "and then one"}, label2id=None)
    loaded = load(folder)
    assert list(loaded.config.id2label.items()) == [(0, "and then one"), (1, "zero comes first")]
    assert loaded.config.label2id == {"and then one": 0, "zero comes first": 1}


def test_labels_without_names_take_the_task_s(folder: Path) -> None:
    change_json(folder / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1"})
    assert load(folder).config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert load(folder, labels=["no", "yes"]).config.id2label == {0: "no", 1: "yes"}


def test_a_head_for_another_number_of_labels_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"has a head for 2 labels, but the task has 3 \(a, b, c\)"):
        load(folder, labels=["a", "b", "c"])


def test_old_names_of_weights_are_understood(folder: Path, model: PreTrainedModel) -> None:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(weights: Weights) -> Weights:
        renamed = {}
        for name, tensor in weights.items():
            for new, former in old.items():
                name = name.replace(new, former)
            renamed[name] = tensor
        extra = {"bert.embeddings.position_ids": torch.arange(24), "cls.predictions.bias": torch.zeros(17)}
        return renamed | extra

    change_weights(folder, rename)
    assert torch.equal(logits_of(load(folder)), logits_of(model))


def test_half_precision_weights_become_float32(folder: Path, model: PreTrainedModel) -> None:
    change_weights(folder, lambda weights: {name: tensor.bfloat16() for name, tensor in weights.items()})
    loaded = state_of(load(folder))
    assert not differences(loaded, {name: tensor.bfloat16().float() for name, tensor in state_of(model).items()})


def test_weights_in_several_files_are_put_together(folder: Path, model: PreTrainedModel) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(logits_of(load(folder)), logits_of(model))
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no model-2\.safetensors"):
        load(folder)


@pytest.mark.parametrize(
    "index", [{}, {"weight_map": None}, {"weight_map": {"a": ["list"]}}, {"weight_map": {"a": "../../x"}}]
)
def test_a_malformed_index_is_refused(folder: Path, index: dict[str, Any]) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"has no |weight_map"):
        load(folder)


# -- weights


def test_a_pickle_is_refused_with_a_way_to_convert_it_and_never_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    sprung = tmp_path / "sprung"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(InputError, match=r"only pytorch_model\.bin, a pickle.*save_pretrained"):
        load(folder)
    assert not sprung.exists()


def test_pickles_beside_the_weights_are_never_opened(folder: Path, model: PreTrainedModel, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "tokenizer.pkl"):
        (folder / name).write_bytes(pickle.dumps(Trap(sprung)))
    assert torch.equal(logits_of(load(folder)), logits_of(model))
    assert not sprung.exists()


def test_code_beside_the_weights_is_never_run(folder: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (folder / "theirs.py").write_text(f"open({str(sprung)!r}, 'w').close()\nclass Theirs: pass\n")
    change_json(
        folder / "config.json", auto_map={"AutoConfig": "theirs.Theirs", "AutoTokenizer": ["theirs.Theirs", "theirs.Theirs"]}
    )
    change_json(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["theirs.Theirs", "theirs.Theirs"]},
        tokenizer_class="Theirs",
    )
    with contextlib.suppress(InputError):
        load(folder)
    assert not sprung.exists()


def test_no_weights_at_all_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors; give the folder of a whole model"):
        load(folder)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 2000, -1])
def test_truncated_weights_are_refused(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="damaged or cut short"):
        load(folder)


@pytest.mark.parametrize("flipped", range(0, 400, 7))
def test_flipped_header_bytes_are_refused_or_change_nothing(folder: Path, model: PreTrainedModel, flipped: int) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[flipped] ^= 0x01
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert not differences(state_of(load(folder)), state_of(model))


def test_a_header_that_claims_terabytes_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 45) + path.read_bytes()[8:])
    with pytest.raises(InputError, match="damaged or cut short"):
        load(folder)


def test_every_misfit_is_told_at_once(folder: Path) -> None:
    def spoil(weights: Weights) -> Weights:
        weights["bert.embeddings.word_embeddings.weight"] = torch.zeros(16, 16)
        weights["classifier.bias"] = torch.zeros(2, dtype=torch.int64)
        weights["bert.encoder.layer.0.output.dense.bias"][3] = float("nan")
        weights["bert.encoder.layer.1.output.dense.bias"][3] = float("inf")
        weights["bert.encoder.layer.7.output.dense.bias"] = torch.zeros(16)
        del weights["bert.encoder.layer.0.attention.self.query.weight"]
        del weights["bert.pooler.dense.bias"]
        return weights

    change_weights(folder, spoil)
    with pytest.raises(InputError) as caught:
        load(folder)
    for said in (
        "the weights do not fit config.json",
        "bert.embeddings.word_embeddings.weight has shape (16, 16), not (17, 16)",
        "classifier.bias is of type torch.int64, not a float",
        "bert.encoder.layer.0.output.dense.bias holds values that are not finite",
        "bert.encoder.layer.1.output.dense.bias holds values that are not finite",
        "bert.encoder.layer.7.output.dense.bias is not expected",
        "bert.encoder.layer.0.attention.self.query.weight is missing",
        "bert.pooler.dense.bias is missing",
    ):
        assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 8


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_of_another_type_are_refused(folder: Path, kind: torch.dtype) -> None:
    change_weights(folder, lambda weights: weights | {"classifier.weight": torch.zeros(2, 16).to(kind)})
    with pytest.raises(InputError, match=r"classifier\.weight"):
        load(folder)


def test_a_long_list_of_misfits_is_cut(folder: Path) -> None:
    change_weights(folder, lambda weights: {name: weights[name] for name in sorted(weights)[:12]})
    with pytest.raises(InputError, match=r"and \d+ more") as caught:
        load(folder)
    assert len(str(caught.value).splitlines()) == 12


# -- config.json and structure.json


def test_no_configuration_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"has no config\.json"):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'"text"', b"[1]", b"null"])
def test_a_configuration_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json (is no JSON|holds a)"):
        load(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_size": 0},
        {"hidden_size": -16},
        {"hidden_size": "16"},
        {"hidden_size": 16.5},
        {"hidden_size": True},
        {"hidden_size": 1 << 40},
        {"vocab_size": []},
        {"num_hidden_layers": 0},
        {"num_attention_heads": 3},
        {"num_attention_heads": 0},
        {"intermediate_size": {}},
        {"hidden_act": "wishful"},
        {"hidden_act": 3},
        {"hidden_dropout_prob": 7},
        {"attention_probs_dropout_prob": "much"},
        {"layer_norm_eps": "small"},
        {"id2label": 5},
        {"id2label": {"first": "bad"}},
        {"is_decoder": True},
        {"add_cross_attention": True},
        {"pruned_heads": {"0": [1]}},
        {"pruned_heads": {"0": [4]}},
        {"pruned_heads": {"2": [0]}},
        {"pruned_heads": {"first": [0]}},
        {"pruned_heads": {"0": 1}},
        {"pruned_heads": {"0": ["1"]}},
        {"pruned_heads": [0]},
        {"model_type": "gpt2"},
        {"model_type": None},
        {"vocab_size": 1 << 23, "hidden_size": 1 << 23},
        {"pad_token_id": 9999},
    ],
)
def test_absurd_values_in_the_configuration_are_refused(folder: Path, values: dict[str, Any]) -> None:
    change_json(folder / "config.json", **values)
    with pytest.raises(InputError, match=r"config\.json"):
        load(folder)


def test_more_layers_than_there_are_weights_are_refused_before_any_is_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_json(folder / "config.json", num_hidden_layers=1 << 23)
    monkeypatch.setattr(BertForSequenceClassification, "__init__", lambda *_: pytest.fail("the layers were made"))
    with pytest.raises(InputError, match=r"config\.json: num_hidden_layers is 8388608"):
        load(folder)


def test_a_configuration_of_a_wider_model_is_refused(folder: Path) -> None:
    change_json(folder / "config.json", hidden_size=20)
    with pytest.raises(InputError, match=r"has shape \(17, 16\), not \(17, 20\)"):
        load(folder)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"schema": 1, "layers": [1, 2]}',
        '{"schema": 1, "layers": [{"heads": 2, "head_size": 4, "intermediate": 24}, '
        '{"heads": 4, "head_size": 4, "intermediate": 24}]}',
        '{"schema": 1, "layers": [{"heads": 1048576, "head_size": 1048576, "intermediate": 1}, '
        '{"heads": 4, "head_size": 4, "intermediate": 24}]}',
    ],
)
def test_a_structure_that_does_not_fit_the_weights_is_refused(folder: Path, content: str) -> None:
    (folder / "structure.json").write_text(content)
    with pytest.raises(InputError, match=r"structure\.json|the weights do not fit"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bert.pooler.dense", [float("nan"), 1.0]),
        ("bert.pooler.dense", [1.0, -1.0]),
        ("bert.pooler.dense", "wide"),
        ("classifier", [-1.0, 1.0]),
        (None, None),
    ],
)
def test_malformed_quantizers_are_refused_with_the_folder(
    model: PreTrainedModel, tmp_path: Path, name: str | None, value: Any
) -> None:
    folder = save(quantized(model), tmp_path / "quantized")
    quantizers = json.loads((folder / "structure.json").read_text())["quantizers"]
    quantizers = quantizers | {"inputs": quantizers["inputs"] | {name: value}} if name else {"inputs": quantizers["inputs"]}
    change_json(folder / "structure.json", quantizers=quantizers)
    with pytest.raises(InputError, match=rf"quantized: structure\.json: .*{name or 'per_channel'}.*restore the file"):
        load(folder)


@pytest.mark.parametrize("name", ["bert.pooler.dense.low", "bert.encoder.layer.0.output.dense.high"])
def test_ranges_among_the_weights_are_refused(model: PreTrainedModel, tmp_path: Path, name: str) -> None:
    folder = save(quantized(model), tmp_path / "quantized")
    change_weights(folder, lambda weights: weights | {name: torch.tensor(1.0)})
    with pytest.raises(InputError, match=rf"{name} is not expected"):
        load(folder)


# -- tokenizer


def test_no_tokenizer_is_refused(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"has no tokenizer that can be loaded .*add tokenizer\.json or vocab\.txt"):
        load(folder)


def test_a_damaged_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(InputError, match="no tokenizer that can be loaded"):
        load(folder)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(folder: Path) -> None:
    tiny_tokenizer((*PIECES, "surplus")).save_pretrained(folder)
    with pytest.raises(InputError, match="tokenizer knows 18 tokens, but the model has 17 embeddings"):
        load(folder)


def test_a_vocabulary_file_alone_is_enough(folder: Path, model: PreTrainedModel) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("\n".join(PIECES))
    assert load(folder).tokenizer("a good film").input_ids == [2, 5, 13, 7, 3]


def test_more_embeddings_than_tokens_are_allowed(tmp_path: Path) -> None:
    model = tiny_bert(vocab_size=24)
    assert torch.equal(logits_of(load(save(model, tmp_path / "padded"))), logits_of(model))
