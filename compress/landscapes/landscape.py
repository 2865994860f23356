"""Look at the loss around models and between them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from transformers import PreTrainedModel

from compress.benchmark.subjects import free_name
from compress.disk import folders_made
from compress.errors import InputError, raise_together, shown
from compress.landscapes.directions import Plane, free_weights, plane_through, principal_plane, random_direction
from compress.landscapes.loss import SampleLoss, check_loss
from compress.landscapes.sharpness import rises, trace
from compress.landscapes.store import Store
from compress.landscapes.subject import Subject, subject_of, why_apart
from compress.landscapes.surfaces import grid_of, line, surface
from compress.landscapes.words import answer
from compress.log import Progress, no_progress
from compress.marks import make_way
from compress.pipeline.cache import cache_folder, disk_errors_told, open_cache
from compress.pipeline.keys import VERSIONS, versions
from compress.pruning.fisher import drawn_examples
from compress.record import finite, write_whole
from compress.training.compatibility import check_fit

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

LANDSCAPE = "landscape.json"
SCHEMA = 1
SIGN, SVG_SIGN = '"kind": "landscape"', "svg { --card: "
PART = ("train", "selection")
MOST_POINTS, MOST_PLANE_POINTS, MOST_DRAWS, MOST_EXAMPLES, WIDEST = 1001, 101, 1000, 1_000_000, 10.0
AROUND = 1.0
"""How far a surface around a model goes on each side, as in Li et al.: each filter moved by as much as it is long."""


def landscape(
    models: Mapping[str, PreTrainedModel] | Sequence[PreTrainedModel],
    *,
    task: Task,
    examples: int = 256,
    part: Literal["train", "selection"] = "train",
    points: int = 21,
    radius: float = 0.5,
    directions: int = 8,
    probes: int = 8,
    plane: bool = False,
    around: bool = False,
    plane_points: int = 11,
    seed: int = 13,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    figures: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Look at the loss around models and between them, and say in words what there is.

    For each model: its loss on a fixed sample; by how much random steps of some lengths raise it; the trace of its Hessian.
    Between each model and the next one whose weights have the same shapes: the loss along the line through both. No model is
    changed, nothing is trained, and the evaluation part is not touched.

    Source: Li et al. 2018, "Visualizing the loss landscape of neural nets", arXiv 1712.09913; of BERT: Hao et al. 2019,
    arXiv 1908.05620.
    Differs: random directions leave the zeros of matrices where they are, so that the surroundings of a pruned model are those
    of its own weights; biases and normalizations stay as in Li et al.

    Args:
        models: By their names, or a list of models that are called by their labels; the line goes from each to the next.
        task: Gives the sample, and its loss on labels.
        examples: Of the sample, drawn by the seed; all where the part has fewer. Time grows with them.
        part: What they are drawn from: what weights learn from, or what picks epochs.
        points: Of a line that goes from half of the way before its first model to as much behind its second; those two are
            added where they are none of them.
        radius: Of the largest random steps, as a part of each filter's length; rises are told at quarters of it.
        directions: Random steps, each both ways.
        probes: Random signs for the trace; each takes about ten times what a loss does.
        plane: Compute the plane through three models, or of more models, in their order a trajectory, the plane of the two
            principal components of their differences to the last one.
        around: Compute a plane of two random directions around each model as well.
        plane_points: Along each side of a plane.
        seed: Of the sample, the directions and the probes.
        out: Where landscape.json and the figures are written; nothing is written if None.
        cache: Where numbers are kept as soon as they are known, so that a call that was stopped goes on and a second one
            computes nothing; `.cache` beside `out` if None, and nothing is kept without either.
        figures: Whether figures are drawn, which takes matplotlib (`pip install 'bert-compress[figures]'`).
        progress: Told after each loss.

    Returns:
        What landscape.json holds; `answer` are the sentences.

    Raises:
        InputError: A number is out of range, there is no model, a model does not fit the task, models of a plane have other
            shapes or stand on one line, or a loss is not finite.
    """
    named = _named(models)
    _check(named, part, plane, radius, _counts(examples, points, directions, probes, plane_points, seed))
    if out is not None:
        check_writable(Path(out), figures)
    subjects = _subjects(named, task, examples, part, seed)
    if plane:
        _check_plane(subjects)
    store = _store(cache, out, progress)
    sample = {
        "task": task.name,
        "kind": task.kind,
        "fingerprint": task.fingerprint,
        "part": part,
        "examples": len(subjects[0].encoded),
        "max_length": task.max_length,
        "seed": seed,
    }
    key = {"data": task.fingerprint, "part": part, "examples": examples, "sample_seed": seed}
    record: dict[str, Any] = {"kind": "landscape", "schema": SCHEMA, "sample": sample, "versions": versions(VERSIONS)}
    with disk_errors_told(Path(out or cache or ".")):
        record["models"] = [_around(subject, radius, directions, probes, seed, store, key) for subject in subjects]
        record["lines"], record["apart"] = _lines(subjects, points, store, key)
        record["plane"] = _plane_of_models(subjects, plane_points, store, key) if plane else None
        record["around"] = [_surface_around(subject, plane_points, seed, store, key) for subject in subjects if around]
        record["answer"] = answer(record)
        if out is not None:
            _write(record, Path(out), figures)
    return record


