"""Linears that stand for several are taken apart in a live model, and are one again in files, as those of ModernBERT."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, ModernBertForMaskedLM, PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.families import KNOWN
from compress.models.fused import parted, unparted
from compress.models.layout import encoder_layers, head_count, neuron_count, parameter_count
from compress.models.surgery import keep_heads, keep_neurons
from compress.pruning.unused import without_unused
from compress.targets.onnx.graph import write_graph
from tests.models.checkpoint.changing import set_json
from tests.tiny_models import differences, in_transformers, logits_of, state_of, tiny_of, toy_task

FAMILY = KNOWN["modernbert"]


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_of("modernbert", layers=3)


def test_a_model_that_was_taken_apart_answers_as_before(model: PreTrainedModel) -> None:
    whole = in_transformers(model)
    torch.testing.assert_close(logits_of(model), logits_of(whole))
    assert [name for name, _ in encoder_layers(model)[0].attn.Wqkv.named_children()] == ["query", "key", "value"]
    assert not differences(unparted(model.state_dict(), FAMILY), state_of(whole))
    assert not differences(parted(state_of(whole), FAMILY), state_of(model))


def test_a_saved_model_has_the_family_s_own_names_and_no_others(model: PreTrainedModel, tmp_path: Path) -> None:
    names = load_file(cp.save(model, tmp_path / "saved") / "model.safetensors").keys()
    assert names == type(model)(model.config).state_dict().keys()
    assert any(name.endswith("attn.Wqkv.weight") for name in names)


def test_pruned_parts_are_one_again_in_the_file_and_come_back(model: PreTrainedModel, tmp_path: Path) -> None:
    student = keep_neurons(keep_heads(model, [[0, 2], [1], [0, 1, 2, 3]]), [[0, 5], list(range(24)), []])
    folder = cp.save(student, tmp_path / "saved")
    stored = load_file(folder / "model.safetensors")
    assert stored["model.layers.0.attn.Wqkv.weight"].shape == (3 * 2 * 4, 16)
    assert stored["model.layers.0.mlp.Wi.weight"].shape == (2 * 2, 16)
    again = cp.load(folder)
    assert torch.equal(logits_of(again), logits_of(student))
    assert [(head_count(layer), neuron_count(layer)) for layer in encoder_layers(again)] == [(2, 2), (1, 24), (4, 0)]


def test_a_head_that_is_cut_is_one_whose_answer_is_zeroed(model: PreTrainedModel) -> None:
    pruned = keep_heads(model, [[0, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]])
    with torch.no_grad():
        encoder_layers(model)[0].attn.Wo.weight[:, 4:8] = 0  # heads are four columns wide
    torch.testing.assert_close(logits_of(pruned), logits_of(model))


def test_all_heads_of_a_layer_can_go(model: PreTrainedModel, tmp_path: Path) -> None:
    pruned = keep_heads(model, [[], [0], [0, 1]])
    with torch.no_grad():
        encoder_layers(model)[0].attn.Wo.weight.zero_()
        encoder_layers(model)[1].attn.Wo.weight[:, 4:] = 0
        encoder_layers(model)[2].attn.Wo.weight[:, 8:] = 0
    torch.testing.assert_close(logits_of(pruned), logits_of(model))
    again = cp.load(cp.save(pruned, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(pruned))


@pytest.mark.matrix
def test_an_exported_graph_multiplies_by_each_part_and_joins_nothing(model: PreTrainedModel, tmp_path: Path) -> None:
    write_graph(model, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    widths = Counter(tuple(tensor.dims) for tensor in graph.initializer if len(tensor.dims) == 2)
    assert widths[16, 48] + widths[48, 16] == 0
    assert widths[16, 16] >= 3 * 3 + 3
    assert widths[16, 24] == 2 * 3
    assert "Split" not in {node.op_type for node in graph.node}


def test_weights_whose_rows_do_not_divide_keep_their_name() -> None:
    odd = {"model.layers.0.attn.Wqkv.weight": torch.zeros(10, 4)}
    assert parted(odd, FAMILY).keys() == odd.keys()
    sizes = {"query": 4, "key": 4, "value": 8}
    uneven = {f"layers.0.attn.Wqkv.{name}.weight": torch.zeros(size, 4) for name, size in sizes.items()}
    assert unparted(uneven, FAMILY).keys() == uneven.keys()


def test_checkpoints_as_transformers_saves_them_are_read(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = cp.save(model, tmp_path / "saved")
    torch.manual_seed(5)
    pretrained = ModernBertForMaskedLM(model.config).eval()
    pretrained.save_pretrained(folder)
    again = cp.load(folder, labels=["no", "yes"])
    assert again.has_new_head
    assert not differences(unparted(state_of(again.base_model), FAMILY), state_of(pretrained.model))
    assert torch.equal(again.head.dense.weight, pretrained.head.dense.weight)
    pretrained.model.save_pretrained(folder)
    bare = cp.load(folder, labels=["no", "yes"])
    assert not differences(state_of(bare.base_model), state_of(again.base_model))


def test_old_keys_of_the_configuration_are_read(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = cp.save(model, tmp_path / "saved")
    content = json.loads((folder / "config.json").read_text())
    for key in ("layer_types", "rope_parameters"):
        content.pop(key)
    content |= {"global_attn_every_n_layers": 2, "local_rope_theta": 500.0}
    (folder / "config.json").write_text(json.dumps(content))
    config = cp.load(folder).config
    assert config.layer_types == ["full_attention", "sliding_attention", "full_attention"]
    assert config.rope_parameters["sliding_attention"]["rope_theta"] == 500.0
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    torch.testing.assert_close(logits_of(plain), logits_of(cp.load(folder)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": ["full_attention", "sliding_attention", "linear"]}, "layer_types|is no modernbert configuration"),
        ({"local_attention": 0}, "local_attention is 0; a whole number from 2 on is needed"),
        ({"hidden_activation": "prelu"}, "hidden_activation is 'prelu'; allowed: "),
        ({"norm_eps": 0.0}, "norm_eps is 0"),
    ],
)
def test_values_that_cannot_be_are_refused(
    wrong: dict[str, object], message: str, model: PreTrainedModel, tmp_path: Path
) -> None:
    folder = cp.save(model, tmp_path / "saved")
    set_json(folder / "config.json", **wrong)
    with pytest.raises(InputError, match=message):
        cp.load(folder)


def test_layers_keep_what_they_see(model: PreTrainedModel, tmp_path: Path) -> None:
    student = cp.drop_layers(model, keep=[0, 1])
    assert student.config.layer_types == ["full_attention", "sliding_attention"]
    folder = cp.save(student, tmp_path / "saved")
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    torch.testing.assert_close(logits_of(plain), logits_of(student))
    with pytest.raises(InputError, match="keep layer 0"):
        cp.drop_layers(model, keep=[1, 2])


def test_heads_that_positions_turn_keep_their_width(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = cp.save(model, tmp_path / "saved")
    structure = json.loads((folder / "structure.json").read_text())
    structure["layers"][1] |= {"heads": 2, "head_size": 8}
    (folder / "structure.json").write_text(json.dumps(structure))
    with pytest.raises(InputError, match="layer 1: head_size is 8, but heads that rotary positions turn stay 4 wide"):
        cp.load(folder)


@pytest.mark.parametrize("objective", ["attention", "attention_scores"])
def test_scores_that_depend_on_positions_are_no_objective(objective: str, model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="depend on positions besides queries and keys"):
        cp.distill(model, teacher=model, task=toy_task(), objectives={objective: 1.0}, batch_size=16)


def test_what_the_family_cannot_do_is_refused_by_name(model: PreTrainedModel) -> None:
    task = toy_task()
    refused = {
        "the layers of a modernbert cannot share more": lambda: cp.share_layers(model, task=task, group=3),
        "the stream between the layers of a modernbert cannot be narrowed": lambda: cp.prune_width(model, task=task, width=8),
        "the attention of a modernbert cannot be swapped": lambda: cp.swap_attention(model, task=task, kind="longformer"),
        "theseus: layers of a modernbert see more or less": lambda: cp.theseus(model, task=task, modules=1),
        "a modernbert cannot be timed part by part": lambda: cp.prune_to_latency(model, task=task, speedup=2.0),
        "build_student starts from a BERT or RoBERTa": lambda: cp.build_student(model, task=task, layers=1),
    }
    for message, call in refused.items():
        with pytest.raises(InputError, match=message):
            call()


def test_neurons_whose_gate_is_shut_are_unused(model: PreTrainedModel) -> None:
    layer = encoder_layers(model)[1]
    with torch.no_grad():
        layer.mlp.Wi.gate.weight[3] = 0
        layer.mlp.Wi.value.weight[5] = 0
        layer.mlp.Wo.weight[:, 9] = 0
    student, heads, neurons = without_unused(model)
    assert (heads, neurons) == (
        0,
        2,
    )  # one whose own weights are 0 may answer something, whatever its function
    assert parameter_count(model) - parameter_count(student) == 2 * 3 * 16
    torch.testing.assert_close(logits_of(student), logits_of(model))
