"""What becomes of each kind of task with each family, method and target; docs/reference/support.json has it.

python -m tests.contract.support             # write the file anew, in as many processes as there are processors
python -m tests.contract.support methods     # the methods alone; what became of exports stays as it is written
python -m tests.contract.support new         # what is not written yet alone, as after a new kind, family, method or target
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.methods import METHODS
from compress.models.families import KNOWN, WITHOUT_ENCODER, inputs_of
from compress.models.from_teacher import student_of
from compress.models.heads import head_of, logits_of
from compress.models.quantizers import quantizers_off
from compress.runtimes.graph_files import file_in
from compress.runtimes.runtime import LOGITS, as_logits
from compress.runtimes.table import load_runtime
from compress.runtimes.writing import GIVEN, GIVEN_MASK
from compress.targets import TARGETS
from compress.targets.refusing import refuse_shape
from compress.tasks import TASKS, task
from compress.tasks.encoding import answered_mask, rows_of
from compress.tasks.kind import load_kind
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.contract.test_methods import EXAMPLES
from tests.pruning.times import stand_in_for_timing
from tests.targets.test_families import WIDE
from tests.tasks.kinds import ROWS
from tests.tiny_models import ALIKE, LONGEST, STRUCTURES, differences, state_of, tiny_of, tokens

FILE = Path(__file__).parents[2] / "docs" / "reference" / "support.json"
RUNS = "runs"
FAMILIES = (*STRUCTURES, *WITHOUT_ENCODER)
"""Those like another one are told as that one."""
BROKEN = "BROKEN"
ARGUMENTS: dict[str, dict[str, Any]] = {
    **EXAMPLES,
    "drop_layers": {"keep": [0]},
    "distill": {"epochs": 1, "batch_size": 8, "objectives": {"logits": 0.5, "labels": 0.5}},
    "prune_cofi": {**EXAMPLES["prune_cofi"], "fraction": 0.3},
    "prune_width": {**EXAMPLES["prune_width"], "width": 12},
    "trim_vocabulary": {},
    "build_decoder": {"layers": 1},
}
"""Those that ask least of a model."""
OF_FAMILY: dict[str, dict[str, dict[str, Any]]] = {"prune_after_training": {"albert": {"tune": False}}}
"""Others, without which a family is refused."""
EXACT, HALF, INTEGERS = 1e-3, 0.05, 0.9
"""Root mean square of an answer's error over that of the answers, at most. Of integers with fixed ranges it is large: the
tokens are drawn at random, and the ranges are those of real texts."""
ALLOWED = {"onnxruntime-cpu": EXACT, "openvino-cpu": EXACT, "onnxruntime-cuda-fp16": HALF, "onnxruntime-cpu-q4": math.inf}
"""Of four bits nothing is asked but that all answers are numbers: these models have hardly more than noise to tell."""
LOOSE = {"max_flips": 1.0, "max_relative_error": 1000.0}
"""For files that round: hardly trained models tell texts apart by less than rounding may move an answer."""
OPTIONS: dict[str, dict[str, Any]] = {
    "onnxruntime-cpu-int8": LOOSE,
    "onnxruntime-cpu-q4": LOOSE,
    "openvino-cpu": {"precision": "float32"},  # else an outcome would depend on the processor
    "openvino-cpu-int8": {"precision": "float32", **LOOSE},
    "tensorrt-int8": LOOSE,
    "onnxruntime-cuda-fp16": LOOSE,
}
SPREAD = {"electra": 0.3}
"""Of weights, where answers would hardly differ else: two Linears with GELU between them stand behind its layers."""
LENGTHS = ((1,), (LONGEST,), (5, 5, 5), (9, 4, 1, 7))


class Export(NamedTuple):
    """A file that is made: of a tiny model, or of what a method makes of it."""

    kind: str
    family: str
    method: str | None
    target: str


@cache
def task_of(kind: str) -> Task:
    """A few rows of a kind of task."""
    with tempfile.TemporaryDirectory() as folder:
        path = ROWS[kind](Path(folder), 120)
        return task({"train": str(path)}, kind=kind, max_length=LONGEST, calibration=0.3, allow_unknown=True).capped(24)


def has_head(kind: str, family: str) -> bool:
    """Whether a family has the head that a kind of task needs."""
    return load_kind(kind).head.architecture in KNOWN[family].classes


@cache
def trained(kind: str, family: str) -> PreTrainedModel:
    """A model that has learned how large the answers of a kind are, if not much more."""
    run = StepContext(device="cpu")
    return cp.fine_tune(model_of(kind, family), task=task_of(kind), epochs=4, batch_size=8, learning_rate=5e-3, run=run)


def model_of(kind: str, family: str, *, seed: int = 3, **changes: Any) -> PreTrainedModel:
    """A random model of a family with the head for a kind of task."""
    if family in WITHOUT_ENCODER:
        return student_of(model_of(kind, "bert", seed=seed), family, random=True, seed=seed, **changes)
    return tiny_of(
        family, seed=seed, task=task_of(kind), **{"initializer_range": SPREAD.get(family, 0.15), **WIDE[family], **changes}
    )


def no_head(kind: str, family: str, folder: Path) -> str:
    """What a folder of a family says when a kind of task asks for a head that the family has not."""
    other = next(name for name in TASKS if has_head(name, family))
    path = cp.save(model_of(other, family), folder / "saved")
    with pytest.raises(InputError) as refused:
        cp.load(path, labels=task_of(kind).labels, head=load_kind(kind).head)
    return str(refused.value).removeprefix(f"{path}: ")


def applied(kind: str, family: str, method: str, model: PreTrainedModel, run: StepContext, folder: Path) -> PreTrainedModel:
    """What a method makes of a model."""
    function = getattr(importlib.import_module(METHODS[method]), method)
    arguments = {"task": task_of(kind), **ARGUMENTS[method], **OF_FAMILY.get(method, {}).get(family, {})}
    if method == "load_student":
        arguments = {"checkpoint": str(cp.save(_smaller(kind, family), folder / f"small-{run.rehearsal}"))}
    if method in ("distill", "prune_cofi"):
        arguments["teacher"] = model_of(kind, "bert" if family in WITHOUT_ENCODER else family, seed=8)
    changed: PreTrainedModel = function(model, **arguments, run=run)
    return changed


def _smaller(kind: str, family: str) -> PreTrainedModel:
    width = {"distilbert": "dim", "bilstm": "lstm_size", "static": "head_size"}.get(family, "hidden_size")
    return model_of(kind, family, seed=9, **{width: 16})


@contextlib.contextmanager
def passes() -> Iterator[list[str]]:
    """Note the models that compute something."""
    names: list[str] = []
    handle = register_module_forward_pre_hook(
        lambda module, _: names.append(type(module).__name__) if isinstance(module, PreTrainedModel) else None
    )
    try:
        yield names
    finally:
        handle.remove()


@contextlib.contextmanager
def untimed() -> Iterator[None]:
    """Let a table stand in for what a method times."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in_for_timing(patch)
        yield


