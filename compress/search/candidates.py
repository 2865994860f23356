"""The ways to a smaller model that are tried, for whatever task and family; each is rehearsed, so only what runs is left.

The values are those of the hand-written recipes that kept quality: rates of 1e-4 to 3e-4 for models of some 20 million
weights, a teacher's answers with a tenth of the labels, twice the teacher's epochs or more for what lost half of its layers.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from compress.benchmark.counts import torch_macs
from compress.errors import InputError, first_line
from compress.methods import METHODS
from compress.models.heads import head_of
from compress.models.layout import encoder_layers
from compress.models.students import spread_layers
from compress.recipe.plan import INPUT_MODEL
from compress.recipe.signatures import load_function
from compress.search.prediction import Candidate
from compress.targets import TARGETS
from compress.targets.refusing import refuse_shape
from compress.training.step_context import StepContext

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

Steps = list[dict[str, Any]]

TEACHER = "teacher"
STEPS_ENOUGH, FEWEST_EPOCHS, MOST_EPOCHS = 2500, 3, 12
"""Batches in which a model of some 20 million weights learned the tasks of recipes/, and the epochs that they take, least
and most."""
BATCH = 32
LARGE = 60e6
"""Parameters above which rates are those of BERT-base."""
DEPTHS = (2 / 3, 1 / 2, 1 / 3, 1 / 6)
FORWARD_AND_BACK = 3.0
NONE = "none"


@dataclass(frozen=True)
class Start:
    """What every candidate begins with.

    Args:
        model: The teacher, or what has its shape before it is trained.
        task: The data.
        steps: Those that make the teacher; none where the model is the teacher.
        target: What is shipped.
        length: Tokens that are timed.
        epochs: Of the teacher's training, or what it would take.
        needs_speed: Whether a goal is one of time.
    """

    model: PreTrainedModel
    task: Task
    steps: Steps
    target: str
    length: int
    epochs: int
    needs_speed: bool

    @property
    def teacher(self) -> str:
        """How steps name the teacher."""
        return TEACHER if self.steps else INPUT_MODEL

    @property
    def rate(self) -> float:
        """Of learning."""
        return rate_of(self.model)


def rate_of(model: PreTrainedModel) -> float:
    """The highest learning rate that suits a model's size."""
    return 2e-4 if sum(parameter.numel() for parameter in model.parameters()) < LARGE else 5e-5


def epochs_for(rows: int) -> int:
    """Passes over so many rows that a task is learned in."""
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(STEPS_ENOUGH * BATCH / max(1, rows))))


def teacher_steps(model: PreTrainedModel, epochs: int, new_head: bool) -> Steps:
    """The step that trains a model which has no head for the task yet."""
    begin = {"new_head": True} if new_head else {}
    return [{"fine_tune": {**begin, "epochs": epochs, "batch_size": BATCH, "learning_rate": rate_of(model)}, "as": TEACHER}]


