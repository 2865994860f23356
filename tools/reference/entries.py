"""Pages about what the tables of contents hold: methods, objectives, targets and kinds of task."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from compress.knobs import docstrings_of, knobs_of, spelled_out
from compress.methods import METHODS
from compress.objectives import OBJECTIVES
from compress.recipe import summaries
from compress.recipe.contents import docstring, parameter_texts
from compress.recipe.signatures import load_signature, public_name, recipe_parameters
from compress.recipe.words import in_words
from compress.record import MISSING
from compress.runtimes.table import load_runtime
from compress.targets import TARGETS, runtime_of
from compress.tasks import TASKS
from compress.tasks.kind import load_kind
from compress.training.settings import TrainingKnobs
from tools.reference.prose import cell, page, prose, table, value

KINDS: dict[str, tuple[str, Mapping[str, str]]] = {
    "methods": ("method", METHODS),
    "objectives": ("objective", OBJECTIVES),
    "targets": ("target", TARGETS),
    "tasks": ("task", TASKS),
}
KNOBS = "Training knobs"
DETAILED = ("methods", "objectives", "targets", "tasks")
INTRODUCTIONS = {
    "methods": "A method is a step of a recipe and a function of Python: a torch model in, another torch model out. The keys "
    "are those that a recipe may give; in Python the same names are keyword arguments.",
    "objectives": "An objective is one term of the loss of `distill`, named with its weight: `objectives: {logits: 1.0}`.",
    "targets": "A target is an entry of a recipe's `export`, or of `--target`: a torch model in, a folder with an ONNX file "
    "out. Options are keys in a recipe and `OPTION=VALUE` behind `bert-compress export`.",
    "tasks": "A kind of task is `task.kind` of a recipe. Known data sets are named in `task.data` and read from the hub, from "
    "a package, or from files in `task.data_dir`; a data set of yours is a mapping of files and columns.",
}


def overview_page() -> str:
    """List every entry in a line, in the words of its own docstring."""
    rows = [
        (singular, f"[`{entry.name}`]({_address(name, entry.name)})", entry.summary)
        for name, (singular, entries) in KINDS.items()
        for entry in summaries(entries)
    ]
    return page(
        "What there is",
        "The names that a recipe may use. `bert-compress list` prints the same, with the papers.",
        table(("kind", "name", "what it does"), rows),
    )


def _address(name: str, entry: str) -> str:
    return f"{name}.md#{entry}"


def entries_page(name: str) -> str:
    """Tell of every entry of a table: what it does, where it is from, its keys with defaults and meaning."""
    _, entries = KINDS[name]
    parts = [part for entry, module in entries.items() for part in _entry(name, entry, module)]
    shared = _training_knobs() if name == "methods" else []
    return page(name.capitalize(), INTRODUCTIONS[name], *parts, *shared)


def _entry(name: str, entry: str, module: str) -> list[str]:
    text = docstring(module, public_name(entry))
    summary, _, rest = text.partition("\nArgs:\n")
    after = rest.partition("\nReturns:\n")
    returns = f"Returns:\n{after[2]}" if after[1] else ""
    heading = f"## {entry}"
    if name == "objectives":
        return [heading, prose(text)]
    if name == "tasks":
        return [heading, prose(text), _facts(entry), f"More: [{entry}](../tasks/{entry}.md)."]
    function = load_signature(entries_of(name), entry)
    parameters = recipe_parameters(function)
    knobs = knobs_of(function)
    texts = parameter_texts(text, list(parameters))
    shared = [knob.name for knob in spelled_out(knobs) if knob.name not in texts] if knobs else []
    own = {key: parameter for key, parameter in parameters.items() if key not in shared}
    keys = _keys(own, texts) if own else "It has no keys."
    where = [f"What runs its file: {load_runtime(runtime_of(entry)).title}."] if name == "targets" else []
    return [heading, prose(summary), *where, keys, *([_link(shared)] if shared else []), prose(returns)]


def _keys(parameters: Mapping[str, inspect.Parameter], texts: Mapping[str, str]) -> str:
    rows = [
        (
            f"`{key}`",
            cell(in_words(parameter.annotation)),
            "required" if parameter.default is inspect.Parameter.empty else value(parameter.default),
            cell(texts.get(key, "")),
        )
        for key, parameter in parameters.items()
    ]
    return table(("key", "allowed", "default", "what it means"), rows)


def _link(shared: Sequence[str]) -> str:
    return f"And [training knobs](#{KNOBS.lower().replace(' ', '-')}): {', '.join(f'`{key}`' for key in shared)}."


def _training_knobs() -> list[str]:
    """What the methods that train share, told once."""
    parameters = {knob.name: knob for knob in spelled_out(TrainingKnobs)}
    lead = "Keys that mean the same, with the same defaults, in every method that names them; what one adds stands there."
    return [f"## {KNOBS}", lead, _keys(parameters, parameter_texts(docstrings_of(TrainingKnobs), list(parameters)))]


def _facts(entry: str) -> str:
    """What a kind of task states of itself."""
    kind = load_kind(entry)
    facts = {
        "metrics; the first decides if nothing else is said": kind.metrics,
        "columns": (kind.columns,),
        "known data sets": tuple(kind.known),
        "what has an answer": (kind.unit,),
        "what is true of it": (kind.noun,),
        "files that it alone reads": tuple(kind.readers),
        "what the hub calls models for it": (kind.pipeline_tag,),
    }
    return table(("", ""), [(what, ", ".join(f"`{name}`" for name in values) or MISSING) for what, values in facts.items()])


def entries_of(name: str) -> Mapping[str, str]:
    """The table of contents by its name."""
    return KINDS[name][1]