def _named(models: Mapping[str, PreTrainedModel] | Sequence[PreTrainedModel]) -> dict[str, PreTrainedModel]:
    if isinstance(models, Mapping):
        return dict(models)
    named: dict[str, PreTrainedModel] = {}
    for model in models:
        named[free_name(str(getattr(model, "label", "") or "model"), named)] = model
    return named


def _counts(
    examples: int, points: int, directions: int, probes: int, plane_points: int, seed: int
) -> dict[str, tuple[int, int, int]]:
    """Each number with the least and the most that it may be."""
    return {
        "examples": (examples, 1, MOST_EXAMPLES),
        "points": (points, 2, MOST_POINTS),
        "directions": (directions, 1, MOST_DRAWS),
        "probes": (probes, 1, MOST_DRAWS),
        "plane_points": (plane_points, 2, MOST_PLANE_POINTS),
        "seed": (seed, 0, 2**32 - 1),
    }


def _check(
    named: Mapping[str, PreTrainedModel], part: str, plane: bool, radius: float, counts: dict[str, tuple[int, int, int]]
) -> None:
    """Refuse what cannot be, all of it at once."""
    problems = [
        f"landscape.{name} is {shown(value)}; allowed: a whole number from {least:,} to {most:,}."
        for name, (value, least, most) in counts.items()
        if type(value) is not int or not least <= value <= most
    ]
    if not (finite(radius) and 0 < radius <= WIDEST):
        problems.append(f"landscape.radius is {shown(radius)}; allowed: a number above 0, at most {WIDEST:g}.")
    if part not in PART:
        problems.append(f"landscape.part is {shown(part)}; allowed: {' or '.join(PART)}, since nothing else may be looked at.")
    if not named:
        problems.append("landscape.models is empty; give a model, or two to see what lies between them.")
    if plane and 0 < len(named) < 3:
        problems.append(f"landscape.plane needs three models or more, but there are {len(named)}; give more, or leave it out.")
    raise_together(problems)