def recipe_of(
    candidate: Candidate, epochs: int, begin: Mapping[str, Any], start: Start, gates: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The recipe of a trial, as plain data.

    Args:
        candidate: What is tried.
        epochs: Of its training; steps that train longer are cut in proportion.
        begin: The keys seed, model and task.
        start: Tells the teacher, the target and the length.
        gates: Of the recipe that is left in the end.
    """
    share = epochs / candidate.epochs if candidate.epochs else 1.0
    steps = [_shortened(step, share) for step in candidate.steps]
    return {
        "name": candidate.name,
        **begin,
        "steps": [*start.steps, *steps],
        "export": [{start.target: dict(candidate.options)}],
        "benchmark": {
            "batch": [1],
            "length": [start.length],
            "threads": [1],
            "baseline": start.teacher,
            "rounds": 3,
            "seconds": 0.3,
        },
        **({"gates": dict(gates)} if gates else {}),
    }


def _shortened(step: dict[str, Any], share: float) -> dict[str, Any]:
    changed = dict(step)
    for method, arguments in step.items():
        if isinstance(arguments, dict) and "epochs" in arguments:
            changed[method] = arguments | {"epochs": max(1, round(arguments["epochs"] * share))}
    return changed


def candidates_for(start: Start) -> tuple[list[Candidate], dict[str, str]]:
    """What can be tried on a model, and why the rest cannot: name -> what refused it.

    Every step is rehearsed on the model's shape, in the order of the recipe, so that methods, families, kinds of tasks and
    targets say themselves what fits.
    """
    candidates: list[Candidate] = []
    refused: dict[str, str] = {}
    for name, steps, options in _ideas(start):
        try:
            model = _rehearsed(start, steps)
            refuse_shape(start.target, options, model)
        except InputError as err:
            refused[name] = first_line(err)
            logger.debug("%s is not tried: %s", name, first_line(err))
            continue
        candidates.append(_candidate(name, steps, options, model, start))
    return candidates, refused


def _candidate(name: str, steps: Steps, options: dict[str, Any], model: PreTrainedModel, start: Start) -> Candidate:
    trained = [arguments for step in steps for arguments in step.values() if isinstance(arguments, dict)]
    macs = torch_macs(model, start.length)
    epochs = max([arguments.get("epochs", 0) for arguments in trained], default=0)
    return Candidate(
        name=name,
        method=next(iter(steps[0])) if steps else NONE,
        steps=tuple(steps),
        options=options,
        macs=float(macs),
        parameters=float(sum(parameter.numel() for parameter in model.parameters())),
        epochs=epochs,
        work=FORWARD_AND_BACK * macs * len(start.task.train),
    )


def _rehearsed(start: Start, steps: Steps) -> PreTrainedModel:
    """The shape that steps make of the teacher."""
    model = start.model
    for step in steps:
        method = next(key for key in step if key != "as")
        function = load_function(METHODS, method)
        arguments = dict(step[method])
        if "teacher" in arguments:
            arguments["teacher"] = start.model
        if "task" in inspect.signature(function).parameters:
            arguments["task"] = start.task
        model = function(model, **arguments, run=StepContext(device="cpu", rehearsal=True))
    return model


def _ideas(start: Start) -> Iterator[tuple[str, Steps, dict[str, Any]]]:
    """Name, steps and export options of everything that may be tried; what trains nothing first."""
    yield "whole", [], {}
    if "activations" in inspect.signature(load_function(TARGETS, start.target)).parameters:
        yield "whole_static_ranges", [], {"activations": "static"}
    yield "small_vocabulary", [{"trim_vocabulary": {}}], {}
    for macs in (0.75, 0.5):
        yield f"prune_after_training_{round(100 * macs)}", [{"prune_after_training": {"macs": macs}}], {}
    learn = _distill(start)
    for layers in _depths(start.model):
        keep = spread_layers(layers, len(encoder_layers(start.model)))
        yield f"layers_{layers}", [{"drop_layers": {"keep": keep}}, learn(2)], {}
    yield "ffn_half", [{"prune_ffn": {"fraction": 0.5}}, learn(1)], {}
    width = getattr(start.model.config, "hidden_size", 0) // 2
    if width:
        yield "half_width", [{"prune_width": {"width": width}}, learn(2)], {}
    quantized = {
        "epochs": max(1, start.epochs // 3),
        "batch_size": BATCH,
        "learning_rate": start.rate / 10,
        "symmetric": False,
    }
    yield "quantize_aware", [{"quantize_aware": {"teacher": start.teacher, **quantized}}], {}
    if start.needs_speed:
        for speedup in (2, 4):
            timed = {"speedup": speedup, "target": start.target, "batch": 1, "length": start.length, "threads": 1}
            yield f"latency_{speedup}", [{"prune_to_latency": timed}, learn(2)], {}
    for kind in ("bilstm", "static"):
        yield kind, [{"build_student": {"kind": kind}}, learn(2, rate=1e-3)], {}


def _depths(model: PreTrainedModel) -> Sequence[int]:
    count = len(encoder_layers(model))
    return sorted({max(1, round(share * count)) for share in DEPTHS} - {count}, reverse=True) if count else ()


def _distill(start: Start) -> Any:
    """Make the step that lets a student learn from the teacher, in so many times the teacher's epochs."""
    gives_vectors = head_of(start.model).gives_vectors
    objectives = {"vectors": 1.0} if gives_vectors else {"logits": 0.9, "labels": 0.1}

    def step(times: int, rate: float | None = None) -> dict[str, Any]:
        return {
            "distill": {
                "teacher": start.teacher,
                "objectives": objectives,
                "epochs": min(MOST_EPOCHS, times * start.epochs),
                "batch_size": BATCH,
                "learning_rate": rate or start.rate,
            }
        }

    return step
