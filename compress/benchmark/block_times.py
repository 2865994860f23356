"""What each part of an encoder takes on this machine, in the runtime and precision that it is deployed in.

A few small files are made of the model's own layers, cut down: layers of nothing but some heads, and layers of nothing but
some neurons, two alike in a file. What a part takes is the difference to a file of empty layers, so that the call, the
embeddings and the head drop out. The whole model is timed beside them. It takes longer than its parts alone, whose weights
stay in the processor's caches, and what is in between is interpolated.

Where the head reads the first token alone, the last layer computes little else, so that its parts have times of their own.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import PreTrainedModel

from compress.benchmark.latency import Grid, time_subjects
from compress.benchmark.machine import machine_key, versions
from compress.benchmark.subjects import Subject
from compress.disk import Damaged, lock_of, read_sealed, write_sealed
from compress.errors import CompressError
from compress.log import Progress, libraries_silenced, no_progress
from compress.models.costs import Costs
from compress.models.layout import reads_first_token_only
from compress.models.structure import read_structure
from compress.models.surgery import keep_heads, keep_layers, keep_neurons
from compress.quantization.calibration import FEWEST
from compress.runtimes.graph_files import PLAIN
from compress.targets import TARGETS, runtime_of

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

SCHEMA = 2
LayerShape = tuple[int, int]
"""Heads and neurons of a layer."""
Points = tuple[tuple[int, float], ...]
"""(count, milliseconds) from count 0 on, counts and times rising."""

ALIKE = 2  # layers of one shape in a file
LOOSE = {"max_flips": 1.0, "max_relative_error": 10.0}  # a layer cut to pieces answers nonsense, and is only timed
FAR_APART = 3.0
TRUST = 0.003  # in a table, against models that were measured whole
LEAST_STRETCH = 0.6  # below a half, more would be faster
LANES = 16  # numbers in a vector register


@dataclass(frozen=True)
class Setting:
    """What is deployed, and how it is called.

    Args:
        target: A target that runs on the CPU.
        batch: Examples in a call.
        length: Tokens of each example.
        threads: Of the runtime.
        quick: Few files and few calls, for `--tiny`: a table, but no measurement.
    """

    target: str
    batch: int = 1
    length: int = 32
    threads: int = 1
    quick: bool = False

    def __str__(self) -> str:
        """Say it in words."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.target} at batch {self.batch}, length {self.length}, {threads}"