def method_outcome(kind: str, family: str, method: str, folder: Path) -> str:
    """Apply a method: RUNS where all is kept that it owes, or what it refuses, before any model computed anything."""
    model = model_of(kind, family)
    before, batch = state_of(model), batch_for(model)
    logits = answers(model, batch)
    refused, changed = [], model
    for rehearsal in (True, False):
        with passes() as ran, untimed():
            try:
                changed = applied(kind, family, method, model, StepContext(device="cpu", rehearsal=rehearsal), folder)
            except InputError as err:
                refused.append((_said(err), tuple(ran)))
    assert not differences(before, state_of(model))
    if refused:
        (said, ran_before), *others = refused
        assert not ran_before, f"{ran_before[0]} ran before {method} said: {said}"
        assert others == [refused[0]], f"said in one of rehearsal and work alone: {said}"
        return said
    batch = batch_for(changed)
    after = answers(changed, batch)
    # a student has vectors of its own width
    as_wide = head_of(model).is_named or method not in ("build_student", "load_student")
    assert after.shape == logits.shape if as_wide else len(after) == len(logits)
    again = cp.load(cp.save(changed, folder / "saved"))
    assert np.array_equal(answers(again, batch), after)
    return RUNS


def _said(err: InputError) -> str:
    """Its problems, one a line."""
    return "\n".join(line.strip() for line in str(err).splitlines())


