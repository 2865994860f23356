"""Make a bundle of a finished run: export what is missing, prove each file, keep what is right, and say who reads it."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from compress.bundles.card import bundle_card
from compress.bundles.checksums import differences, write_sums
from compress.bundles.judging import Judge
from compress.bundles.openvino_ir import write_ir
from compress.bundles.readers import readers_of
from compress.bundles.run_folder import FinishedRun, finished_run
from compress.bundles.variants import FP32, QUANTIZED, Variant, variants_named
from compress.bundles.weights import write_weights
from compress.disk import sha256_of
from compress.errors import CompressError, InputError
from compress.facts import FACTS, SCHEMA, read_facts, read_json
from compress.log import Progress, no_progress
from compress.marks import contents_of, kind_of
from compress.models.checkpoint.companions import CONFIG
from compress.models.checkpoint.folders import new_folder
from compress.models.heads import head_of, label_names
from compress.record import part, percent
from compress.reporting.card import CARD
from compress.runtimes.external_data import external_files
from compress.runtimes.graph_files import file_in
from compress.targets import runtime_of
from compress.targets.exporting import BrokenParity, export
from compress.targets.manifest import write_manifest
from compress.targets.onnx.graph import input_names

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

KIND = "bundle"
MAX_DROP = 0.02
MAX_RELATIVE_ERROR = 0.5
"""Of the answers of a file that was turned into another format to the evaluation part, against the torch model's."""
LARGEST_BYTES = 2**31
SHARED_FACTS = ("joined", "abstain")


@dataclass(frozen=True)
class Bundle:
    """A folder that many readers read.

    Args:
        path: Where it is.
        variants: What is told of each file that is in it: name, file, size_bytes, stages, scores.
        left_out: What is told of each variant that is not: name, why, and its figures where it has some.
        readers: Who reads it: name -> None, or why not.
    """

    path: Path
    variants: tuple[dict[str, Any], ...]
    left_out: tuple[dict[str, Any], ...]
    readers: dict[str, str | None]


class NotShipped(CompressError):
    """A variant is not right enough to be shipped."""

    def __init__(self, why: str, figures: dict[str, Any]) -> None:
        super().__init__(why)
        self.figures = figures


