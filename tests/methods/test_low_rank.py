"""Two factors keep what counts most of a weight, and never where one Linear is smaller or faster."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import compress as cp
from compress.benchmark.counts import torch_macs
from compress.errors import InputError, NoEffect
from compress.methods.low_rank import low_rank
from compress.models.factors import ranks_of
from compress.models.layout import encoder_layers
from compress.models.quantizers import with_quantizers
from compress.models.sharing import shared_parameters
from compress.pruning.break_even import crossing
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import logits_of, tiny_bert, tiny_of, toy_task

WEIGHTINGS = ("activations", "fisher", "none")
FIRST = "bert.encoder.layer.0.intermediate.dense"
SQUARE, WIDE = 16 * 16 // 32 - 1, (16 * 24 - 1) // 40  # the largest ranks at which two have fewer weights


@pytest.fixture(scope="module")
def toy() -> Task:
    return toy_task(train=64)


def read(model: Any, task: Task, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What a Linear is given at real tokens, and what it answers."""
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = model.get_submodule(name).register_forward_hook(lambda _, given, answer: calls.append((given[0], answer)))
    encoded = task.encode(task.train, model.tokenizer).batch(range(64))
    batch = {key: torch.from_numpy(values) for key, values in encoded.items()}
    logits_of(model, **batch)
    handle.remove()
    kept = batch["attention_mask"].bool()
    return calls[0][0][kept], calls[0][1][kept]


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_weight_of_that_rank_is_kept_whole(toy: Task, weighting: Any) -> None:
    model: Any = tiny_bert()
    with torch.no_grad():
        for layer in encoder_layers(model):
            for linear in (module for module in layer.modules() if isinstance(module, torch.nn.Linear)):
                left, values, right = torch.linalg.svd(linear.weight, full_matrices=False)
                linear.weight.copy_(left[:, :3] * values[:3] @ right[:3])
    student = low_rank(model, task=toy, rank=3, weighting=weighting)
    assert len(ranks_of(student)) == 12
    torch.testing.assert_close(logits_of(student), logits_of(model), rtol=1e-3, atol=1e-3)


def test_weighing_by_activations_keeps_answers_best(toy: Task) -> None:
    model = tiny_bert()
    given, expected = read(model, toy, FIRST)
    lost = {}
    for weighting in WEIGHTINGS:
        linear: Any = low_rank(model, task=toy, rank=4, weighting=weighting).get_submodule(FIRST)  # type: ignore[arg-type]
        with torch.no_grad():
            lost[weighting] = float((linear(given) - expected).square().mean())
    assert lost["activations"] < 0.9 * min(lost["fisher"], lost["none"])


def test_without_weighing_the_weight_is_kept_best(toy: Task) -> None:
    model = tiny_bert()
    weight = model.get_parameter(f"{FIRST}.weight").detach()
    lost = {}
    for weighting in WEIGHTINGS:
        linear: Any = low_rank(model, task=toy, rank=4, weighting=weighting).get_submodule(FIRST)  # type: ignore[arg-type]
        lost[weighting] = float((linear.weight.detach() - weight).square().sum())
    assert lost["none"] == pytest.approx(float(torch.linalg.svdvals(weight)[4:].square().sum()), rel=1e-4)
    assert lost["none"] < min(lost["activations"], lost["fisher"])


def test_weighing_by_information_keeps_the_rows_that_the_loss_needs(toy: Task) -> None:
    model: Any = tiny_bert()
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[:, :18] *= 0.001  # most of the neurons hardly count
    weight = model.get_parameter(f"{FIRST}.weight").detach()
    lost = {}
    for weighting in ("fisher", "none"):
        linear: Any = low_rank(model, task=toy, rank=4, weighting=weighting).get_submodule(FIRST)  # type: ignore[arg-type]
        lost[weighting] = (linear.weight.detach() - weight)[18:].square().sum()
    assert lost["fisher"] < 0.7 * lost["none"]


@pytest.mark.parametrize("parts", ["attention", "feed_forward"])
def test_only_the_parts_that_are_named_change(toy: Task, parts: Any) -> None:
    student = low_rank(tiny_bert(), task=toy, rank=2, parts=parts)
    names = ranks_of(student)
    assert len(names) == (8 if parts == "attention" else 4)
    assert all((".attention." in name) == (parts == "attention") for name in names)


def test_the_energy_chooses_the_smallest_ranks_and_leaves_whole_what_needs_more(
    toy: Task, caplog: pytest.LogCaptureFixture
) -> None:
    model, run = tiny_bert(), StepContext()
    with caplog.at_level(logging.WARNING):
        student = low_rank(model, task=toy, energy=0.82, weighting="none", run=run)
    for name, rank in run.facts["ranks"].items():
        values = torch.linalg.svdvals(model.get_parameter(f"{name}.weight").detach().double()).square()
        needed = int((values.cumsum(0) / values.sum() < 0.82).sum()) + 1
        limit = SQUARE if "attention" in name else WIDE
        assert rank == (needed if needed <= limit else None)
    assert ranks_of(student) == {name: rank for name, rank in run.facts["ranks"].items() if rank is not None}
    whole = [name for name, rank in run.facts["ranks"].items() if rank is None]
    assert whole
    assert f"{len(whole)} of 12 Linears stay whole" in caplog.text


@pytest.mark.parametrize("macs", [0.3, 0.5, 0.8])
def test_ranks_keep_to_the_multiply_adds_and_use_them(toy: Task, macs: float) -> None:
    model = tiny_bert()
    length = 1
    inside = torch_macs(model, length) - torch_macs(cp.drop_layers(model, keep=[0]), length)
    student = low_rank(model, task=toy, macs=macs)
    saved = torch_macs(model, length) - torch_macs(student, length)
    weights = 2 * (inside - 2 * length * length * 16)
    assert macs - 0.08 < 1 - saved / weights <= macs + 1e-9


