"""What an exported folder tells of itself: bert_compress.json, read and checked in one place. Imports no torch.

Folders of before hold the same under the name export.json, which is that of transformers' own manifest; which of the two a
file is, its content tells.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compress.errors import InputError

FACTS, MANIFEST = "bert_compress.json", "export.json"
SCHEMA = 1
SEGMENT_STAGE = "segment"
"""The stage of the file beside model.onnx."""
SHORTEST, LONGEST = 4, 1 << 20
"""Of a text in tokens: [CLS], [SEP] and something between, to what `swap_attention` gives at most."""

DIGITS = 4000  # Python reads up to 4,300
_WHOLE = "a whole number from 0"


@dataclass(frozen=True)
class SegmentFacts:
    """Of the file beside model.onnx that reads one segment.

    Args:
        tokens: Of a segment, the text's first token included.
        drift: Of an int8 file: for a number of segments the relative error of the logits after so many, as parity measures it.
    """

    tokens: int
    drift: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What an export has written beside its file; nothing of it where no file tells.

    Args:
        path: The file that tells; None where there is none.
        target: What it was exported for.
        kind: Of the task.
        settled: What the task's kind settled on the selection part, such as thresholds, by output.
        joined: By role the columns that the texts were joined of, and the `separator`; empty where none were.
        abstain: When none is answered, as the task said it; empty where that is never so.
        options: The target's, as they were given.
        inputs: Names of the file's inputs.
        labels: Their names, in the order of their ids.
        tasks: Of a file that answers several, by number: each one's `name` and its `labels`.
        task_number: Of these the one that is asked; None where none is named, and the first answers.
        max_length: Tokens of the longest text that it was proved on.
        integers: Of an int8 file: its bits, and the processors that it is right and fast on.
        stages: From torch to the file, with their parity.
        segment: Of segment.onnx, where it was written.
        exits: Of a file whose texts leave early: behind which `layers`, by which `measure`, above which `thresholds`.
    """

    path: Path | None = None
    target: str | None = None
    kind: str | None = None
    settled: tuple[float, ...] = ()
    joined: Mapping[str, Any] = field(default_factory=dict)
    abstain: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    tasks: tuple[Mapping[str, Any], ...] = ()
    task_number: int | None = None
    max_length: int | None = None
    integers: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[Mapping[str, Any], ...] = ()
    segment: SegmentFacts | None = None
    exits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last_accepted_stage(self) -> Mapping[str, Any]:
        """The stage that lies in the folder as model.onnx; empty where nothing tells."""
        accepted = [stage for stage in self.stages if stage.get("accepted") and stage.get("name") != SEGMENT_STAGE]
        return accepted[-1] if accepted else {}

    def of_task(self, name: str | None) -> Facts:
        """What is told of one task of a file; as it is where none is named.

        What was settled, and how columns were joined, is the first task's own.

        Raises:
            InputError: The file answers no task of that name.
        """
        if name is None:
            return self
        where, names = self.path.parent if self.path else "the folder", [str(task.get("name")) for task in self.tasks]
        if not names:
            raise InputError(f"{where} has a file of one task, so that none of it is called {name!r}; leave ':{name}' out.")
        if name not in names:
            raise InputError(f"{where} has no task {name!r}; it has {', '.join(names)}. Name one of them: {where}:{names[0]}.")
        number = names.index(name)
        own = replace(self, task_number=number, labels=tuple(self.tasks[number].get("labels") or ()))
        return own if number == 0 else replace(own, settled=(), joined={}, abstain={})


def folder_and_task(given: str | Path) -> tuple[Path, str | None]:
    """Take FOLDER:TASK apart, which is how one task of a file of several is named; of a plain folder the task is None."""
    path, (folder, colon, task) = Path(given), str(given).rpartition(":")
    if path.is_dir() or not colon or not task or not Path(folder).is_dir():
        return path, None
    return Path(folder), task


def read_facts(folder: Path) -> Facts:
    """Read what an exported folder tells of itself, in the file of today or in that of before.

    Raises:
        InputError: The file is damaged, of another schema, or one of its values cannot be.
    """
    path, payload = _payload_of(folder)
    if path is None:
        return Facts()
    checked = _Checked(path, payload)
    schema = checked.value(
        "schema",
        lambda value: value == SCHEMA and type(value) is int,
        f"{SCHEMA}",
        f"install the bert-compress that wrote {path.name}, or export the model again",
    )
    assert schema in (None, SCHEMA)
    segment = checked.table("segment")
    return Facts(
        path,
        target=checked.value("target", lambda value: isinstance(value, str) and value != "", "the name of a target"),
        kind=checked.value("kind", lambda value: isinstance(value, str) and value != "", "the name of a kind of task"),
        settled=tuple(checked.value("settled", _are_numbers, "a list of numbers") or ()),
        joined=checked.table("joined", _is_joined, "a separator, and lists of columns' names"),
        abstain=checked.table("abstain"),
        options=checked.table("options"),
        inputs=checked.names("inputs"),
        labels=checked.names("labels"),
        tasks=checked.tasks(),
        max_length=checked.value("max_length", _is_length, f"a whole number from {SHORTEST} to {LONGEST}"),
        integers=checked.table("integers", lambda value: isinstance(value, str), "texts"),
        stages=checked.stages(),
        segment=_Checked(path, segment, "segment.").segment() if segment else None,
        exits=checked.exits(),
    )