def bundle(
    run: str | Path,
    folder: str | Path,
    *,
    variants: Sequence[str] = (),
    max_drop: float = MAX_DROP,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Bundle:
    """Make one folder of a run's last model that Transformers.js, sentence-transformers, fastembed and others read at once.

    Each file is written by a target of the toolkit, or taken as the run exported it, compared with torch at every stage, and
    scored on the task's evaluation part. One that fails is left out, and named with its figures.

    Args:
        run: The folder of a finished run, whose data is still where its recipe says.
        folder: Where to; it must not exist yet, or be empty, or be a bundle that is overwritten.
        variants: Of VARIANTS; none takes all of them.
        max_drop: How much of the task's metric a file may lose against the torch model, as a fraction.
        overwrite: Replace a bundle that is there and that nobody changed.
        progress: Told which variant is made.

    Raises:
        InputError: The folder is no run's, the data is not what it was, the model writes texts, or `folder` holds something.
        CompressError: No variant is right.
    """
    wanted = variants_named(variants)
    if not 0 <= max_drop <= 1:
        raise InputError(f"max_drop is {max_drop}; allowed: a fraction from 0 to 1, 0.02 for two points. Correct it.")
    finished, path = finished_run(Path(run)), Path(folder)
    replaces = check_place(path, overwrite=overwrite)
    task = finished.task()
    model = finished.model(task)
    if head_of(model).writes:
        raise InputError(
            "a bundle has no files for a model that writes texts, of which readers want others each; ship its export folders."
        )
    judge = Judge.of(model, task)
    with new_folder(path, KIND, replaces=replaces) as partial:
        with tempfile.TemporaryDirectory(dir=partial) as room:
            maker = _Maker(finished, model, task, judge, partial, Path(room), max_drop)
            for done, variant in enumerate(wanted):
                progress(f"bundle: {variant.name}", done, len(wanted))
                maker.make(variant)
        if not maker.made:
            reasons = [f"{entry['name']}: {entry['why']}" for entry in maker.left_out]
            raise CompressError("\n".join(["no variant is right, so that nothing was written:", *reasons]))
        readers = _finish(maker, partial)
    return Bundle(path, tuple(maker.made), tuple(maker.left_out), readers)


def check_place(folder: Path, *, overwrite: bool) -> bool:
    """Check that a bundle may take a folder's name.

    Returns:
        Whether it replaces a bundle.

    Raises:
        InputError: The folder holds something else, or a bundle that was changed.
    """
    if folder.is_symlink() or not folder.is_dir() or not any(folder.iterdir()):
        return False  # new_folder refuses what is no folder
    if kind_of(folder) != KIND:
        raise InputError(f"{folder} holds {contents_of(folder)}, and is no bundle of ours; name a new folder.")
    if not overwrite:
        raise InputError(f"{folder} is a bundle already; name a new folder, or make it anew with --overwrite.")
    changed = differences(folder)
    if changed:
        raise InputError(
            f"{folder} is not as it was made ({'; '.join(changed[:3])}), and that would be lost; move it away, or name a new "
            "folder."
        )
    return True


class _Maker:
    """What variants share while they are made, and what became of them: `made` and `left_out`."""

    def __init__(
        self,
        finished: FinishedRun,
        model: PreTrainedModel,
        task: Task,
        judge: Judge,
        folder: Path,
        room: Path,
        max_drop: float,
    ) -> None:
        self.finished, self.model, self.task, self.judge = finished, model, task, judge
        self.folder, self.room, self.max_drop = folder, room, max_drop
        self.made: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self._scores: dict[str, dict[str, Any]] = {}

    def make(self, variant: Variant) -> None:
        """Put a variant's file into the bundle, or note why it is left out."""
        try:
            entry = self._entry(variant)
        except CompressError as err:
            figures = err.figures if isinstance(err, NotShipped) else {}
            if isinstance(err, BrokenParity):
                figures = {"stage": err.stage.as_dict()}
            self.left_out.append({"name": variant.name, "file": variant.file, "why": str(err), **figures})
            logger.warning("%s is left out: %s", variant.name, err)
            return
        self.made.append(entry)
        logger.info("%s: %s, %s", variant.name, entry["file"], percent(entry["agreement"]) + " of the answers agree")

    def _entry(self, variant: Variant) -> dict[str, Any]:
        exported = self.finished.exported(variant)
        source = exported or self._exported_anew(variant)
        self.facts = read_json(source / FACTS)
        written = self.room / variant.name
        written.mkdir(parents=True, exist_ok=True)
        runtime = runtime_of(variant.target)
        file = (
            write_ir(file_in(source), written, variant.file) if variant.is_ir else _copied(file_in(source), written, variant)
        )
        scores = self._scored(file, runtime)
        size_bytes = sum(entry.stat().st_size for entry in written.iterdir())
        facts = read_facts(source)
        entry = {
            "name": variant.name,
            "file": variant.file,
            "target": variant.target,
            "options": dict(facts.options),
            "taken_from_run": exported is not None,
            "integers": dict(facts.integers),
            "stages": [dict(stage) for stage in facts.stages],
            "size_bytes": size_bytes,
            **scores,
        }
        self._check(variant, entry)
        place = (self.folder / variant.file).parent
        place.mkdir(exist_ok=True)
        for written_file in written.iterdir():
            written_file.rename(place / written_file.name)
        return entry

    def _exported_anew(self, variant: Variant) -> Path:
        folder = self.room / f"{variant.name}.export"
        return export(self.model, folder, target=variant.target, task=self.task, **variant.options).path

    def _scored(self, file: Path, runtime: str) -> dict[str, Any]:
        """Scores of a file; one of the same contents is scored once."""
        sha256 = sha256_of(file)
        if sha256 not in self._scores:
            self._scores[sha256] = self.judge.scores(file, runtime)
        return self._scores[sha256]

    def _check(self, variant: Variant, entry: dict[str, Any]) -> None:
        drop, error = entry["drop"]["value"], entry["relative_error"]
        figures = {key: entry[key] for key in ("stages", "size_bytes", "metrics", "drop", "agreement", "relative_error")}
        if drop > self.max_drop:
            raise NotShipped(
                f"it loses {percent(drop, 2)} of {self.task.metric} against the torch model (allowed "
                f"{percent(self.max_drop, 2)})",
                figures,
            )
        if variant.is_ir and not error <= MAX_RELATIVE_ERROR:  # no stage of the export has seen this file
            raise NotShipped(
                f"its answers are off by {error:.2g} of what the torch model says (allowed {MAX_RELATIVE_ERROR:g})", figures
            )


def _copied(file: Path, folder: Path, variant: Variant) -> Path:
    """Copy an exported file, which has to be whole in itself."""
    if external_files(file):
        raise CompressError(f"{file} keeps weights in other files, which Transformers.js does not look for")
    if file.stat().st_size >= LARGEST_BYTES:
        raise CompressError(f"the file has {file.stat().st_size:,} bytes, and one of 2 GB or more cannot be read whole")
    return Path(shutil.copyfile(file, folder / Path(variant.file).name))


def _finish(maker: _Maker, folder: Path) -> dict[str, str | None]:
    """Write all but the variants, and tell who reads the bundle."""
    model, files = maker.model, {entry["file"] for entry in maker.made}
    why_not = write_weights(model, folder)
    has_manifest = FP32 in files and write_manifest(model, folder, FP32)
    if FP32 in files and QUANTIZED not in files:
        _tell_browsers(folder)
    readers = readers_of(model, maker.task, files, why_not, has_manifest=has_manifest)
    data = part(maker.finished.record, "data")
    unread = {reader.name: reader.why_not for reader in readers}
    facts = {
        "schema": SCHEMA,
        "kind": maker.task.kind,
        "inputs": input_names(model),
        "labels": label_names(model),
        "settled": list(maker.judge.settled),
        "max_length": maker.judge.task.max_length,
        **{key: maker.facts[key] for key in SHARED_FACTS if key in maker.facts},
        "bundle": {
            "run": str(maker.finished.record.get("name") or ""),
            "made_from": maker.finished.source,
            "data": {key: data.get(key) for key in ("name", "fingerprint")},
            "metric": maker.task.metric,
            "whole": maker.judge.torch_scores(),
            "variants": maker.made,
            "left_out": maker.left_out,
            "readers": unread,
        },
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD).write_text(bundle_card(maker.finished.record, facts, readers), encoding="utf-8")
    write_sums(folder)
    return unread


def _tell_browsers(folder: Path) -> None:
    """Let Transformers.js take the float32 file where it would look for one that is left out."""
    config = read_json(folder / CONFIG) | {"transformers.js_config": {"dtype": "fp32"}}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
