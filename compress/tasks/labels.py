"""Which id a label of a file, or of a model, stands for: the one place that matches labels to names.

What a label may be, in this order:

1. A name, letter for letter. Where every label is one, nothing else is looked at, also where the names are numbers.
2. A number, where every label is one (digits; 1.0 is 1):
   a. Names that carry one number each, all of them different ("1 star" to "5 stars", "LABEL_0", "class 7"): the label 1 is
      the name that carries the number 1, and no label is an id. Where the numbers are the ids, that is the same.
   b. Otherwise a number is an id, 0 for the first name, as long as that is certain: no other name than that of the id carries
      the number, and not every name carries numbers ("ages 18-25"). Names without any number are the usual case.
3. true and false, where every label is one of them: the two names that say so in any letter case, or the names that carry the
   numbers 1 and 0.

Anything else is not certain, and is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from compress.errors import InputError, shown

MOST_NAMES_SHOWN = 20
_NUMBER_IN_NAME = re.compile(r"(?<![0-9.])(?:(?<=\s)-|^-)?[0-9]+(?:\.[0-9]+)?(?![0-9])")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_BOOLEANS = {"false": Decimal(0), "true": Decimal(1)}


@dataclass(frozen=True)
class Match:
    """Labels and the ids that they stand for.

    Args:
        ids: Label -> id; of those alone that stand for one.
        unknown: The labels that stand for none, sorted.
        why: What is not certain about them, and what to do; empty where nothing is unknown, or where labels are merely none of
            the names.
    """

    ids: Mapping[str, int]
    unknown: tuple[str, ...]
    why: str = ""


def match_labels(labels: Iterable[str], names: Sequence[str]) -> Match:
    """Find the id of each label by the rules above.

    Args:
        labels: As a file or a model has them; copies count once.
        names: Names in the order of their ids, each once.
    """
    distinct = set(labels)
    by_name = {name: index for index, name in enumerate(names)}
    if distinct <= by_name.keys():
        return _matched(distinct, by_name)
    if distinct <= _BOOLEANS.keys():
        return _booleans(distinct, names)
    values = {label: number_of(label) for label in distinct}
    if any(value is None for value in values.values()):
        return _matched(distinct, by_name)
    carried = [_numbers_in(name) for name in names]
    if all(carried):
        return _by_carried(distinct, carried, names)
    ids = {label: int(value) for label, value in values.items() if value is not None and _is_id(value, len(names))}
    sure = {
        label: index
        for label, index in ids.items()
        if not any(index in numbers for other, numbers in enumerate(carried) if other != index)
    }
    if len(sure) < len(ids):
        return _uncertain(distinct, names, "some of the names carry these numbers themselves")
    return _matched(distinct, ids)


def number_of(label: str) -> Decimal | None:
    """The number that a label is, written with the digits 0 to 9; None where it is none."""
    return Decimal(label) if _NUMBER.fullmatch(label) else None


def in_order(labels: Iterable[str]) -> list[str]:
    """Sort labels: by their numbers where all of them are whole ones, and else as texts."""
    ordered = sorted(set(labels))
    if all(label.isascii() and label.isdecimal() for label in ordered):
        return sorted(ordered, key=lambda label: (len(label.lstrip("0")), label.lstrip("0")))
    return ordered


def written_twice(labels: Iterable[str]) -> tuple[str, str] | None:
    """Two labels that are one number in two spellings (1 and 1.0), where all labels are numbers; None if there are none."""
    numbers = {label: number_of(label) for label in sorted(set(labels))}
    first: dict[Decimal, str] = {}
    for label, number in numbers.items():
        if number is None:
            return None
        first.setdefault(number, label)
    both = ((first[number], label) for label, number in numbers.items() if number is not None and first[number] != label)
    return next(both, None)


def check_label_names(names: Sequence[str] | None) -> None:
    """Raise InputError where names are not at least two texts, each of them once."""
    if names is None:
        return
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputError(f"labels are {shown(names)}; give a list of names, each of them a text ('0', not 0).")
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"labels are {names_shown(names) or 'empty'}; name at least two, each once.")


def names_shown(names: Sequence[str]) -> str:
    """The first names, for a message."""
    written = [name if len(name) <= 60 and name.isprintable() else shown(name, 60) for name in names[:MOST_NAMES_SHOWN]]
    return ", ".join(written) + (f", ... ({len(names):,} names)" if len(names) > MOST_NAMES_SHOWN else "")


def _matched(labels: set[str], known: Mapping[str, int]) -> Match:
    return Match({label: known[label] for label in labels if label in known}, tuple(sorted(labels - known.keys())))


def _uncertain(labels: set[str], names: Sequence[str], because: str) -> Match:
    return Match(
        {},
        tuple(sorted(labels)),
        (
            f"The labels are numbers or true and false, but {because} ({names_shown(names)}), so that it is not certain which "
            "name each of them stands for; write the names themselves into the column"
        ),
    )


def _booleans(labels: set[str], names: Sequence[str]) -> Match:
    said = {name.strip().lower(): index for index, name in enumerate(names)}
    if len(said) == len(names) and _BOOLEANS.keys() <= said.keys():
        return _matched(labels, said)
    carried = [_numbers_in(name) for name in names]
    if len(names) == 2 and sorted(map(sorted, carried)) == [[0], [1]]:
        return _matched(labels, {word: carried.index({number}) for word, number in _BOOLEANS.items()})
    return _uncertain(labels, names, "the names say neither true and false nor 1 and 0")


def _by_carried(labels: set[str], carried: Sequence[set[Decimal]], names: Sequence[str]) -> Match:
    index_of = {next(iter(numbers)): index for index, numbers in enumerate(carried) if len(numbers) == 1}
    if len(index_of) < len(names):
        return _uncertain(labels, names, "the names carry several numbers, or the same ones")
    known = {label: index_of[number] for label in labels if (number := number_of(label)) in index_of}
    if len(known) < len(labels) and any(index != number for number, index in index_of.items()):
        return _uncertain(labels, names, "the names carry other numbers")
    return _matched(labels, known)


def _numbers_in(name: str) -> set[Decimal]:
    return {Decimal(number) for number in _NUMBER_IN_NAME.findall(name)}


def _is_id(value: Decimal, count: int) -> bool:
    return 0 <= value < count and value == int(value)
