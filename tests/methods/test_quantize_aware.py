"""Training on eight-bit numbers: what it learns, and when ranges move and when they stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.methods.distill import distill
from compress.methods.fine_tune import fine_tune
from compress.methods.quantize_aware import quantize_aware
from compress.models.checkpoint import load, save
from compress.models.quantizers import QuantizedEmbedding, quantized_linears, quantizers_off, with_quantizers
from compress.models.structure import read_structure
from compress.quantization.calibration import Calibrated, calibrated
from compress.tasks.labelled import Task
from compress.training.batches import epoch_batches
from compress.training.checkpoint import FILE
from compress.training.predict import predict
from compress.training.step_context import StepContext
from tests.methods.ranges import OUT_OF_RANGE, forbid_forward_passes
from tests.methods.test_fine_tune import accuracy
from tests.tiers import mostly_matrix
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_tokenizer, toy_task, without_dropout
from tests.training.test_checkpoint import Stopped, steps_told, stop_at

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}
TEN_STEPS: dict[str, Any] = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
WAYS: list[dict[str, Any]] = [{}, {"lsq": True}]


def ranges_of(model: PreTrainedModel) -> dict[str, tuple[float, float]]:
    """Of every quantized Linear."""
    return {name: (linear.low.item(), linear.high.item()) for name, linear in quantized_linears(model).items()}


# -- what it learns


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        *WAYS,
        {"symmetric": False, "per_channel": False},
        {"symmetric": False, "lsq": True},
        {"start_step": 3},
    ],
)
def test_it_learns_a_task_that_one_word_decides(toy: Task, way: dict[str, Any]) -> None:
    model = tiny_bert(initializer_range=0.05)
    tuned = quantize_aware(model, task=toy_task(train=80), epochs=12, learning_rate=1e-2, batch_size=16, **way)
    assert accuracy(model, toy) < 0.8
    assert accuracy(tuned, toy) == 1.0


def test_the_model_that_comes_in_and_its_teacher_stay_bit_for_bit(model: PreTrainedModel, toy: Task) -> None:
    teacher = tiny_bert(seed=8)
    before, said = [state_of(network) for network in (model, teacher)], [logits_of(network) for network in (model, teacher)]
    tuned = quantize_aware(model, teacher=teacher, task=toy, **QUICK)
    pointers = {parameter.data_ptr() for parameter in tuned.parameters()}
    for network, state, answer in zip((model, teacher), before, said, strict=True):
        assert not differences(state_of(network), state)
        assert torch.equal(logits_of(network), answer)
        assert not pointers & {parameter.data_ptr() for parameter in network.parameters()}
    assert not tuned.training
    with quantizers_off(tuned):
        assert not torch.allclose(logits_of(tuned), said[0])


@pytest.mark.parametrize("way", [*WAYS, {"start_step": 2, "average": 0.5}])
def test_the_same_seed_gives_the_same_weights_and_ranges_and_another_seed_others(
    model: PreTrainedModel, toy: Task, way: dict[str, Any]
) -> None:
    first, again, other = (quantize_aware(model, task=toy, **QUICK, **way, run=StepContext(seed=seed)) for seed in (4, 4, 5))
    assert not differences(state_of(first), state_of(again))
    assert {"classifier.weight", "bert.pooler.dense.high"} <= set(differences(state_of(first), state_of(other)))


@pytest.mark.parametrize("way", [*WAYS, {"start_step": 4, "freeze": 0.9}, {"freeze": 0.0}])
def test_the_result_quantizes_with_ranges_that_stay(model: PreTrainedModel, toy: Task, way: dict[str, Any]) -> None:
    """In evaluation and in training; what is left of learned steps is the ranges alone."""
    tuned = quantize_aware(model, task=toy, **QUICK, **way)
    plain = {name for name, _ in model.named_parameters()}
    assert {name for name, _ in tuned.named_parameters()} == plain
    before = ranges_of(tuned)
    logits_of(tuned)
    logits_of(tuned.train())
    assert ranges_of(tuned) == before
    for linear in quantized_linears(tuned).values():
        assert linear.has_range
        assert linear.on
    assert all(module.on for module in tuned.modules() if isinstance(module, QuantizedEmbedding))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("per_channel", "symmetric"), [(True, False), (False, True)])
def test_the_form_of_the_grids_arrives_and_is_saved(
    model: PreTrainedModel, toy: Task, tmp_path: Path, per_channel: bool, symmetric: bool, way: dict[str, Any]
) -> None:
    tuned = quantize_aware(model, task=toy, **QUICK, per_channel=per_channel, symmetric=symmetric, **way)
    quantizers = read_structure(tuned)["quantizers"]
    assert (quantizers["per_channel"], quantizers["symmetric"]) == (per_channel, symmetric)
    for linear in quantized_linears(tuned).values():
        assert linear.weight_scale().shape == ((linear.out_features if per_channel else 1), 1)
        assert (linear.low.item() == -linear.high.item()) == symmetric
    assert torch.equal(logits_of(load(save(tuned, tmp_path / "tuned"))), logits_of(tuned))


# -- teachers


def test_a_teacher_changes_what_is_learned_and_by_default_counts_nine_times_the_labels(
    model: PreTrainedModel, toy: Task
) -> None:
    teacher = tiny_bert(seed=8)
    alone, helped, spelled, weighted = (
        quantize_aware(model, task=toy, **QUICK, **more)
        for more in (
            {},
            {"teacher": teacher},
            {"teacher": teacher, "objectives": {"logits": 0.9, "labels": 0.1}},
            {"teacher": teacher, "objectives": {"labels": 1.0}},
        )
    )
    assert differences(state_of(alone), state_of(helped))
    assert not differences(state_of(helped), state_of(spelled))
    assert not differences(state_of(alone), state_of(weighted))


def test_the_first_loss_is_that_of_the_float_model_before_quantization_begins(toy: Task, exact: None) -> None:
    """Worked out with numpy from both models' answers to the first batch; the temperature is 3."""
    student, teacher = (tiny_bert(seed=seed, **without_dropout()) for seed in (9, 8))
    run = StepContext()
    quantize_aware(student, teacher=teacher, task=toy, temperature=3.0, start_step=1, epochs=1, batch_size=20, run=run)
    encoded = toy.encode(toy.train, student.tokenizer)
    first = epoch_batches(encoded.lengths, 20, run.seed, 0)[0]
    said, target = (predict(network, encoded).astype(np.float64)[first] for network in (student, teacher))

    def softmax(values: np.ndarray) -> np.ndarray:
        return np.exp(values) / np.exp(values).sum(1, keepdims=True)

    p, q = softmax(target / 3), softmax(said / 3)
    divergence = 9 * (p * np.log(p / q)).sum(1).mean()
    entropy = -np.log(softmax(said)[np.arange(20), toy.train.labels[first]]).mean()
    assert run.facts["curve"][0] == [1, pytest.approx(0.9 * divergence + 0.1 * entropy, abs=2e-5)]