def batch_for(model: PreTrainedModel, lengths: Sequence[int] = LENGTHS[-1]) -> dict[str, torch.Tensor]:
    """Random pieces that a model knows, and no input that it does not read."""
    given = tokens(lengths=tuple(lengths))
    most = model.config.vocab_size
    given["input_ids"] = torch.where(given["input_ids"] < most, given["input_ids"], most - 1)
    batch = {name: given[name] for name in inputs_of(model.config)}
    if head_of(model).writes:
        batch |= {GIVEN: given["input_ids"] % model.config.decoder.vocab_size, GIVEN_MASK: given["attention_mask"]}
    return batch


def answers(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> np.ndarray:
    """The logits of what is no padding."""
    with torch.no_grad():
        return rows_of(logits_of(model(**batch)).numpy(), answered_mask(batch).numpy())


def export_outcome(cell: Export, folder: Path) -> str:
    """Export: RUNS where the file answers as the model does at other sizes too, or what refuses it by its shape alone."""
    model, options = trained(cell.kind, cell.family), OPTIONS.get(cell.target, {})
    if cell.method is not None:
        with untimed():
            model = applied(cell.kind, cell.family, cell.method, model, StepContext(device="cpu"), folder)
    try:
        refuse_shape(cell.target, options, model)
    except InputError as err:
        with pytest.raises(InputError):
            cp.export(model, folder / "out", target=cell.target, task=task_of(cell.kind), **options)
        return _said(err)
    shipped = cp.export(model, folder / "out", target=cell.target, task=task_of(cell.kind), **options)
    assert all(stage.accepted for stage in shipped.stages)
    run = opened(shipped.path, model)
    references, exported = [], []
    for batch in (batch_for(model, lengths) for lengths in LENGTHS):
        logits = run({name: values.numpy() for name, values in batch.items()})
        with quantizers_off(model) if cell.target in ALLOWED else contextlib.nullcontext():
            references.append(answers(model, batch))
        exported.append(rows_of(logits, answered_mask(batch).numpy()))
    spread = np.sqrt(np.mean(np.concatenate(references) ** 2))
    for lengths, ours, theirs in zip(LENGTHS, references, exported, strict=True):
        assert ours.shape == theirs.shape
        error = np.sqrt(np.mean((theirs - ours) ** 2)) / spread
        assert error <= ALLOWED.get(cell.target, INTEGERS), f"{lengths}: relative error {error:.3g}"
    return RUNS


def opened(folder: Path, model: PreTrainedModel) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """What answers a batch with an exported folder: one file, or both of a model that writes."""
    if head_of(model).writes:
        session = load_runtime("onnx").open(file_in(folder))
        return lambda batch: session.run(batch)[LOGITS]
    file = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return lambda batch: as_logits(file.run(head_of(model).outputs, batch))


def method_cells() -> list[tuple[str, str, str]]:
    """Kind, family and method of every model that there is."""
    return [(kind, family, method) for kind in TASKS for family in FAMILIES if has_head(kind, family) for method in METHODS]


@cache
def refuses(target: str, kind: str, family: str) -> bool:
    """Whether a target cannot write a family's models for a kind, whatever a method makes of them."""
    try:
        refuse_shape(target, OPTIONS.get(target, {}), model_of(kind, family))
    except InputError:
        return True
    return False


def export_cells(methods: dict[str, dict[str, dict[str, str]]]) -> list[Export]:
    """A rotation: every method with every target, on another kind and family each time, and what is left of kind with target,
    of head and family with target, and of family with method.

    Args:
        methods: What became of each kind, family and method.
    """
    models = [(kind, family) for kind in TASKS for family in FAMILIES if has_head(kind, family)]
    heads = {kind: load_kind(kind).head.architecture for kind in TASKS}
    chosen: list[Export] = []

    def news(kind: str, family: str, method: str | None, target: str) -> tuple[int, ...]:
        """What a cell would add, weightiest first; and how seldom its parts have been taken."""
        return (
            all((export.family, export.method) != (family, method) for export in chosen),
            all((heads[export.kind], export.family, export.target) != (heads[kind], family, target) for export in chosen),
            all((export.kind, export.target) != (kind, target) for export in chosen),
            all((export.kind, export.family, export.target) != (kind, family, target) for export in chosen),
            -sum(export.family == family for export in chosen),
            -sum(export.kind == kind for export in chosen),
        )

    for method in METHODS:
        able = [(kind, family) for kind, family in models if methods[kind][family][method] == RUNS]
        for target in TARGETS:
            takers = [pair for pair in able if not refuses(target, *pair)]
            if takers:
                kind, family = max(takers, key=lambda pair: news(*pair, method, target))
                chosen.append(Export(kind, family, method, target))
    for target in TARGETS:
        for kind, family in models:
            if any(news(kind, family, None, target)[1:3]):
                chosen.append(Export(kind, family, None, target))
    for method, family in product(METHODS, FAMILIES):
        kinds = [kind for kind, name in models if name == family and methods[kind][family][method] == RUNS]
        if kinds and news(kinds[0], family, method, "")[0]:
            takers = [pair for pair in product(kinds, TARGETS) if not refuses(pair[1], pair[0], family)]
            kind, target = max(takers, key=lambda pair: news(pair[0], family, method, pair[1]))
            chosen.append(Export(kind, family, method, target))
    return chosen


def read() -> dict[str, Any]:
    """What is recorded: `methods` by kind, family and method, and `exports`."""
    record: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return record


def outcome(cell: Export | tuple[str, str, str]) -> str:
    """What becomes of a cell; one that breaks is told after BROKEN."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            is_export = isinstance(cell, Export)
            return export_outcome(cell, Path(folder)) if is_export else method_outcome(*cell, Path(folder))
        except Exception as err:
            return f"{BROKEN} {type(err).__name__}: {err}"


def _outcomes(pool: ProcessPoolExecutor, cells: Sequence[tuple[Any, ...]], known: Mapping[tuple[Any, ...], str]) -> list[str]:
    """What becomes of cells, each that is not known told as it comes."""
    wanted, outcomes = [cell for cell in cells if cell not in known], dict(known)
    for cell, result in zip(wanted, pool.map(outcome, wanted), strict=True):
        outcomes[cell] = result
        print(*cell, result, sep=" | ", flush=True)
    return [outcomes[cell] for cell in cells]


def _written_down() -> dict[tuple[Any, ...], str]:
    """What became of the cells that are recorded."""
    record = read()
    methods = {
        (kind, family, method): result
        for kind, families in record["methods"].items()
        for family, results in families.items()
        if isinstance(results, dict)
        for method, result in results.items()
    }
    return {**methods, **{Export(*row[:4]): row[4] for row in record["exports"]}}


def main(arguments: Sequence[str]) -> None:
    """Write the file anew, unless a cell breaks."""
    known = _written_down() if "new" in arguments else {}
    record: dict[str, Any] = {"methods": {kind: {family: {} for family in FAMILIES} for kind in TASKS}, "exports": []}
    with tempfile.TemporaryDirectory() as folder:
        for kind in TASKS:
            for family in FAMILIES:
                if not has_head(kind, family):
                    record["methods"][kind][family] = no_head(kind, family, Path(folder) / kind / family)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        cells = method_cells()
        for (kind, family, method), result in zip(cells, _outcomes(pool, cells, known), strict=True):
            record["methods"][kind][family][method] = result
        if "methods" in arguments:
            record["exports"] = read()["exports"] if FILE.is_file() else []
        else:
            exports = export_cells(record["methods"])
            record["exports"] = [
                [*cell, result] for cell, result in zip(exports, _outcomes(pool, exports, known), strict=True)
            ]
    heads = {"arguments": ARGUMENTS, "of_family": OF_FAMILY, "alike": ALIKE, "methods": record["methods"]}
    lines = json.dumps(heads, indent=1, ensure_ascii=False).removesuffix("\n}")
    exports = ",\n".join(json.dumps(export, ensure_ascii=False) for export in record["exports"])
    text = f'{lines},\n "exports": [\n{exports}\n]}}\n'
    if BROKEN in text:
        sys.exit("cells broke; the file stays as it was.")
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
