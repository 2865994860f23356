"""What a finished run left: its record, its last model, its task, and the files that it exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from compress.bundles.variants import Variant
from compress.disk import hashes_of
from compress.errors import InputError, first_line, shown
from compress.facts import read_facts
from compress.marks import read_mark, written
from compress.models.checkpoint.labels import in_order
from compress.models.checkpoint.loading import load
from compress.record import part, subjects_of
from compress.reporting.reading import RUN_JSON, read_run
from compress.runtimes.table import TRAINED
from compress.tasks import task as read_task

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

EXPORT = "export"


@dataclass(frozen=True)
class FinishedRun:
    """A run folder.

    Args:
        folder: Where it is.
        record: The content of its run.json.
    """

    folder: Path
    record: Mapping[str, Any]

    @property
    def source(self) -> str:
        """The model that the run started from, as its recipe calls it."""
        return str(part(self.record, "recipe").get("model") or "")

    def task(self) -> Task:
        """Read the task that the run was made for.

        Raises:
            InputError: Its data is not there, or is not what the run was made with.
        """
        options = part(self.record, "recipe").get("task")
        if not isinstance(options, dict) or "data" not in options:
            raise InputError(f"{self.folder / RUN_JSON} tells no task; give the folder of a finished run.")
        try:
            task = read_task(**options)
        except TypeError as err:
            raise InputError(
                f"{self.folder / RUN_JSON}: recipe.task is {shown(options)}, which is no task ({first_line(err)}); run the "
                "recipe again."
            ) from err
        recorded = part(self.record, "data").get("fingerprint")
        if recorded is not None and recorded != task.fingerprint:
            raise InputError(
                f"the data of {self.folder} is not what the run was made with (fingerprint {task.fingerprint}, recorded is "
                f"{shown(recorded)}); restore it, or run the recipe again. A --tiny run, of a few examples, is not shipped."
            )
        return task

    def model(self, task: Task) -> PreTrainedModel:
        """Load the run's last model, its outputs in the order of the task's labels.

        Raises:
            InputError: It is not there any more, or cannot be loaded.
        """
        trained = [subject for subject in subjects_of(self.record) if subject.get("kind") == TRAINED]
        place = str(trained[-1].get("path") or "") if trained else ""
        if not place:
            raise InputError(f"{self.folder / RUN_JSON} tells no model; give the folder of a finished run.")
        if not self.record.get("steps"):
            model = load(place, labels=task.labels, head=task.rules.head)
            if model.has_new_head:
                raise InputError(f"{place} has no trained head, so its answers mean nothing; fine-tune it first.")
            return in_order(model, task.labels)
        if not (self.folder / place).is_dir():
            raise InputError(
                f"{self.folder / place}, the run's last model, is not there any more (was the cache removed?); run the recipe "
                "again."
            )
        return in_order(load(self.folder / place, head=task.rules.head), task.labels)

    def exported(self, variant: Variant) -> Path | None:
        """The folder in which the run exported a variant's file; None where it has none, or it was changed since."""
        folder = self.folder / EXPORT / variant.target
        if not folder.is_dir() or not variant.is_as(read_facts(folder)):
            return None
        listed = {
            name: states
            for name, states in written(read_mark(self.folder) or {}).items()
            if name.startswith(f"{EXPORT}/{variant.target}/")
        }
        there = {f"{EXPORT}/{variant.target}/{name}": sha256 for name, sha256 in hashes_of(folder).items()}
        is_whole = bool(listed) and all(there.get(name) in states for name, states in listed.items())
        return folder if is_whole else None


def finished_run(folder: Path) -> FinishedRun:
    """Look into a run folder.

    Raises:
        InputError: It is none, or its record is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{shown(str(folder))} is no folder; give the folder of a finished run, such as runs/NAME.")
    return FinishedRun(folder, read_run(folder))