def test_hidden_states_of_a_teacher_are_learned_too(model: PreTrainedModel, toy: Task) -> None:
    tuned = quantize_aware(model, teacher=tiny_bert(seed=8), task=toy, objectives={"hidden": 1.0}, **QUICK)
    assert all(linear.has_range for linear in quantized_linears(tuned).values())


# -- ranges over the steps


def kept_at(step: int, model: PreTrainedModel, task: Task, folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    """The weights and ranges after so many of ten steps, from the checkpoint of a run that is stopped in the next."""
    run = StepContext(folder=folder, progress=stop_at(step + 1), checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        quantize_aware(model, task=task, **TEN_STEPS, **options, run=run)
    tensors = load_file(folder / FILE)
    return {name.removeprefix("model.student."): tensor for name, tensor in tensors.items() if name.startswith("model.")}


def ranges_in(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The ranges among weights."""
    return {name: tensor for name, tensor in state.items() if name.endswith((".low", ".high"))}


@pytest.mark.parametrize(("freeze", "last"), [(0.4, 6), (0.9, 1), (0.25, 8)])  # 0.25 begins within step 8
def test_ranges_stay_in_the_last_part_and_move_before(
    model: PreTrainedModel, toy: Task, tmp_path: Path, freeze: float, last: int
) -> None:
    final = ranges_in(state_of(quantize_aware(model, task=toy, **TEN_STEPS, freeze=freeze)))
    assert not differences(ranges_in(kept_at(last, model, toy, tmp_path / "frozen", freeze=freeze)), final)
    if last > 1:
        before = ranges_in(kept_at(last - 1, model, toy, tmp_path / "before", freeze=freeze))
        assert len(differences(before, final)) == len(final) == 26


def test_without_freeze_ranges_move_to_the_last_step(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    final = ranges_in(state_of(quantize_aware(model, task=toy, **TEN_STEPS, freeze=0.0)))
    assert len(differences(ranges_in(kept_at(9, model, toy, tmp_path, freeze=0.0)), final)) == 26


def test_ranges_follow_with_the_decay_that_is_given(toy: Task, tmp_path: Path, exact: None) -> None:
    """The first query reads the embeddings, which hardly move at a rate of 1e-6, so that the batches tell its range."""
    model = tiny_bert(**without_dropout())
    options: dict[str, Any] = {"decay": 0.75, "freeze": 0.0, "symmetric": False}
    tuned = quantize_aware(model, task=toy, **{**TEN_STEPS, "learning_rate": 1e-6}, **options)
    read: list[torch.Tensor] = []
    plain = with_quantizers(model, per_channel=True, symmetric=False)  # embeddings are rounded
    query = plain.bert.encoder.layer[0].attention.self.query
    query.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    encoded = toy.encode(toy.train, model.tokenizer)
    for indices in epoch_batches(encoded.lengths, 4, 13, 0):
        logits_of(plain, **{name: torch.from_numpy(values) for name, values in encoded.batch(indices).items()})
    low, high = read[0].min().item(), read[0].max().item()
    for values in read[1:]:
        low, high = 0.75 * low + 0.25 * values.min().item(), 0.75 * high + 0.25 * values.max().item()
    assert ranges_of(tuned)["bert.encoder.layer.0.attention.self.query"] == pytest.approx((low, high), rel=1e-3)


def test_steps_before_the_start_are_those_of_fine_tuning(toy: Task, tmp_path: Path, exact: None) -> None:
    """Up to rounding, since the key and value of the last layer run over all tokens; ranges are followed already."""
    model = tiny_bert(**without_dropout())
    run = StepContext(folder=tmp_path / "plain", progress=stop_at(4), checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        fine_tune(model, task=toy, **TEN_STEPS, run=run)
    plain = load_file(tmp_path / "plain" / FILE)
    weights = kept_at(3, model, toy, tmp_path / "quantized", start_step=3)
    for name, tensor in weights.items():
        if not name.endswith(("key.bias", ".low", ".high")):  # nothing depends on the key's bias
            torch.testing.assert_close(tensor, plain[f"model.student.{name}"], rtol=0, atol=2e-5, msg=name)
    assert all(tensor != 0 for tensor in ranges_in(weights).values())
    at_once = kept_at(3, model, toy, tmp_path / "at once", start_step=0)
    assert not torch.allclose(at_once["classifier.weight"], plain["model.student.classifier.weight"], atol=2e-5)


def test_learned_steps_begin_where_calibration_puts_them_and_change_every_range(model: PreTrainedModel, toy: Task) -> None:
    start = ranges_of(calibrated(model, toy, Calibrated("mse")))
    slow, quick = (
        ranges_of(quantize_aware(model, task=toy, **{**QUICK, "learning_rate": rate}, lsq=True)) for rate in (1e-8, 1e-2)
    )
    for name, (low, high) in start.items():
        assert slow[name] == pytest.approx((low, high), rel=1e-5)
        assert quick[name] != pytest.approx((low, high), rel=1e-3)
        assert quick[name] == pytest.approx((low, high), rel=0.1)  # five steps of AdamW at 1e-2 of the logarithm


# -- stopped and resumed


@pytest.mark.parametrize("step", mostly_matrix([1, 4, 5, 6, 9], always=[5, 6]))  # of two epochs of five
@pytest.mark.parametrize("way", [*WAYS, {"start_step": 4, "freeze": 0.4}, {"average": 0.5, "symmetric": False}])
def test_stopped_and_resumed_equals_uninterrupted(
    model: PreTrainedModel, toy: Task, tmp_path: Path, step: int, way: dict[str, Any]
) -> None:
    options = {**QUICK, "epochs": 2, **way}
    expected = quantize_aware(model, task=toy, **options)
    with pytest.raises(Stopped):
        quantize_aware(
            model, task=toy, **options, run=StepContext(folder=tmp_path, progress=stop_at(step), checkpoint_seconds=0.0)
        )
    steps: list[int] = []
    resumed = quantize_aware(model, task=toy, **options, run=StepContext(folder=tmp_path, progress=steps_told(steps)))
    assert steps[0] == step
    assert not differences(state_of(resumed), state_of(expected))
    assert torch.equal(logits_of(resumed), logits_of(expected))


def test_a_run_that_has_ended_is_taken_from_its_checkpoint(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    first = quantize_aware(model, task=toy, **QUICK, lsq=True, run=StepContext(folder=tmp_path))
    steps: list[int] = []
    run = StepContext(folder=tmp_path, progress=steps_told(steps))
    again = quantize_aware(model, task=toy, **QUICK, lsq=True, run=run)
    assert steps == []
    assert not differences(state_of(first), state_of(again))


@pytest.mark.parametrize(
    "other",
    [
        {"per_channel": False},
        {"symmetric": False},
        {"lsq": True},
        {"decay": 0.5},
        {"start_step": 3},
        {"freeze": 0.0},
    ],
)
def test_a_run_with_other_options_starts_anew(
    model: PreTrainedModel, toy: Task, tmp_path: Path, other: dict[str, Any]
) -> None:
    with pytest.raises(Stopped):
        quantize_aware(model, task=toy, **QUICK, run=StepContext(folder=tmp_path, progress=stop_at(4), checkpoint_seconds=0.0))
    steps: list[int] = []
    quantize_aware(model, task=toy, **QUICK, **other, run=StepContext(folder=tmp_path, progress=steps_told(steps)))
    assert steps == [1, 2, 3, 4, 5]


# -- what is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *OUT_OF_RANGE,
        ("temperature", 0.0),
        ("temperature", 101.0),
        ("decay", 1.0),
        ("decay", -0.1),
        ("decay", float("nan")),
        ("start_step", -1),
        ("start_step", 1.5),
        ("freeze", -0.1),
        ("freeze", 1.1),
        ("per_channel", "yes"),
        ("symmetric", 1),
        ("lsq", None),
        ("objectives", {}),
        ("objectives", {"labels": 0.0}),
    ],
)
def test_values_out_of_range_are_refused_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=rf"quantize_aware\.{name}"):
        quantize_aware(forbid_forward_passes(model), task=toy, **{name: value})


@pytest.mark.parametrize(
    ("start_step", "changes", "steps"),
    [
        (5, {}, 5),
        (900, {}, 5),
        (5, {"epochs": 3}, 5),
        (3, {"accumulate": 2}, 3),
        (2, {"epochs": 0.4}, 2),
        (1, {"batch_size": 40}, 1),
    ],
)
def test_a_start_beyond_the_first_epoch_is_refused_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, start_step: int, changes: dict[str, Any], steps: int
) -> None:
    said = rf"quantize_aware\.start_step is {start_step}, but an epoch has {steps} steps; begin within the first"
    with pytest.raises(InputError, match=said):
        quantize_aware(forbid_forward_passes(model), task=toy, **{**QUICK, **changes}, start_step=start_step)


def test_the_last_step_of_the_first_epoch_is_early_enough(model: PreTrainedModel, toy: Task) -> None:
    tuned = quantize_aware(model, task=toy, **{**QUICK, "epochs": 2}, start_step=4)
    assert all(linear.has_range for linear in quantized_linears(tuned).values())


def test_a_model_that_quantizes_already_is_refused(model: PreTrainedModel, toy: Task) -> None:
    quantized = forbid_forward_passes(with_quantizers(model, per_channel=True, symmetric=True))
    for way in WAYS:
        with pytest.raises(InputError, match="quantized already; start from the model before that step"):
            quantize_aware(quantized, task=toy, **way)


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        ({"logits": 1.0}, r"quantize_aware\.objectives names 'logits', which looks at a teacher"),
        ({"hidden": 1.0, "labels": 1.0}, r"quantize_aware\.objectives names 'hidden', which looks at a teacher"),
        ({"label": 1.0}, r"quantize_aware\.objectives names 'label'; allowed: labels, logits, logit_mse, margin_mse, hidden"),
    ],
)
def test_objectives_that_cannot_be_learned_are_refused_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, objectives: dict[str, float], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        quantize_aware(forbid_forward_passes(model), task=toy, objectives=objectives)


def test_a_teacher_that_does_not_fit_is_refused_before_any_forward_pass(model: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(InputError, match="the teacher has 2 labels, but the task has others"):
        quantize_aware(forbid_forward_passes(model), teacher=tiny_bert(labels=("good", "ugly")), task=toy)
    teacher = forbid_forward_passes(tiny_bert())
    teacher.tokenizer = tiny_tokenizer(tuple(sorted(model.tokenizer.get_vocab())))
    with pytest.raises(InputError, match="different vocabularies"):
        quantize_aware(model, teacher=teacher, task=toy, objectives={"hidden": 1.0})


def test_learned_steps_need_a_calibration_part(model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="calibration part has 4 examples; at least 16"):
        quantize_aware(forbid_forward_passes(model), task=toy_task(others=4), lsq=True)


def test_what_quantizes_can_be_trained_further_and_taught(model: PreTrainedModel, toy: Task) -> None:
    """Its ranges stay, and its weights change."""
    tuned = quantize_aware(model, task=toy, **QUICK)
    taught = distill(tuned, teacher=model, task=toy, objectives={"logits": 1.0}, **QUICK)
    for more in (fine_tune(tuned, task=toy, **QUICK), taught):
        assert ranges_of(more) == ranges_of(tuned)
        assert differences(state_of(more), state_of(tuned))
        assert not torch.allclose(logits_of(more), logits_of(tuned))
