"""Every family is read, cut, shortened, quantized, saved and loaded in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import compress as cp
from compress.errors import InputError
from compress.models.attention.kernel import attention_kernel
from compress.models.families import KNOWN, encoder_family, encoders
from compress.models.first_token import first_token_only
from compress.models.layout import encoder_layers, head_count, head_size, projections_of, reads_first_token_only, same_input
from compress.models.quantizers import quantized_linears, with_quantizers
from compress.models.structure import apply_structure, read_structure
from compress.models.surgery import keep_layers
from compress.training.step_context import StepContext
from tests.tiny_models import ALIKE, STRUCTURES, differences, logits_of, state_of, tiny_of, tokens, toy_task

every_family = pytest.mark.parametrize("kind", STRUCTURES)
HEADS = {kind: (2 if kind == "mobilebert" else 4, 4) for kind in encoders()}
"""Heads and their size."""


@pytest.mark.parametrize(("kind", "like"), ALIKE.items())
def test_families_that_are_alike_differ_in_their_classes_alone(kind: str, like: str) -> None:
    own, other = vars(encoder_family(kind)), vars(encoder_family(like))
    assert {name for name in own if own[name] != other[name]} <= {"config", "classes", "layer", "masked_words", "unread"}
    model, theirs = tiny_of(kind), tiny_of(like)
    prefixes = encoder_family(like).prefix, encoder_family(kind).prefix
    model.load_state_dict({name.replace(*prefixes): tensor for name, tensor in theirs.state_dict().items()})
    assert torch.equal(logits_of(model), logits_of(theirs))


@every_family
def test_the_layers_are_those_that_run_in_their_order(kind: str) -> None:
    model, ran = tiny_of(kind, layers=3), list[torch.nn.Module]()
    for layer in dict.fromkeys(encoder_layers(model)):
        layer.register_forward_hook(lambda layer, *_: ran.append(layer))
    logits_of(model)
    assert ran == encoder_layers(model)
    assert len(ran) == 3


def test_a_shared_layer_stands_as_often_as_it_runs() -> None:
    model, ran = tiny_of("albert", layers=5, num_hidden_groups=2, inner_group_num=2), list[torch.nn.Module]()
    for layer in dict.fromkeys(encoder_layers(model)):
        layer.register_forward_hook(lambda layer, *_: ran.append(layer))
    logits_of(model)
    assert ran == encoder_layers(model)
    assert len(ran) == 10
    assert len(set(ran)) == 4


@every_family
def test_heads_and_projections_are_found(kind: str) -> None:
    for layer in encoder_layers(tiny_of(kind)):
        assert (head_count(layer), head_size(layer)) == HEADS[kind]
        assert [module.out_features for module in projections_of(layer)] == [HEADS[kind][0] * HEADS[kind][1]] * 3


@every_family
def test_linears_that_are_named_together_read_the_same_values(kind: str) -> None:
    model, read = tiny_of(kind), dict[str, list[torch.Tensor]]()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, inputs, name=name: read.setdefault(name, []).append(inputs[0]))
    logits_of(model)
    for names in same_input(model):
        for name in names:
            assert all(torch.equal(values, other) for values, other in zip(read[name], read[names[0]], strict=True))


@every_family
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("lengths", [(9, 4, 1, 7), (6, 6), (1,), (24,)])
def test_the_first_token_alone_gives_the_same_answers(kind: str, kernel: str, lengths: tuple[int, ...]) -> None:
    model, batch = tiny_of(kind), tokens(lengths=lengths)
    whole = logits_of(model, **batch)
    with attention_kernel(model, kernel), first_token_only(model):
        torch.testing.assert_close(logits_of(model, **batch), whole, rtol=1e-5, atol=1e-5)


def test_the_last_layer_of_distilbert_computes_one_token() -> None:
    model = tiny_of("distilbert")
    assert reads_first_token_only(model)
    with first_token_only(model):
        assert model.distilbert(tokens()["input_ids"]).last_hidden_state.shape == (4, 1, 16)


@every_family
def test_a_saved_model_is_the_same_here_and_in_transformers(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    folder = cp.save(model, tmp_path / "saved")
    again, plain = cp.load(folder), AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert not differences(state_of(model), state_of(again))
    assert torch.equal(logits_of(again), logits_of(model))
    torch.testing.assert_close(logits_of(plain), logits_of(model))
    assert type(again) is KNOWN[kind].classifier


@every_family
def test_the_tokenizer_gives_what_the_model_reads_and_nothing_else(kind: str, tmp_path: Path) -> None:
    folder = cp.save(tiny_of(kind), tmp_path / "saved")
    for tokenizer in (cp.load(folder).tokenizer, AutoTokenizer.from_pretrained(folder)):
        assert set(tokenizer("the film", "was good")) == set(KNOWN[kind].inputs)


@every_family
def test_a_base_checkpoint_gets_a_new_head(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    folder = cp.save(model, tmp_path / "saved")
    model.base_model.save_pretrained(folder)
    again = cp.load(folder, labels=["no", "perhaps", "yes"], seed=1)
    assert again.has_new_head
    assert logits_of(again).shape == (4, 3)
    assert not differences(state_of(model.base_model), state_of(again.base_model))


@every_family
def test_uneven_layers_are_told_and_made_again(kind: str) -> None:
    model = tiny_of(kind)
    structure = read_structure(model)
    heads, size = HEADS[kind]
    assert structure["layers"] == [{"heads": heads, "head_size": size, "intermediate": 24}] * 2
    narrow = {"heads": 1, "head_size": size if KNOWN[kind].positions == "rotary" else 3, "intermediate": 5}
    structure["layers"] = [narrow, narrow if kind == "albert" else structure["layers"][1]]
    apply_structure(model, structure)
    assert read_structure(model) == structure
    assert torch.isfinite(logits_of(model)).all()


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert"])
def test_kept_layers_are_those_of_the_model(kind: str) -> None:
    model = tiny_of(kind, layers=3)
    student = keep_layers(model, [0, 2])
    kept = [state_of(layer) for layer in encoder_layers(student)]
    assert not differences(kept[0], state_of(encoder_layers(model)[0]))
    assert not differences(kept[1], state_of(encoder_layers(model)[2]))
    assert student.config.num_hidden_layers == 2
    assert not torch.equal(logits_of(student), logits_of(model))


def test_a_shared_layer_runs_less_often_where_layers_are_dropped() -> None:
    model = tiny_of("albert", layers=4, num_hidden_groups=2)
    student = keep_layers(model, [1, 2])
    assert len(encoder_layers(student)) == 2
    assert len(encoder_layers(keep_layers(model, [2, 3]))) == 2
    with pytest.raises(InputError, match="groups each run equally often, but of 2 groups 3 runs would stay"):
        keep_layers(model, [0, 1, 2])


@every_family
def test_all_linears_but_the_classifier_quantize(kind: str) -> None:
    model = tiny_of(kind)
    quantized = with_quantizers(model, per_channel=True, symmetric=False)
    linears = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert set(quantized_linears(quantized)) == linears - {encoder_family(kind).text_linear}


@every_family
def test_training_changes_the_model_and_leaves_its_word_table_whole(kind: str) -> None:
    model = tiny_of(kind)
    trained = cp.fine_tune(model, task=toy_task(), epochs=1, batch_size=8, learning_rate=1e-3, run=StepContext(device="cpu"))
    assert trained.get_input_embeddings().weight.shape == model.get_input_embeddings().weight.shape
    assert differences(state_of(model), state_of(trained))
