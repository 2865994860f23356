"""The page of what runs together, from what became of every cell when the tests last wrote it down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.methods import METHODS
from compress.record import MISSING
from compress.targets import TARGETS
from compress.tasks import TASKS
from compress.tasks.kind import load_kind
from tools.reference.prose import cell, page, table

FILE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "support.json"
RUNS = "runs"
DONE = "✓"
INTRODUCTION = (
    "Every kind of task with every family, method and target, as tested on random models of a few thousand weights. ✓ "
    "stands for what was run; a number for what is refused, in [the words](#refusals) of that number, before any model "
    "computes anything. `make test-matrix` does all of it again and compares it with `docs/reference/support.json`, which "
    "this page is made of, so that a cell that starts to run, or stops, fails a test; `python -m tests.contract.support` "
    "writes that file anew. What a ✓ says is that the parts fit, not how good the model is; what has been measured stands "
    "in [the results](../results/benchmarks.md)."
)
METHODS_TOLD = (
    "In each cell a method was applied to a model of the family with the head that the kind needs, and rehearsed before. "
    "The input stayed as it was, the answers kept their shape, and the result was saved, loaded, and answered bit for bit "
    "the same. A ✓ is for the arguments [below](#arguments); others may be refused, such as an objective that compares what "
    "a student does not have. The tokenizers are WordPiece; `trim_vocabulary` refuses others, ModernBERT's own among them. "
    "`build_student` makes the other families out of a BERT."
)
TARGETS_TOLD = (
    "In each cell with ✓ a model that had learned for some steps, or what a method made of it, was written to a file, which "
    "answered as the torch model does to batches of 1, 3 and 4 texts, of 1 token up to the most that the model reads, with "
    "padding and without. The root mean square of the error was a thousandth of the answers' at most in float32, a "
    "twentieth in float16, and half in integers: so small a model says little about rounding, so that a file of integers is "
    "tested here for its structure. What stands in brackets is inferred: kinds of task with the same head ({same}) differ "
    "in the number of outputs and in the loss, not in the graph, so that at least one of them was run for each family and "
    "target, and each of them for each target. Files for NVIDIA GPUs were run by onnxruntime on a CPU."
)
PAIRS_TOLD = (
    "Every method's result was shipped to every target, in each cell from the family and for the kind of task that are "
    "named. These take turns, so that the result of each method for each family was shipped somewhere, if not everywhere. "
    "The whole product of four is not run: that a result ships from another family or kind than the one that is named is "
    "inferred from these tables, in which each two of method, family and target, and each kind with each target, stand "
    "together."
)


def support_page() -> str:
    """Show for each kind of task families with methods and with targets, and methods with targets."""
    contract = json.loads(FILE.read_text(encoding="utf-8"))
    said: list[str] = []
    parts = ["## Methods", METHODS_TOLD, _alike(contract["alike"])]
    for kind in TASKS:
        parts += [f"### {kind}", _methods(contract["methods"][kind], said)]
    parts += ["## Targets", TARGETS_TOLD.format(same=", ".join(_like(next(iter(TASKS)))))]
    for kind in TASKS:
        parts += [f"### {kind} on targets", _targets(kind, contract, said)]
    parts += ["## Methods on targets", PAIRS_TOLD, _pairs(contract["exports"], said)]
    parts += ["## Refusals", "\n".join(f"{number}. {cell(text)}" for number, text in enumerate(said, 1))]
    parts += ["## Arguments", _arguments(contract)]
    return page("What runs together", INTRODUCTION, *parts)


def _shown(outcome: str, said: list[str]) -> str:
    """A cell: that it runs, or the numbers of what was said."""
    if outcome == RUNS:
        return DONE
    lines = outcome.splitlines()
    said += [line for line in lines if line not in said]
    return ", ".join(str(said.index(line) + 1) for line in lines)


def _methods(by_family: Mapping[str, Any], said: list[str]) -> str:
    rows = []
    for method in METHODS:
        outcomes = [outcome if isinstance(outcome, str) else outcome[method] for outcome in by_family.values()]
        rows.append((f"[`{method}`](methods.md#{method})", *(_shown(outcome, said) for outcome in outcomes)))
    return table(("method", *by_family), rows)


def _alike(alike: Mapping[str, str]) -> str:
    """Which families have no column, and whose they have."""
    families = [f"{kind} as {like}" for kind, like in alike.items()]
    return f"A family that computes as another one does, in classes of its own, has that one's column: {', '.join(families)}."


def _like(kind: str) -> list[str]:
    """The kinds of task that need a head of the same class."""
    return [name for name in TASKS if load_kind(name).head.architecture == load_kind(kind).head.architecture]


def _targets(kind: str, contract: Mapping[str, Any], said: list[str]) -> str:
    def shown(family: str, target: str) -> str:
        refused = contract["methods"][kind][family]
        if isinstance(refused, str):
            return _shown(refused, said)
        like = _like(kind)
        exports = [
            export for export in contract["exports"] if export[0] in like and (export[1], export[3]) == (family, target)
        ]
        own = [export[-1] for export in exports if export[0] == kind]
        outcomes = own or [export[-1] for export in exports]
        outcome = _shown(RUNS if RUNS in outcomes else outcomes[0], said)
        return outcome if own else f"({outcome})"

    families = contract["methods"][kind]
    rows = [(f"[`{target}`](targets.md#{target})", *(shown(family, target) for family in families)) for target in TARGETS]
    return table(("target", *families), rows)


def _pairs(exports: Sequence[Sequence[Any]], said: list[str]) -> str:
    rows = []
    for method in METHODS:
        row = []
        for target in TARGETS:
            export = next((export for export in exports if export[2:4] == [method, target]), None)
            if export is None:  # the target has no file for what the method makes
                row.append(MISSING)
                continue
            kind, family, *_, outcome = export
            row.append(f"{_shown(outcome, said)} {family}, {kind.removesuffix('-classification')}")
        rows.append((f"`{method}`", *row))
    return table(("method", *TARGETS), rows)


def _arguments(contract: Mapping[str, Any]) -> str:
    rows = []
    for method in METHODS:
        given = [_written(contract["arguments"][method])]
        given += [f"of {family}: {_written(others)}" for family, others in contract["of_family"].get(method, {}).items()]
        rows.append((f"`{method}`", "; ".join(given)))
    return table(("method", "arguments"), rows)


def _written(arguments: Mapping[str, Any]) -> str:
    return f"`{json.dumps(arguments)}`" if arguments else "those by default"
