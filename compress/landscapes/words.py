"""Say what a landscape shows: where models start, what lies between them, and how wide each stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from compress.landscapes.sharpness import differ

Measure = Literal["rise", "trace"]
Entry = Mapping[str, Any]
FLAT_BARRIER = 0.01
"""Of the difference between a line's ends: a rise above it that is less is none."""

CLEARLY = 1.25
"""So many times as high is a loss that may be why a model stands wide."""


def answer(record: Mapping[str, Any]) -> list[str]:
    """Say in sentences what landscape.json holds.

    Args:
        record: All of its keys but `answer`.
    """
    models = {entry["name"]: entry for entry in record["models"]}
    said = [where_it_stands(entry, record["sample"]) for entry in models.values()]
    said += [between_words(line, models) for line in record["lines"]]
    said += [f"No line from {pair['from']} to {pair['to']}: {pair['why']}." for pair in record["apart"]]
    said += [around_words(entry) for entry in models.values()]
    if len(models) > 1:
        measures: tuple[Measure, Measure] = ("rise", "trace")
        said += [text for measure in measures if (text := order_words(list(models.values()), measure))]
    surface = record.get("plane")
    if surface and surface["explained"]:
        said.append(f"The plane holds {sum(surface['explained']):.0%} of what the models differ by (squared).")
    return said


def where_it_stands(entry: Entry, sample: Mapping[str, Any]) -> str:
    """The loss of a model."""
    return (
        f"{entry['name']} has a loss of {number(entry['loss'])} on {sample['examples']} examples of the {sample['part']} part."
    )


def between_words(line: Mapping[str, Any], models: Mapping[str, Entry]) -> str:
    """What lies between two models."""
    losses = [line["losses"][line["alphas"].index(place)] for place in (0.0, 1.0)]
    goes = "falls" if losses[1] < losses[0] else "rises"
    text = f"On the line from {line['from']} to {line['to']} the loss {goes} from {number(losses[0])} to {number(losses[1])}"
    if line["barrier"] <= FLAT_BARRIER * abs(losses[1] - losses[0]):
        text += ", with no barrier on the way"
    elif line["hill"] > 0:
        text += (
            f", over a barrier: it rises {number(line['hill'])} above the higher end, and {number(line['barrier'])} above the "
            f"straight line between the two, {line['barrier_at']:.0%} of the way on"
        )
    else:
        text += (
            f", not above the higher end, but {number(line['barrier'])} above the straight line between the two "
            f"{line['barrier_at']:.0%} of the way on"
        )
    rounded = [name for name in (line["from"], line["to"]) if models[name]["quantizes"]]
    if rounded:
        text += f"; {' and '.join(rounded)} with the weights that the integers tell, and activations in float"
    return f"{text}."


def around_words(entry: Entry) -> str:
    """How wide a model stands."""
    rise, trace = entry["rise"], entry["trace"]
    text = (
        f"Around {entry['name']} a random step of {rise['radius']:.0%} of each filter's length raises the loss by "
        f"{estimated(rise)} ({len(rise['samples'])} directions)"
    )
    if trace is None:
        return f"{text}; it rounds its weights, which has no second derivatives, so that it has no trace."
    below = ", below 0, so that it stands in no valley" if trace["mean"] < 0 else ""
    return f"{text}; the trace of the Hessian is {estimated(trace)} ({len(trace['samples'])} probes){below}."


def order_words(entries: Sequence[Entry], measure: Measure) -> str:
    """Put models into an order, from wide to sharp, and say which neighbours in it chance alone may have put there.

    Args:
        entries: Of landscape.json's `models`, of one record or of several on the same sample.
        measure: By how much random steps raise the loss, or the trace of the Hessian.
    """
    known = sorted((entry for entry in entries if entry[measure]), key=lambda entry: entry[measure]["mean"])
    if len(known) < 2:
        return ""
    by = "the rise at that radius" if measure == "rise" else "the trace"
    text = f"By {by}, from wide to sharp: {', '.join(str(entry['name']) for entry in known)}"
    alike = []
    for first, second in pairwise(known):
        low, high = first[measure]["mean"], second[measure]["mean"]
        if not differ(first[measure]["samples"], second[measure]["samples"]):
            alike.append(f"{first['name']} and {second['name']}")
        elif low > 0:
            text += f"; {second['name']} is {high / low:.1f} times as sharp as {first['name']}"
        else:
            text += f"; {second['name']} is sharper than {first['name']}"
    if alike:
        text += f"; not told apart by so many draws: {', '.join(alike)}"
    losses = [entry["loss"] for entry in known]
    if losses[0] == max(losses) > CLEARLY * min(losses):
        text += f"; the loss of {known[0]['name']} is the highest, and what has learned little has little to lose"
    return f"{text}."


def estimated(estimate: Mapping[str, Any]) -> str:
    """A mean with its standard error."""
    error = estimate["standard_error"]
    return number(estimate["mean"]) + ("" if error is None else f" \u00b1 {number(error, 2)}")


def number(value: float, digits: int = 3) -> str:
    """A number to so many digits, large ones without a power of ten."""
    return f"{float(f'{value:.{digits}g}'):.10g}"