@dataclass(frozen=True)
class BlockTimes:
    """How long parts of a model take, in milliseconds.

    Args:
        base_ms: What stays when every layer is gone: the call, embeddings and head.
        dense_ms: The model that was measured.
        heads: A layer's attention with some number of heads.
        neurons: A layer's feed-forward part with some number of neurons.
        last_heads: The same of the last layer.
        last_neurons: The same of the last layer.
        parts_ms: What the parts of the model that was measured take alone, all together.
        stretch: How many times as long they take in the model.
    """

    base_ms: float
    dense_ms: float
    heads: Points
    neurons: Points
    last_heads: Points
    last_neurons: Points
    parts_ms: float = 1.0
    stretch: float = 1.0

    def layer_ms(self, shape: LayerShape, *, last: bool = False) -> float:
        """What a layer with so many heads and neurons takes alone."""
        heads, neurons = (self.last_heads, self.last_neurons) if last else (self.heads, self.neurons)
        return _between(heads, shape[0]) + _between(neurons, shape[1])

    def model_ms(self, shapes: Sequence[LayerShape]) -> float:
        """What a model of layers with so many heads and neurons takes."""
        alone = sum(self.layer_ms(shape, last=last) for shape, last in _marked(shapes))
        return self.together_ms(alone)

    def together_ms(self, alone_ms: float) -> float:
        """What a model takes whose parts take so long alone."""
        return self.base_ms + alone_ms * (1 + self._growth * alone_ms)

    def refitted(self, seen: Sequence[tuple[Sequence[LayerShape], float]]) -> BlockTimes:
        """The table with all attention, and all feed-forward parts, taking so many times as long as fits what whole models
        were measured to take; near to as long as before where these do not tell.

        Args:
            seen: The layers of each model, and its milliseconds.
        """
        parts = np.array(
            [
                [
                    sum(_between(getattr(self, f"{'last_' * last}{kind}"), shape[index]) for shape, last in _marked(shapes))
                    for index, kind in enumerate(("heads", "neurons"))
                ]
                for shapes, _ in seen
            ]
        )
        measured_ms = np.array([self.room_ms(ms) for _, ms in seen])
        weighted = parts / measured_ms[:, None]  # so that errors are relative
        missing = 1 - weighted.sum(1)
        factors = 1 + np.linalg.solve(weighted.T @ weighted + TRUST * np.eye(2), weighted.T @ missing)
        factors = np.clip(factors, 1 / FAR_APART, FAR_APART)
        scaled = {
            name: tuple((count, ms * float(factors[index])) for count, ms in getattr(self, name))
            for index, kind in enumerate(("heads", "neurons"))
            for name in (kind, f"last_{kind}")
        }
        fields: dict[str, Any] = scaled
        return replace(self, **fields)

    def room_ms(self, model_ms: float) -> float:
        """What the layers of a model that takes so long may take alone, all together."""
        room, growth = max(0.0, model_ms - self.base_ms), self._growth
        return room if abs(growth * room) < 1e-9 else (math.sqrt(1 + 4 * growth * room) - 1) / (2 * growth)

    @property
    def _growth(self) -> float:
        return (self.stretch - 1) / self.parts_ms

    def costs(self, shapes: Sequence[LayerShape]) -> Costs:
        """What a model of such layers takes, by part, with fewer heads and neurons, in milliseconds."""
        tables = [(self.last_heads, self.last_neurons) if last else (self.heads, self.neurons) for _, last in _marked(shapes)]
        heads, neurons = (
            [
                np.array([_between(pair[kind], count) for count in range(shape[kind] + 1)])
                for pair, shape in zip(tables, shapes, strict=True)
            ]
            for kind in (0, 1)
        )
        return Costs(heads, neurons, self.base_ms)


def _marked(shapes: Sequence[LayerShape]) -> list[tuple[LayerShape, bool]]:
    return [(shape, number == len(shapes)) for number, shape in enumerate(shapes, 1)]


def _between(points: Points, count: int) -> float:
    """The time of a count: none is a case of its own, and fewer than the fewest measured take as long as these."""
    if count == 0:
        return points[0][1]
    counts, times = zip(*points[1:], strict=True)
    return float(np.interp(count, counts, times))


def shapes_of(model: PreTrainedModel) -> list[LayerShape]:
    """Heads and neurons of each layer."""
    return [(layer["heads"], layer["intermediate"]) for layer in read_structure(model)["layers"]]


def block_times(
    model: PreTrainedModel, task: Task, setting: Setting, *, folder: Path | None = None, progress: Progress = no_progress
) -> BlockTimes:
    """Measure the table of a model's parts, or read it where it was measured before on a machine like this one.

    Args:
        model: Its layers are cut into parts.
        task: A few sentences of its calibration part are what files are checked and calibrated on.
        setting: Where and how it will run.
        folder: Where tables are kept; None keeps none.
        progress: Told after each file.

    Raises:
        CompressError: The machine is too busy to measure anything.
    """
    if folder is None:
        return _measured(model, task, setting, progress)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_key(model, setting)}.json"
    with lock_of(path.with_suffix(".lock")):  # so that several processes use one and the same table
        if os.path.lexists(path):
            try:
                times = _from_json(read_sealed(path))
                logger.info("the times of %s were measured here before: %s", setting, path)
                return times
            except (Damaged, TypeError, ValueError) as err:
                logger.warning("the table of times %s is damaged: %s. They are measured anew.", path, err)
        times = _measured(model, task, setting, progress)
        write_sealed(path, asdict(times))
    return times