def _payload_of(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """The file that tells, and what it holds; transformers' manifest tells nothing of ours."""
    if (folder / FACTS).is_file():
        return folder / FACTS, read_json(folder / FACTS)
    if (folder / MANIFEST).is_file():
        payload = read_json(folder / MANIFEST)
        if "components" not in payload and "export_format" not in payload:
            return folder / MANIFEST, payload
    return None, {}


class _Checked:
    """Values that are looked at before they are given out; what is not there, or null, is None or empty."""

    def __init__(self, path: Path, payload: Mapping[str, Any], prefix: str = "") -> None:
        self.path, self.payload, self.prefix = path, payload, prefix

    def refuse(self, name: str, value: Any, allowed: str, cure: str = "Restore the file, or export the model again") -> None:
        """Raise InputError for a value."""
        raise InputError(
            f"{self.path}: {self.prefix}{name} is {reprlib.repr(value)}; allowed: {allowed}. {cure[0].upper()}{cure[1:]}."
        )

    def value(self, name: str, is_right: Callable[[Any], bool], allowed: str, *cure: str) -> Any:
        """One value."""
        value = self.payload.get(name)
        if value is not None and not is_right(value):
            self.refuse(name, value, allowed, *cure)
        return value

    def table(self, name: str, is_right: Callable[[Any], bool] = lambda _: True, kind: str = "anything") -> dict[str, Any]:
        """An object whose values are all right."""
        entries = self.payload.get(name)
        if entries is not None and not isinstance(entries, dict):
            self.refuse(name, entries, "an object")
        for key, value in (entries or {}).items():
            if not is_right(value):
                self.refuse(f"{name}.{reprlib.repr(key)[1:-1]}", value, f"an object of {kind}")
        return entries or {}

    def names(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        texts = self.payload.get(name)
        if texts is not None and not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
            self.refuse(name, texts, "a list of texts")
        return tuple(texts or ())

    def objects(self, name: str) -> list[dict[str, Any]]:
        """A list of objects."""
        entries = self.payload.get(name)
        if entries is not None and not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            self.refuse(name, entries, "a list of objects")
        return entries or []

    def tasks(self) -> tuple[Mapping[str, Any], ...]:
        """The tasks, whose names and labels are texts."""
        entries = self.objects("tasks")
        for index, entry in enumerate(entries):
            checked = _Checked(self.path, entry, f"{self.prefix}tasks[{index}].")
            checked.value("name", lambda value: isinstance(value, str) and value != "", "a name")
            checked.names("labels")
        return tuple(entries)

    def stages(self) -> tuple[Mapping[str, Any], ...]:
        """The stages, whose numbers are numbers."""
        stages = self.objects("stages")
        for index, stage in enumerate(stages):
            checked = _Checked(self.path, stage, f"{self.prefix}stages[{index}].")
            checked.value("accepted", lambda value: isinstance(value, bool), "true or false")
            for name in ("label_flips", "compared", "integer_ops", "fused_ops"):
                checked.value(name, _is_count, _WHOLE)
            for name in ("max_abs_error", "relative_error"):
                checked.value(name, _is_number if stage.get("accepted") else _is_any_number, "a number")
        return tuple(stages)

    def exits(self) -> dict[str, Any]:
        """Where texts leave early; empty where they do not."""
        exits = self.table("exits")
        if exits:
            own = _Checked(self.path, exits, f"{self.prefix}exits.")
            layers = own.value("layers", lambda value: isinstance(value, list) and all(map(_is_count, value)), "whole numbers")
            thresholds = own.value("thresholds", _are_numbers, "a list of numbers")
            if not layers or not thresholds or len(layers) != len(thresholds):
                self.refuse("exits", exits, "an object of layers, with a threshold for each")
        return exits

    def segment(self) -> SegmentFacts:
        """Of segment.onnx."""
        length = self.value("tokens", _is_length, f"a whole number from {SHORTEST} to {LONGEST}")
        if length is None:
            self.refuse("tokens", None, f"a whole number from {SHORTEST} to {LONGEST}")
        return SegmentFacts(length, self.table("drift", _is_number, "numbers"))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) in (int, float) and math.isfinite(number) for number in value)


def _is_joined(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def _is_length(value: Any) -> bool:
    return type(value) is int and SHORTEST <= value <= LONGEST


def _is_any_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_number(value: Any) -> bool:
    return (type(value) is float and math.isfinite(value)) or _is_count(value)


def _whole_number(digits: str) -> int | float:
    """A number of JSON; one of so many digits that Python reads it no more is as good as infinite."""
    return int(digits) if len(digits) <= DIGITS else math.copysign(math.inf, -1 if digits.startswith("-") else 1)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: It holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_int=_whole_number)
    except (OSError, ValueError, RecursionError) as err:
        raise InputError(f"{path} cannot be read as JSON ({err}); restore the file.") from err
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}, not an object; restore the file.")
    return values
