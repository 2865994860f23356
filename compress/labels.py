"""The names of a classifier's outputs: read off its configuration, and matched with a task's labels.

The one place where a model's labels and a task's meet. Whatever reads, trains, measures or ships a classifier asks here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from compress.errors import InputError

DEFAULT = "LABEL_"  # what transformers calls outputs that nobody named
MOST_SHOWN = 12
SHOWN_LETTERS = 60


def read_names(config: Any, outputs: int | None = None) -> list[str]:
    """Read the names of a classifier's outputs off a configuration as it was loaded, before anything is aligned.

    Names that are missing (no `id2label`, null, or transformers' LABEL_0, LABEL_1, ... for another number of outputs) become
    LABEL_0 and so on; numbers become their digits. `id2label` decides, as it does for everyone who reads the folder.

    Args:
        config: A configuration of transformers', read by its class, so that keys are whole numbers.
        outputs: How many the head has; None takes as many as there are names.

    Raises:
        InputError: There are names, but not one for each output, or two outputs have the same, or a name is no text.
    """
    by_index = dict(config.id2label or {})
    if _is_nameless(by_index):
        count = len(by_index) if outputs is None else outputs
        ordered = [_text(by_index.get(index), index) for index in range(count)]
        return ordered if len(set(ordered)) == count else [f"{DEFAULT}{index}" for index in range(count)]
    count = len(by_index) if outputs is None else outputs
    if sorted(by_index) != list(range(count)):
        raise InputError(
            f"config.json: id2label names the outputs {listed(sorted(by_index))}, but the head has 0 to {count - 1}; give "
            "each output its name, or train a new head (fine_tune's new_head: true)."
        )
    names = [_text(by_index[index], index) for index in range(count)]
    doubled = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < count else None
    if doubled is not None:
        raise InputError(
            f"config.json: id2label calls several outputs {_shortened(doubled)}; give each a name of its own, or train a "
            "new head (fine_tune's new_head: true)."
        )
    return names


def _is_nameless(by_index: Mapping[int, Any]) -> bool:
    """Whether nobody named the outputs: nothing, nulls, or numbers that count them."""
    return all(name is None or name == "" or _number_of(name) == index for index, name in by_index.items()) or (
        len(by_index) > 0 and {_number_of(name) for name in by_index.values()} == set(range(len(by_index)))
    )


def _number_of(name: Any) -> int | None:
    """The number that stands for a name: 1 of 1, "1" and "LABEL_1"; None of any other."""
    if type(name) is int:
        return name
    match = re.fullmatch(rf"(?:{DEFAULT})?([0-9]{{1,9}})", name) if isinstance(name, str) else None
    return int(match[1]) if match else None


def _text(name: Any, index: int) -> str:
    if name is None or name == "":
        return f"{DEFAULT}{index}"
    if not isinstance(name, str | int | float) or isinstance(name, bool):
        raise InputError(f"config.json: id2label calls output {index} {_shortened(name)}, which is no text; restore the file.")
    return str(name)


def order_of(names: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """For each of a task's labels the output that stands for it; None where the names do not tell.

    Names match labels if they are the same, or are the same without case, spaces and marks between words (NEGATIVE and
    negative), or if the numbers in them are (`3 stars` and 3); outputs that have numbers from 0 on for names (0, LABEL_0)
    stand for the labels of these numbers, in the task's order. Every label must find its output, and every output its label.
    """
    if len(names) != len(labels):
        return None
    if len(labels) == 1:
        return [0]  # a score, whatever it is called
    for key in (str, _folded, _own_number):
        places = {key(name): index for index, name in enumerate(names)}
        wanted = [key(label) for label in labels]
        if None not in places and len(places) == len(names) and set(wanted) == set(places):
            return [places[label] for label in wanted]
    numbers = {_number_of(name): index for index, name in enumerate(names)}
    return [numbers[index] for index in range(len(labels))] if numbers.keys() == set(range(len(labels))) else None


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip() or name


def _own_number(name: str) -> int | None:
    """The one number that stands in a name; None where there is none, or several."""
    numbers = re.findall(r"(?<![\d.,])[0-9]{1,9}(?![\d.,])", name)
    return int(numbers[0]) if len(numbers) == 1 else None


def are_numbers(names: Sequence[str]) -> bool:
    """Whether outputs have no names but numbers, whose meaning only the order of a task's labels tells."""
    return {_number_of(name) for name in names} == set(range(len(names)))


def check_names(who: str, names: Sequence[str], labels: Sequence[str], cure: str) -> list[int]:
    """For each of a task's labels the output that stands for it.

    Args:
        who: Begins the message, such as "the teacher".
        names: Of the model's outputs, in order.
        labels: The task's.
        cure: Ends it: what to do.

    Raises:
        InputError: The names do not tell which output stands for which label.
    """
    order = order_of(names, labels)
    if order is None:
        others = "others" if len(names) == len(labels) else str(len(labels))
        raise InputError(
            f"{who} has {len(names)} labels, but the task has {others} ({listed(labels)}); they are {listed(names)}: {cure}"
        )
    return order


def listed(names: Sequence[Any]) -> str:
    """The first names of a list, as they are shown in messages."""
    shown = ", ".join(_shortened(name) for name in names[:MOST_SHOWN])
    return shown + (f", ... ({len(names)} in all)" if len(names) > MOST_SHOWN else "")


def _shortened(name: Any) -> str:
    text = str(name)
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}..."
