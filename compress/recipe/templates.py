"""Recipes for a model and data that nobody has tried yet, by the kind of task and how much data there is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.models.students import spread_layers
from compress.training.presets import SMALL_ROWS, preset_for

if TYPE_CHECKING:
    from compress.models.head import Head
    from compress.tasks.looking import DataFacts

TARGET = "onnxruntime-cpu-int8"
EIGHT_BITS = 9.0
"""How many times faster than torch the whole model becomes as an int8 file: MiniLM's half, of recipes/quickstart.yaml, is 18.8
times as fast as all of it in torch. Only a beginning: the gate judges what is measured."""
TOKENS_OF_WORD = 1.4
"""Pieces of a word, on average, and a bit more."""
LEAST_TOKENS, MOST_TOKENS, STEP_TOKENS = 32, 512, 32
WIDE = 512
"""Width from which a model wants lower rates, as BERT-base does."""
SHARE_KEPT_APART = 5
"""One in so many rows is measured on where the data keeps none apart."""


@dataclass(frozen=True)
class ModelFacts:
    """What a template asks of a model.

    Args:
        name: As a recipe names it.
        layers: Of its encoder.
        width: Of its states.
        longest: Tokens that it reads at most.
    """

    name: str
    layers: int
    width: int
    longest: int


@dataclass(frozen=True)
class Aims:
    """What the file that is shipped has to be.

    Args:
        speedup: Times as fast as the teacher in torch.
        max_drop: Of the metric, as a fraction.
    """

    speedup: float = 20.0
    max_drop: float = 0.02


def written_recipe(
    model: ModelFacts, data: Any, facts: DataFacts, aims: Aims, *, file: str, data_dir: str | None = None
) -> str:
    """Write a recipe with its reasons.

    Args:
        model: Learns the task, and is made smaller.
        data: `task.data` of the recipe.
        facts: What was seen of the data.
        aims: The gates.
        file: What it will be called, for its first line.
        data_dir: `task.data_dir` of the recipe.
    """
    length = max_length(facts.words[1], model.longest)
    task = {"kind": facts.kind, "data": data, **({"data_dir": data_dir} if data_dir else {}), "max_length": length}
    baseline = "model" if facts.head.gives_vectors else "teacher"
    timed = min(length, max_length(facts.words[0], model.longest))
    lines = [
        f"# {facts.kind}: {model.name} -> fewer layers -> int8.      bert-compress run {file}",
        f"model: {json.dumps(model.name, ensure_ascii=False)}",
        *_seen(facts, length),
        f"task: {_flow(task)}",
        "steps:",
        *(line for step in steps(model, facts, aims) for line in _step(*step)),
        "export:                                     # the last one is shipped; the first tells what int8 costs",
        "  - onnxruntime-cpu: {}",
        f"  - {TARGET}: {{}}",
        "# Timed in one thread, at the length of a text in the middle and at the longest.",
        f"benchmark: {_flow({'batch': [1], 'length': sorted({timed, length}), 'threads': [1], 'baseline': baseline})}",
        "# Of the int8 file beside the teacher; a gate that is missed is exit code 3. Missed max_drop: keep more layers, or",
        "# give more data (distill.text). Missed min_speedup: keep fewer layers.",
        f"gates: {_flow({'max_drop': aims.max_drop, 'min_speedup': aims.speedup})}",
    ]
    return "\n".join(lines) + "\n"


Step = tuple[str, str, Mapping[str, Any], str | None]
"""Why, which method, its arguments, and what its model is called; None where the method's name will do."""


def steps(model: ModelFacts, facts: DataFacts, aims: Aims) -> list[Step]:
    """What a template does to a model, in its order; for whoever searches from there too."""
    head, small = facts.head, facts.rows < SMALL_ROWS
    made: list[Step] = []
    if head.writes:
        decoder = {"start": "encoder", "layers": model.layers, "max_length": max_length(facts.words[1], model.longest)}
        made.append(("The text is written by a decoder, which begins as the encoder.", "build_decoder", decoder, None))
    if not head.gives_vectors:
        rate = 1e-4 if model.width < WIDE else 3e-5
        tuned = {"epochs": 6 if small else 3, "batch_size": 16 if small else 32, "learning_rate": rate}
        why = "The teacher: the whole model learns the task; the best of its epochs is kept."
        made.append((why, "fine_tune", {**tuned, **({"patience": 2} if small else {})}, "teacher"))
    keep = kept_layers(model.layers, aims.speedup)
    if len(keep) < model.layers:
        why = f"Of {model.layers} layers, evenly spread ones: int8 alone is about {EIGHT_BITS:.0f} times as fast as torch."
        made.append((why, "drop_layers", {"keep": keep}, None))
    if head.writes and len(keep) < model.layers:
        made.append(("And of the decoder's.", "drop_layers", {"part": "decoder", "keep": keep}, "smaller"))
    made.append(_distilled(model, head, facts.rows))
    return made


def _distilled(model: ModelFacts, head: Head, rows: int) -> Step:
    """The step in which the student learns its teacher's answers."""
    preset = preset_for(rows)
    taught: dict[str, Any] = {"teacher": "model" if head.gives_vectors else "teacher", "objectives": _objectives(head)}
    taught |= {"preset": preset, "learning_rate": 2e-4 if model.width < WIDE else 5e-5}
    if head.writes:
        taught |= {"targets": "teacher"}
    size = "under" if rows < SMALL_ROWS else "from"
    why = f"The student learns its teacher's answers; {preset} is for {size} {SMALL_ROWS:,} rows, run.json tells its values."
    return why, "distill", taught, None


def _objectives(head: Head) -> dict[str, float]:
    if head.gives_vectors:
        return {"vectors": 1.0}
    if head.ranks:
        return {"margin_mse": 1.0, "logits": 1.0}
    return {"logits": 0.5, "labels": 0.5} if head.writes else {"logits": 0.9, "labels": 0.1}


def kept_layers(layers: int, speedup: float) -> list[int]:
    """The layers to keep, from 0, for a file of so many times the speed: one fewer than there are, at least."""
    return spread_layers(max(1, min(layers - 1, round(layers * EIGHT_BITS / speedup))), layers)


def max_length(words: int, longest: int) -> int:
    """Tokens that texts of so many words have, [CLS] and [SEP] included, in steps that are easily read."""
    tokens = int(words * TOKENS_OF_WORD) + 3
    return min(longest, MOST_TOKENS, max(LEAST_TOKENS, -(-tokens // STEP_TOKENS) * STEP_TOKENS))


def _seen(facts: DataFacts, length: int) -> list[str]:
    """Comments that say what the data is, and what follows."""
    labels = f", {len(facts.labels)} labels" if len(facts.labels) > 1 else ""
    apart = f"one in {SHARE_KEPT_APART} is kept apart, and measured on"
    if facts.validation is not None:
        apart = f"{facts.validation:,} others are measured on"
    middle, most = facts.words
    return [
        f"# {facts.rows:,} {'pairs of texts' if facts.pairs else 'rows'}{labels}; {apart}.",
        f"# Half of what is read at once has up to {middle} words, 19 in 20 have up to {most}: about {length} tokens.",
    ]


def _step(why: str, method: str, arguments: Mapping[str, Any], name: str | None) -> Sequence[str]:
    lines = [f"  # {why}", f"  - {method}: {_flow(arguments)}"]
    return [*lines, f"    as: {name}"] if name else lines


def _flow(value: Any) -> str:
    """A value of YAML on one line; keys that are plain words without quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str) and value.replace("_", "").replace("-", "").isalpha():
        return value
    return json.dumps(value, ensure_ascii=False)
