"""Layers share weights in groups, start near what they were, and keep what is told to stay their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AlbertForSequenceClassification, AutoModelForSequenceClassification

import compress as cp
from compress.errors import InputError, NoEffect
from compress.methods.share_layers import share_layers
from compress.models.layout import encoder_layers, parameter_count
from compress.models.quantizers import with_quantizers
from compress.models.sharing import shared_parameters
from compress.models.structure import read_structure
from compress.models.surgery import keep_neurons
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, toy_task

ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
FEED_FORWARD = ("intermediate.dense", "output.dense")


@pytest.fixture(scope="module")
def toy() -> Task:
    return toy_task(train=64)


def tied(model: Any) -> dict[int, set[str]]:
    """Of each layer, the tensors that an earlier one has as well, by their paths in it."""
    paths: dict[int, set[str]] = {}
    for name in shared_parameters(model):
        index, _, path = name.split(".layer.")[1].partition(".")
        paths.setdefault(int(index), set()).add(path)
    return paths


def weights(*paths: str, biases: bool = False) -> set[str]:
    return {f"{path}.{end}" for path in paths for end in ("weight", *(["bias"] if biases else []))}


@pytest.mark.parametrize(
    ("arguments", "groups"),
    [
        ({"group": 2}, [2, 2, 1]),
        ({"group": 3}, [3, 2]),
        ({"group": 5}, [5]),
        ({"groups": [1, 3, 1]}, [1, 3, 1]),
    ],
)
def test_neighbours_share_in_groups(toy: Task, arguments: Any, groups: list[int]) -> None:
    run = StepContext(device="cpu")
    student = share_layers(tiny_bert(layers=5), task=toy, run=run, **arguments)
    ends = [sum(groups[:index]) for index in range(len(groups))]
    followers = [layer for layer in range(5) if layer not in ends]
    assert tied(student) == dict.fromkeys(followers, weights(*ATTENTION, *FEED_FORWARD))
    assert run.facts["groups"] == groups


@pytest.mark.parametrize("initial", ["aligned", "mean", "copy"])
@pytest.mark.parametrize(("parts", "shared"), [("attention", ATTENTION), ("feed_forward", FEED_FORWARD)])
def test_only_the_parts_that_are_named_are_shared(toy: Task, parts: Any, shared: tuple[str, ...], initial: Any) -> None:
    student = share_layers(tiny_bert(), task=toy, group=2, parts=parts, initial=initial)
    assert tied(student) == {1: weights(*shared)}


def test_norms_and_biases_are_shared_when_they_are_not_kept(toy: Task) -> None:
    norms = ("attention.output.LayerNorm", "output.LayerNorm")
    student = share_layers(tiny_bert(layers=3), task=toy, groups=[1, 2], keep_norms=False)
    assert tied(student) == {2: weights(*ATTENTION, *FEED_FORWARD) | weights(*norms, biases=True)}
    student = share_layers(tiny_bert(layers=3), task=toy, groups=[1, 2], keep_biases=False)
    assert tied(student) == {2: weights(*ATTENTION, *FEED_FORWARD, biases=True)}


@pytest.mark.parametrize("initial", ["aligned", "mean", "copy"])
def test_layers_that_are_alike_answer_as_before(toy: Task, initial: Any) -> None:
    model = tiny_bert()
    encoder_layers(model)[1].load_state_dict(encoder_layers(model)[0].state_dict())
    for kept in (True, False):
        student = share_layers(model, task=toy, group=2, initial=initial, keep_norms=kept, keep_biases=kept)
        torch.testing.assert_close(logits_of(student), logits_of(model), rtol=1e-3, atol=1e-3)


def test_a_mean_and_a_copy_are_what_they_say(toy: Task) -> None:
    model: Any = tiny_bert(layers=3)
    path = "bert.encoder.layer.{}.intermediate.dense.weight"
    each = [model.get_parameter(path.format(index)) for index in range(3)]
    copied = share_layers(model, task=toy, group=3, initial="copy")
    assert torch.equal(copied.get_parameter(path.format(0)), each[1])
    bias = "bert.encoder.layer.2.intermediate.dense.bias"
    assert torch.equal(copied.get_parameter(bias), model.get_parameter(bias.replace("2", "1")))
    mean = share_layers(model, task=toy, group=3, initial="mean")
    torch.testing.assert_close(mean.get_parameter(path.format(0)), torch.stack(list(each)).mean(0))
    assert torch.equal(mean.get_parameter(bias), model.get_parameter(bias))


def test_kept_norms_give_each_layer_the_spread_that_it_had(toy: Task) -> None:
    model, states = tiny_bert(layers=4), {}
    batch = {name: torch.from_numpy(rows) for name, rows in toy.encode(toy.train, model.tokenizer).batch(range(64)).items()}
    students = {kept: share_layers(model, task=toy, group=4, initial="mean", keep_norms=kept) for kept in (True, False)}
    for name, network in {"model": model, **students}.items():
        with torch.no_grad():
            hidden = network(**batch, output_hidden_states=True).hidden_states[1:]
        states[name] = torch.stack(hidden)[:, batch["attention_mask"].bool()]
    lost = {kept: float((states[kept] - states["model"]).square().mean()) for kept in (True, False)}
    torch.testing.assert_close(states[True].mean(1), states["model"].mean(1), rtol=1e-3, atol=1e-3)
    assert lost[True] < 0.8 * lost[False]


def test_norms_that_stay_shared_are_not_fitted(toy: Task) -> None:
    first = share_layers(tiny_bert(layers=4), task=toy, group=4, parts="feed_forward", keep_norms=False)
    second = share_layers(first, task=toy, group=4, parts="attention")
    name = "bert.encoder.layer.0.output.LayerNorm.weight"
    assert torch.equal(second.get_parameter(name), first.get_parameter(name))
    assert tied(second)[1] >= weights("output.LayerNorm", biases=True)


def test_groups_can_grow_step_by_step_and_one_part_after_the_other(toy: Task) -> None:
    pairs = share_layers(tiny_bert(layers=6), task=toy, group=2)
    threes = share_layers(pairs, task=toy, group=3)
    assert set(tied(threes)) == {1, 2, 4, 5}
    attention = share_layers(tiny_bert(layers=4), task=toy, group=2, parts="attention")
    both = share_layers(attention, task=toy, group=4, parts="feed_forward")
    assert tied(both) == {
        1: weights(*ATTENTION, *FEED_FORWARD),
        2: weights(*FEED_FORWARD),
        3: weights(*ATTENTION, *FEED_FORWARD),
    }


def test_a_shared_model_is_saved_small_and_loads_again(toy: Task, tmp_path: Path) -> None:
    model = tiny_bert(layers=4)
    student = share_layers(model, task=toy, group=4)
    folders = [cp.save(network, tmp_path / name) for network, name in ((model, "dense"), (student, "shared"))]
    again = cp.load(folders[1])
    assert torch.equal(logits_of(again), logits_of(student))
    assert shared_parameters(again) == shared_parameters(student)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in folders]
    assert sizes[1] < sizes[0] - 4 * (parameter_count(model) - parameter_count(student)) * 0.9


def test_a_model_that_shares_everything_is_an_albert_that_transformers_loads(toy: Task, tmp_path: Path) -> None:
    model = tiny_bert(layers=4)
    student = share_layers(model, task=toy, group=2, keep_norms=False, keep_biases=False)
    assert isinstance(student, AlbertForSequenceClassification)
    assert (student.config.num_hidden_groups, student.config.num_hidden_layers) == (2, 4)
    folder = cp.save(student, tmp_path / "saved")
    assert "shared" not in read_structure(student)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    torch.testing.assert_close(logits_of(plain), logits_of(student))
    uneven = share_layers(model, task=toy, groups=[1, 3], keep_norms=False, keep_biases=False)
    assert uneven.config.model_type == "bert"


def test_an_albert_answers_as_the_bert_whose_layers_are_shared(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"task": toy, "group": 2, "keep_norms": False, "keep_biases": False}
    albert = share_layers(tiny_bert(layers=4), **arguments)
    monkeypatch.setattr("compress.methods.share_layers._are_even", lambda *_: False)
    bert = share_layers(tiny_bert(layers=4), **arguments)
    assert (albert.config.model_type, bert.config.model_type) == ("albert", "bert")
    torch.testing.assert_close(logits_of(albert), logits_of(bert), rtol=1e-4, atol=1e-5)


def test_a_distilbert_shares(toy: Task, tmp_path: Path) -> None:
    student = share_layers(tiny_of("distilbert"), task=toy, group=2)
    assert len(shared_parameters(student)) == 6
    assert torch.equal(logits_of(cp.load(cp.save(student, tmp_path / "saved"))), logits_of(student))


def test_a_shared_model_trains_and_stays_shared(toy: Task) -> None:
    model = tiny_bert(layers=4)
    student = share_layers(model, task=toy, group=2)
    run = StepContext(device="cpu")
    trained = cp.distill(
        student,
        teacher=model,
        task=toy,
        objectives={"logits": 1.0, "hidden": 1.0},
        epochs=2,
        batch_size=8,
        learning_rate=1e-3,
        average=0.5,
        run=run,
    )
    assert shared_parameters(trained) == shared_parameters(student)
    assert differences(state_of(trained), state_of(student))
    tuned = cp.quantize_aware(trained, task=toy, epochs=1, batch_size=8, learning_rate=1e-3, run=run)
    assert shared_parameters(tuned) == shared_parameters(student)


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        (tiny_bert(), {}, "group is missing, and so is groups"),
        (tiny_bert(), {"group": 2, "groups": [2]}, "are both given"),
        (tiny_bert(), {"group": 1}, r"share_layers\.group"),
        (tiny_bert(), {"group": 3}, "the model has 2 layers; use 2 to 2"),
        (tiny_bert(layers=3), {"groups": [2]}, "let the sizes add up to 3"),
        (tiny_bert(), {"groups": [0, 2]}, r"share_layers\.groups"),
        (tiny_bert(), {"group": 2, "parts": "norms"}, r"share_layers\.parts"),
        (keep_neurons(tiny_bert(), [[0, 1], [0, 1, 2]]), {"group": 2}, "layers 0 to 1 differ"),
        (tiny_of("albert"), {"group": 2}, "start from a bert or distilbert"),
        (tiny_of("mobilebert"), {"group": 2}, "start from a bert or distilbert"),
        (
            with_quantizers(tiny_bert(), per_channel=True, symmetric=True),
            {"group": 2},
            "share its layers before quantize_aware",
        ),
        (
            cp.low_rank(tiny_bert(), task=toy_task(), rank=2, weighting="none"),
            {"group": 2},
            "share its layers before low_rank",
        ),
        (
            cp.swap_attention(tiny_bert(), task=toy_task(), kind="reformer"),
            {"group": 2},
            "share its layers before swap_attention",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_runs(toy: Task, model: Any, arguments: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        share_layers(forbid_forward_passes(model), task=toy, **arguments)
    assert caught.value.exit_code == 2


def test_sharing_what_is_shared_says_so(toy: Task) -> None:
    student = share_layers(tiny_bert(layers=4), task=toy, group=2)
    with pytest.raises(NoEffect, match="share these weights already"):
        share_layers(student, task=toy, group=2)
    with pytest.raises(NoEffect, match="share these weights already"):
        share_layers(tiny_bert(), task=toy, groups=[1, 1])