def test_more_of_the_multiply_adds_loses_less(toy: Task) -> None:
    model = tiny_bert()
    logits = logits_of(model)
    lost = [float(functional.mse_loss(logits_of(low_rank(model, task=toy, macs=macs)), logits)) for macs in (0.3, 0.6, 0.9)]
    assert lost[0] > lost[1] > lost[2]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert", "albert"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_family_is_saved_and_loaded(toy: Task, kind: str, weighting: Any, tmp_path: Path) -> None:
    student = low_rank(tiny_of(kind), task=toy, rank=2, weighting=weighting)
    assert ranks_of(student)
    assert torch.equal(logits_of(cp.load(cp.save(student, tmp_path / "saved"))), logits_of(student))


@pytest.mark.parametrize("keep_biases", [True, False])
def test_a_weight_that_layers_share_stays_shared(toy: Task, keep_biases: bool) -> None:
    model = cp.share_layers(tiny_bert(layers=4), task=toy, group=2, keep_biases=keep_biases)
    student = low_rank(model, task=toy, rank=3)
    assert len(ranks_of(student)) == 4 * 6
    again = shared_parameters(student)
    assert again["bert.encoder.layer.1.output.dense.up.weight"] == "bert.encoder.layer.0.output.dense.up.weight"
    assert sum(name.endswith("down.weight") for name in again) == 12
    assert sum(name.endswith("up.bias") for name in again) == (0 if keep_biases else 12)


def test_what_remains_whole_can_be_written_later(toy: Task) -> None:
    student = low_rank(low_rank(tiny_bert(), task=toy, rank=3, parts="attention"), task=toy, rank=2)
    assert sorted(ranks_of(student).values()) == [2] * 4 + [3] * 8
    with pytest.raises(NoEffect, match="no Linear of these parts is whole"):
        low_rank(student, task=toy, rank=1)


# -- the measured break-even


@pytest.mark.parametrize(
    ("times", "limit"),
    [
        ([1.0, 2.0, 3.0], 24),
        ([5.0, 6.0, 7.0], 0),
        ([1.0, 3.0, 5.0], 20),
        ([1.0, 2.0, 4.5], 22),
        ([4.0, 3.0, 3.0], 0),
    ],
)
def test_times_are_compared_with_the_whole_one(times: list[float], limit: int) -> None:
    assert crossing([8, 16, 24], times, 4.0) == limit


def stand_in(monkeypatch: pytest.MonkeyPatch, per_rank: float, overhead: float) -> list[str]:
    """A Linear of low rank takes so long; whole ones take 1 together."""
    timed: list[str] = []

    def times(models: dict[str, Any], *_: Any, **__: Any) -> dict[str, float]:
        timed.extend(models)
        return {
            name: overhead * bool(ranks_of(model)) + (per_rank * max(ranks_of(model).values(), default=0) or 1.0)
            for name, model in models.items()
        }

    monkeypatch.setattr("compress.pruning.break_even.model_times", times)
    return timed


def test_a_rank_above_the_measured_break_even_is_refused_and_named(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = tiny_bert(hidden_size=64, intermediate_size=128)
    timed = stand_in(monkeypatch, 0.0625, 0.0)  # breaks even at 16
    run = StepContext(device="cpu")
    low_rank(wide, task=toy, rank=16, break_even="measured", length=8, run=run)
    assert run.facts["break_even"] == {"64x64": 16, "128x64": 16, "64x128": 16}
    assert len(timed) == 1 + 3 * 4
    with pytest.raises(InputError, match=r"query \(64 x 64\) is no smaller or faster above 16"):
        low_rank(wide, task=toy, rank=17, break_even="measured", length=8)


def test_linears_that_are_never_faster_stay_whole(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, 0.0625, 2.0)
    with pytest.raises(NoEffect, match="every Linear would need a rank above the break-even"):
        low_rank(tiny_bert(), task=toy, energy=0.5, break_even="measured", length=8)


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        (tiny_bert(), {}, "rank, energy and macs: none given; give one of the three"),
        (tiny_bert(), {"rank": 2, "macs": 0.5}, "rank and macs given"),
        (tiny_bert(), {"rank": 0}, r"low_rank\.rank"),
        (tiny_bert(), {"energy": 1.0}, r"low_rank\.energy"),
        (tiny_bert(), {"rank": SQUARE + 1}, rf"query \(16 x 16\) is no smaller or faster above {SQUARE}"),
        (tiny_bert(), {"rank": 2, "break_even": "measured", "length": 25}, "reads at most 24 tokens"),
        (tiny_of("mobilebert"), {"rank": 2, "break_even": "measured"}, "cannot be timed part by part"),
        (with_quantizers(tiny_bert(), per_channel=True, symmetric=True), {"rank": 2}, "before quantize_aware"),
        (tiny_bert(labels=("a", "b", "c")), {"rank": 2}, "labels"),
    ],
)
def test_what_makes_no_sense_is_refused(toy: Task, model: Any, arguments: Any, said: str) -> None:
    arguments = {"weighting": "none", **arguments}
    with pytest.raises(InputError, match=said) as caught:
        low_rank(forbid_forward_passes(model), task=toy, **arguments)
    assert caught.value.exit_code == 2


def test_fewer_multiply_adds_than_the_smallest_ranks_have_are_refused(toy: Task) -> None:
    with pytest.raises(InputError, match=r"low_rank\.macs is 0\.01, but 0\.\d+ of the multiply-adds stay"):
        low_rank(tiny_bert(), task=toy, macs=0.01)
