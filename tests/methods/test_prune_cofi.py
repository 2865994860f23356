"""Parts of an encoder are chosen while a teacher teaches, and are gone in the end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.methods import prune_cofi as module
from compress.methods.prune_cofi import prune_cofi
from compress.models.surgery import keep_layers
from compress.pruning.structure_masks import StructureMasks, encoder_parameters, layer_costs
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import OUT_OF_RANGE, forbid_forward_passes
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of
from tests.training.test_checkpoint import Stopped, steps_told, stop_at

QUICK: dict[str, Any] = {"fraction": 0.5, "epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "multiple_of": 1}
LONG: dict[str, Any] = {"epochs": 60, "batch_size": 4, "learning_rate": 1e-3, "mask_learning_rate": 0.1, "multiple_of": 1}


def gone(result: PreTrainedModel, model: PreTrainedModel) -> float:
    return 1 - encoder_parameters(layer_costs(result)) / encoder_parameters(layer_costs(model))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[StructureMasks]:
    """The masks of each call, as training has left them."""
    made: list[StructureMasks] = []

    class Watched(StructureMasks):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(module, "StructureMasks", Watched)
    return made


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize(("fraction", "width"), [(0.4, False), (0.7, False), (0.7, True)])
def test_the_target_is_reached_with_enough_steps(model: PreTrainedModel, toy: Task, fraction: float, width: bool) -> None:
    result = prune_cofi(model, teacher=model, task=toy, fraction=fraction, width=width, **LONG)
    assert gone(result, model) == pytest.approx(fraction, abs=0.02)
    assert torch.isfinite(logits_of(result)).all()


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert", "albert"])
def test_every_family_is_pruned_and_loads_again(kind: str, toy: Task, tmp_path: Path) -> None:
    model = tiny_of(kind)
    before = state_of(model)
    options = {**QUICK, "fraction": 0.3, "width": kind in ("bert", "distilbert")}
    result = prune_cofi(model, teacher=model, task=toy, **options)
    assert not differences(before, state_of(model))
    assert gone(result, model) > 0
    again = cp.load(cp.save(result, tmp_path / "saved"))
    assert torch.equal(logits_of(result), logits_of(again))


@pytest.mark.parametrize("width", [False, True])
def test_the_result_is_what_the_masked_model_answers_at_the_end(
    model: PreTrainedModel, toy: Task, width: bool, watched: list[StructureMasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    students: list[PreTrainedModel] = []
    real = module.train

    def kept(*args: Any, **options: Any) -> PreTrainedModel:
        students.append(real(*args, **options))
        return students[-1]

    monkeypatch.setattr(module, "train", kept)
    result = prune_cofi(model, teacher=model, task=toy, width=width, **QUICK)
    (student,), (masks,) = students, watched
    assert not student._forward_pre_hooks
    with masks.applied(student):
        expected = logits_of(student)
    torch.testing.assert_close(logits_of(result), expected, rtol=1e-5, atol=1e-5)
    assert masks.multipliers.abs().min() > 0
    assert masks.target == pytest.approx(0.5)


def test_the_target_rises_from_0_and_stays(model: PreTrainedModel) -> None:
    masks, seen = StructureMasks(model, width=False, multiple_of=1, seed=1), []
    with module.ExitStack() as stack:
        for step in range(10):
            module._before_step(masks, stack, model, step, 10, fraction=0.8, reached_by=0.4)
            seen.append(masks.target)
    assert seen == pytest.approx([0.0, 0.2, 0.4, 0.6, *[0.8] * 6])
    module._before_step(masks, stack, model, 0, 10, fraction=0.8, reached_by=0.0)
    assert masks.target == 0.0


@pytest.mark.matrix
@pytest.mark.slow
def test_more_is_pruned_where_more_is_asked(model: PreTrainedModel, toy: Task) -> None:
    options = {**LONG, "epochs": 20, "mask_learning_rate": 0.3}
    little, much = (
        gone(prune_cofi(model, teacher=model, task=toy, fraction=fraction, **options), model) for fraction in (0.2, 0.8)
    )
    assert much > little + 0.2


def test_a_narrower_student_of_less_depth_learns_from_its_teacher(toy: Task) -> None:
    teacher = tiny_bert(layers=4, hidden_size=24, seed=8)
    student = tiny_bert(layers=2)
    result = prune_cofi(student, teacher=teacher, task=toy, teacher_layers=[2, 4], **QUICK)
    assert gone(result, student) > 0


@pytest.mark.parametrize(("depth", "layers"), [(12, [3, 6, 9, 12]), (6, [2, 3, 5, 6]), (3, [1, 2, 3]), (2, [1, 2]), (1, [1])])
def test_four_layers_of_the_teacher_teach_evenly_spread(depth: int, layers: list[int]) -> None:
    teacher = keep_layers(tiny_bert(), [0] * depth)
    assert module._checked(tiny_bert(), teacher, 0.5, False, None) == layers


def test_the_same_seed_gives_the_same_result_and_another_one_another(model: PreTrainedModel, toy: Task) -> None:
    options = {**QUICK, "teacher": model, "task": toy, "accumulate": 2}
    first, again, other = (prune_cofi(model, **options, run=StepContext(seed=seed)) for seed in (1, 1, 2))
    assert not differences(state_of(first), state_of(again))
    assert differences(state_of(first), state_of(other))


@pytest.mark.parametrize("step", [1, 4, 5, 6, 9])  # of two epochs of five
def test_stopped_and_resumed_equals_uninterrupted(model: PreTrainedModel, toy: Task, tmp_path: Path, step: int) -> None:
    options = {**QUICK, "teacher": model, "task": toy, "epochs": 2, "width": True, "mask_learning_rate": 0.2}
    expected = prune_cofi(model, **options)
    with pytest.raises(Stopped):
        prune_cofi(model, **options, run=StepContext(folder=tmp_path, progress=stop_at(step), checkpoint_seconds=0.0))
    steps: list[int] = []
    resumed = prune_cofi(model, **options, run=StepContext(folder=tmp_path, progress=steps_told(steps)))
    assert steps[0] == step
    assert not differences(state_of(resumed), state_of(expected))
    again = prune_cofi(model, **options, run=StepContext(folder=tmp_path, progress=steps_told(steps)))
    assert steps[-1] == 10
    assert not differences(state_of(again), state_of(expected))


@pytest.mark.parametrize(
    "other",
    [
        {"fraction": 0.6},
        {"width": True},
        {"alpha": 0.5},
        {"temperature": 1.0},
        {"teacher_layers": [2]},
        {"mask_learning_rate": 0.1},
        {"reached_by": 0.5},
        {"multiple_of": 4},
    ],
)
def test_a_run_with_other_options_starts_anew(
    model: PreTrainedModel, toy: Task, tmp_path: Path, other: dict[str, Any]
) -> None:
    options = {**QUICK, "teacher": model, "task": toy}
    with pytest.raises(Stopped):
        prune_cofi(model, **options, run=StepContext(folder=tmp_path, progress=stop_at(4), checkpoint_seconds=0.0))
    steps: list[int] = []
    prune_cofi(model, **{**options, **other}, run=StepContext(folder=tmp_path, progress=steps_told(steps)))
    assert steps == [1, 2, 3, 4, 5]


def test_a_missed_target_is_told(model: PreTrainedModel, toy: Task, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        prune_cofi(model, teacher=model, task=toy, **{**QUICK, "fraction": 0.9})
    assert "prune_cofi.fraction is 0.9, but 0." in caplog.text


def test_more_than_heads_and_neurons_is_refused(toy: Task) -> None:
    """Of 1960 parameters of a layer, 96 are biases behind heads and neurons, and of LayerNorms: 0.951 can go."""
    model = forbid_forward_passes(tiny_bert())
    with pytest.raises(InputError, match=r"prune_cofi\.fraction is 0\.96, but heads and neurons are only 0\.951"):
        prune_cofi(model, teacher=model, task=toy, fraction=0.96)


@pytest.mark.parametrize("layers", [[0], [3], [2, 1], [1, 1], []])
def test_layers_must_be_the_teacher_s(model: PreTrainedModel, toy: Task, layers: list[int]) -> None:
    with pytest.raises(InputError, match=r"prune_cofi\.teacher_layers"):
        prune_cofi(forbid_forward_passes(model), teacher=model, task=toy, fraction=0.5, teacher_layers=layers)


def test_students_and_teachers_that_do_not_fit_are_refused(model: PreTrainedModel, toy: Task) -> None:
    forbid_forward_passes(model)
    other = tiny_bert(labels=("good", "ugly"))
    with pytest.raises(InputError, match="the teacher has 2 labels, but the task has others"):
        prune_cofi(model, teacher=other, task=toy, fraction=0.5)
    other = tiny_bert()
    other.tokenizer.add_tokens(["new"])
    with pytest.raises(InputError, match="different vocabularies, but prune_cofi compares them token by token"):
        prune_cofi(model, teacher=other, task=toy, fraction=0.5)
    albert = tiny_of("albert")
    with pytest.raises(InputError, match=r"prune_cofi\.width is true, but the width of a albert cannot be cut"):
        prune_cofi(albert, teacher=albert, task=toy, fraction=0.5, width=True)


def test_models_that_quantize_or_have_no_encoder_are_refused(model: PreTrainedModel, toy: Task) -> None:
    quantized = cp.quantize_aware(model, task=toy, epochs=1, batch_size=20)
    with pytest.raises(InputError, match="prune_cofi: the model quantizes; prune it before quantize_aware"):
        prune_cofi(quantized, teacher=model, task=toy, fraction=0.5)
    words = cp.build_student(model, kind="static", task=toy)
    with pytest.raises(InputError, match="a static has no encoder"):
        prune_cofi(words, teacher=model, task=toy, fraction=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[row for row in OUT_OF_RANGE if row[0] not in ("average", "patience")],
        ("fraction", 0.0),
        ("fraction", 1.0),
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("multiple_of", 0),
        ("mask_learning_rate", 0.0),
        ("reached_by", 1.1),
        ("temperature", 0.0),
        ("width", 1),
    ],
)
def test_values_out_of_range_are_refused_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=rf"prune_cofi\.{name}"):
        prune_cofi(forbid_forward_passes(model), teacher=model, task=toy, **{"fraction": 0.5, name: value})