def model_times(
    models: Mapping[str, PreTrainedModel], task: Task, setting: Setting, *, progress: Progress = no_progress
) -> dict[str, float]:
    """The median time of a call of each model's file, timed in turn, in milliseconds."""
    return _timed({name: partial(_itself, model) for name, model in models.items()}, task, setting, progress)


def _key(model: PreTrainedModel, setting: Setting) -> str:
    config = model.config
    facts = {
        "schema": SCHEMA,
        "machine": machine_key(),
        "versions": {
            name: version for name, version in versions().items() if name not in ("bert-compress", "python", "tokenizers")
        },
        "setting": asdict(setting),
        "counts": measured_counts(shapes_of(model), quick=setting.quick),
        "layers": read_structure(model)["layers"],
        "model": [config.model_type, config.hidden_size, config.vocab_size, config.num_labels, reads_first_token_only(model)],
        "activation": getattr(config, "hidden_act", None) or getattr(config, "activation", None),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _from_json(payload: Mapping[str, Any]) -> BlockTimes:
    fields: dict[str, Any] = dict(payload)
    fields |= {
        name: tuple((int(count), float(ms)) for count, ms in value)
        for name, value in payload.items()
        if isinstance(value, list)
    }
    return BlockTimes(**fields)


def _measured(model: PreTrainedModel, task: Task, setting: Setting, progress: Progress) -> BlockTimes:
    shapes, first = shapes_of(model), reads_first_token_only(model)
    counts = measured_counts(shapes, quick=setting.quick)
    alike = 1 if setting.quick else ALIKE
    makers = {name: partial(_cut, model, parts) for name, parts in _parts(shapes, counts, alike, first).items()}
    taken = _timed({"dense": partial(_itself, model), **makers}, task, setting, progress)
    return assembled(taken, shapes, alike=alike, first=first)


def measured_counts(shapes: Sequence[LayerShape], *, quick: bool = False) -> tuple[list[int], list[int]]:
    """The numbers of heads and of neurons that are measured: all, a part of them, and almost none."""
    heads, neurons = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
    if quick:
        return [heads], [neurons]
    some = [max(1, round(heads * part)) for part in (0.25, 0.5, 0.75)]
    many = [-(-neurons // part // LANES) * LANES for part in (64, 16, 8, 4, 2)]
    return sorted({1, *some, heads}), sorted({min(count, neurons) for count in many} | {neurons})


Parts = list[tuple[int, int, int]]


def _parts(shapes: Sequence[LayerShape], counts: tuple[list[int], list[int]], alike: int, first: bool) -> dict[str, Parts]:
    """What each file is made of: (layer of the model, heads, neurons) of each of its layers."""
    attentive = max(range(len(shapes)), key=lambda layer: shapes[layer][0])
    broad = max(range(len(shapes)), key=lambda layer: shapes[layer][1])
    empty = (attentive, 0, 0)
    files: dict[str, Parts] = {"base": [empty], "empty": [empty] * (alike + 1)}
    for count in counts[0]:
        files[f"heads {count}"] = [(attentive, count, 0)] * alike + [empty]
        if first:
            files[f"last_heads {count}"] = [(attentive, count, 0)]
    for count in counts[1]:
        files[f"neurons {count}"] = [(broad, 0, count)] * alike + [empty]
        if first:
            files[f"last_neurons {count}"] = [(broad, 0, count)]
    return files


def _cut(model: PreTrainedModel, parts: Parts) -> PreTrainedModel:
    layers = keep_layers(model, [layer for layer, _, _ in parts])
    fewer = keep_heads(layers, [range(heads) for _, heads, _ in parts])
    return keep_neurons(fewer, [range(neurons) for _, _, neurons in parts])


def assembled(taken: Mapping[str, float], shapes: Sequence[LayerShape], *, alike: int, first: bool) -> BlockTimes:
    """Make the table of what the files took.

    Args:
        taken: Milliseconds: "dense" the whole model, "base" one empty layer, "empty" `alike` more of them, "heads N" and
            "neurons N" as many with so many heads or neurons before an empty one, "last_heads N" and "last_neurons N" one.
        shapes: Of the whole model.
        alike: Layers of one shape in a file.
        first: Whether the last layer has times of its own; else they are those of the others.

    Raises:
        CompressError: The whole model took no longer than an empty one.
    """
    base, empty, dense = taken["base"], taken["empty"], taken["dense"]
    norm = max(0.0, empty - base) / alike / 2  # what an empty part takes; an empty layer has two
    tables = {
        kind: _rising(kind, norm, {count: (ms - empty) / alike + norm for count, ms in _of(taken, kind)})
        for kind in ("heads", "neurons")
    }
    for kind in ("heads", "neurons"):
        own = _rising(kind, 0.0, {count: ms - base for count, ms in _of(taken, f"last_{kind}")})
        tables[f"last_{kind}"] = own if first else tables[kind]
    base_ms = base if first else base - 2 * norm
    plain = BlockTimes(base_ms, dense, tables["heads"], tables["neurons"], tables["last_heads"], tables["last_neurons"])
    parts_ms = plain.model_ms(shapes) - base_ms
    if dense <= base_ms or parts_ms <= 0:
        raise CompressError(
            f"the whole model took {dense:.3g} ms and one of empty layers {base:.3g} ms, so that this machine is too busy to "
            "measure what layers take; run again when it is not, or with a larger batch or length."
        )
    stretch = (dense - base_ms) / parts_ms
    if not 1 / FAR_APART < stretch < FAR_APART:
        logger.warning(
            "alone, the model's parts took %.2g times what they take together; if other work was running, run "
            "again without it.",
            1 / stretch,
        )
    return replace(plain, parts_ms=parts_ms, stretch=max(stretch, LEAST_STRETCH))


def _of(taken: Mapping[str, float], kind: str) -> list[tuple[int, float]]:
    return sorted((int(name.split()[1]), ms) for name, ms in taken.items() if name.split()[0] == kind)


def _rising(kind: str, none: float, times: Mapping[int, float]) -> Points:
    """Points whose times do not fall, since what seems to be faster with more of it is noise."""
    counts = [0, *sorted(times)]
    highest = np.maximum.accumulate([none, *(times[count] for count in counts[1:])])
    return tuple(zip(counts, highest.tolist(), strict=True))


def _timed(
    makers: Mapping[str, Callable[[], PreTrainedModel]], task: Task, setting: Setting, progress: Progress
) -> dict[str, float]:
    few = replace(task, calibration=task.calibration.require("calibration").take(FEWEST))
    grid = Grid(
        (setting.batch,),
        (setting.length,),
        (setting.threads,),
        rounds=1 if setting.quick else 3,
        samples=5 if setting.quick else 60,
        seconds=0.05 if setting.quick else 0.5,
    )
    with tempfile.TemporaryDirectory(prefix="compress-times-") as room:
        subjects = []
        for done, (name, make) in enumerate(makers.items()):
            progress(f"export {name}", done, len(makers))
            subjects.append(_exported(name, make(), Path(room) / name.replace(" ", "_"), few, setting.target))
        timings = time_subjects(subjects, grid, baseline=subjects[0].name, progress=progress)
    return {name: timing.rows[0]["p50_ms"] for name, timing in timings.items()}


def _itself(model: PreTrainedModel) -> PreTrainedModel:
    return model


def _exported(name: str, model: PreTrainedModel, folder: Path, task: Task, target: str) -> Subject:
    folder.mkdir()
    lower = getattr(importlib.import_module(TARGETS[target]), target.replace("-", "_"))
    known = inspect.signature(lower).parameters
    lower(model, folder, task=task, **{option: value for option, value in LOOSE.items() if option in known})
    if not (folder / PLAIN).is_file():
        raise CompressError(f"{target} wrote no file of {name!r}, whose time is needed; choose another target.")
    with libraries_silenced():
        model.config.save_pretrained(folder)
    return Subject(name, runtime_of(target), target, folder)