def check_writable(out: Path, figures: bool) -> None:
    """Raise InputError where a landscape cannot be written to a folder, or its figures cannot be drawn."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is {shown(str(out))}, which is no folder; name a new one.")
    if figures and find_spec("matplotlib") is None:
        raise InputError(
            "the figures of a landscape need the package matplotlib; run: pip install 'bert-compress[figures]', or ask for "
            "none (figures=False, --no-figures)."
        )


def _store(cache: str | Path | None, out: str | Path | None, progress: Progress | None) -> Store:
    place = out if out is not None else cache
    if place is None:
        return Store(None, progress or no_progress)
    folder = cache_folder(None if cache is None else Path(cache), Path(place))
    return Store(open_cache(folder, Path(place)), progress or no_progress)


def _subjects(
    named: Mapping[str, PreTrainedModel], task: Task, examples: int, part: Literal["train", "selection"], seed: int
) -> list[Subject]:
    split = task.train if part == "train" else task.selection
    if not len(split):
        raise InputError(
            f"the task's {part} part is empty, so that there is no sample; give more rows, or take the other part."
        )
    subjects = []
    for name, model in named.items():
        try:
            check_fit(model, task)
        except InputError as err:
            raise InputError(f"{name}: {err}") from err
        subjects.append(subject_of(name, model, drawn_examples(model, task, examples, seed, part)))
    return subjects


def _check_plane(subjects: Sequence[Subject]) -> None:
    problems = [
        f"landscape.plane cannot hold {subjects[0].name} and {subject.name}: {why}; leave one of them, or the plane, out."
        for subject in subjects[1:]
        if (why := why_apart(subjects[0], subject))
    ]
    raise_together(problems)


def _around(
    subject: Subject, radius: float, directions: int, probes: int, seed: int, store: Store, key: Mapping[str, Any]
) -> dict[str, Any]:
    """What is told of a model alone."""
    own, weights = {**key, "model": subject.key}, subject.weights
    (rest,) = store.numbers(f"loss of {subject.name}", {"loss": "rest", **own}, 1, lambda _: subject.loss.at(weights))
    check_loss(rest, subject.name)
    curve = rises(
        subject.loss,
        weights,
        rest=rest,
        radius=radius,
        directions=directions,
        seed=seed,
        store=store,
        what=f"around {subject.name}",
        key=own,
    )
    entry: dict[str, Any] = {
        "name": subject.name,
        "key": subject.key,
        "loss": rest,
        "parameters": subject.parameters,
        "free_weights": sum(int(free.sum()) for free in free_weights(weights).values()),
        "quantizes": subject.quantizes,
        "rise": {"radius": radius, **curve[-1][1].as_dict()},
        "curve": [{"radius": at, "mean": estimate.mean, "standard_error": estimate.standard_error} for at, estimate in curve],
        "trace": None,
    }
    if subject.loss.is_smooth:
        what = f"trace of {subject.name}"
        entry["trace"] = trace(subject.loss, weights, probes=probes, seed=seed, store=store, what=what, key=own).as_dict()
    logger.info("%s: loss %.4g, rise at %g: %.3g", subject.name, rest, radius, entry["rise"]["mean"])
    return entry


def _lines(
    subjects: Sequence[Subject], points: int, store: Store, key: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The lines between neighbours, and why there is none between others."""
    lines, apart = [], []
    for first, second in pairwise(subjects):
        pair = {"from": first.name, "to": second.name}
        why = why_apart(first, second)
        if why:
            apart.append({**pair, "why": why})
            continue
        what, own = f"line to {second.name}", {**key, "models": [first.key, second.key]}
        between = line(_float_loss(first, second), first.line_weights, second.line_weights, points, store, what, own)
        lines.append({**pair, **between.as_dict()})
    return lines, apart


def _float_loss(*subjects: Subject) -> SampleLoss:
    """The loss of one of them in float: all have the same shapes, and those that quantize need a copy for that."""
    return next((subject for subject in subjects if not subject.quantizes), subjects[0]).line_loss


def _plane_of_models(subjects: Sequence[Subject], points: int, store: Store, key: Mapping[str, Any]) -> dict[str, Any]:
    lay: Callable[[Sequence[Any]], Plane | None] = plane_through if len(subjects) == 3 else principal_plane
    laid = lay([subject.line_weights for subject in subjects])
    if laid is None:
        raise InputError(
            f"landscape.plane needs models that do not stand on one line, but "
            f"{', '.join(subject.name for subject in subjects)} do; leave the plane out: the lines between them tell all."
        )
    x, y = grid_of(laid.places, points)
    own = {**key, "models": [subject.key for subject in subjects]}
    losses = surface(_float_loss(*subjects), laid, x, y, store, "plane", own)
    places = [
        {"name": subject.name, "x": across, "y": up} for subject, (across, up) in zip(subjects, laid.places, strict=True)
    ]
    return {"x": x, "y": y, "losses": losses, "places": places, "explained": laid.explained and list(laid.explained)}


def _surface_around(subject: Subject, points: int, seed: int, store: Store, key: Mapping[str, Any]) -> dict[str, Any]:
    across, up = (random_direction(subject.weights, seed, number) for number in (0, 1))
    laid = Plane(subject.weights, across, up, ((0.0, 0.0),))
    x = y = np.linspace(-AROUND, AROUND, points).tolist()
    own = {**key, "around": subject.key, "seed": seed}
    losses = surface(subject.loss, laid, x, y, store, f"surface around {subject.name}", own)
    return {"x": x, "y": y, "losses": losses, "places": [{"name": subject.name, "x": 0.0, "y": 0.0}]}


def _write(record: Mapping[str, Any], out: Path, figures: bool) -> None:
    drawn: dict[str, str] = {}
    if figures:
        from compress.landscapes.figure import figures_of

        drawn = figures_of(record)
    with folders_made(out):
        for name, text in {**drawn, LANDSCAPE: json.dumps(_finite(record), indent=1, ensure_ascii=False) + "\n"}.items():
            make_way(out, name, SIGN if name == LANDSCAPE else SVG_SIGN)
            write_whole(out / name, text)


def _finite(value: Any) -> Any:
    """The same without numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
