"""Ship a model: torch in, a folder that runs without this package out."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from compress.errors import CompressError, InputError
from compress.facts import FACTS, SCHEMA
from compress.models.attention.segments import segments_of
from compress.models.checkpoint.companions import write_companions
from compress.models.checkpoint.folders import new_folder
from compress.models.checkpoint.labels import in_order
from compress.models.heads import aligned, label_names
from compress.models.lora import without_lora
from compress.models.quantizers import quantized_linears
from compress.models.traits.exits import TRAIT as EXITS
from compress.runtimes.graph_files import file_in
from compress.runtimes.segment_reader import SEGMENT_FILE
from compress.runtimes.table import load_runtime
from compress.targets import TARGETS, runtime_of
from compress.targets.manifest import write_manifest
from compress.targets.onnx.graph import facts_in_file, input_names
from compress.targets.onnx.parity import ParityCheck
from compress.targets.onnx.ranges import refuse_unread, source_of_ranges
from compress.targets.onnx.segment import drift, refuse_no_segments
from compress.targets.onnx.several_tasks import TASKS, refuse_adapters
from compress.targets.onnx.short_vectors import TOLD, refuse_no_vectors
from compress.targets.refusing import refuse_exits, refuse_writer
from compress.tasks.unknown import check_known
from compress.training.predict import settled_by

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)


def check_runtime(target: str) -> None:
    """Raise InputError when the runtime that a target needs is not installed."""
    load_runtime(runtime_of(target)).need()


class BrokenParity(CompressError):
    """A stage of an export does not say what the torch model says."""

    def __init__(self, target: str, stage: ParityCheck) -> None:
        super().__init__(
            f"{target}: stage {stage.name} does not say what the torch model says: {stage.why}. Nothing was "
            "written. Choose another target, or loosen the limit in the target's options if you accept that."
        )
        self.stage = stage


@dataclass(frozen=True)
class Shipped:
    """An exported folder: `path` holds model.onnx, config.json, the tokenizer's files and bert_compress.json."""

    path: Path
    target: str
    stages: tuple[ParityCheck, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name


def export(model: PreTrainedModel, folder: str | Path, *, target: str, task: Task, **options: Any) -> Shipped:
    """Export a model and prove on the task's calibration part that the file says what the model says.

    Args:
        model: Stays as it is.
        folder: Must not exist, or be empty. It loads in onnxruntime alone, in optimum's ORTModelForSequenceClassification and
            in transformers' ExportedModel.
        target: See `bert-compress list`.
        task: Gives sentences to compare on.
        options: The target's own.

    Raises:
        InputError: The target is unknown, an option plays no part, there is no memory to hand on, or the folder holds
            something already.
        BrokenParity: A stage broke parity; nothing is written.
        CompressError: The exporter failed; nothing is written.
    """
    if target not in TARGETS:
        raise InputError(f"target {target!r} is unknown; allowed: {', '.join(TARGETS)}.")
    refuse_writer(target, model)
    refuse_exits(target, model)
    check_runtime(target)
    lower = getattr(importlib.import_module(TARGETS[target]), target.replace("-", "_"))
    if options.get("memory"):
        refuse_no_segments(model)
    if options.get("vectors"):
        refuse_no_vectors(options["vectors"], model)
    brings_ranges = bool(quantized_linears(model))
    refuse_unread(target, lower, options, brings_ranges=brings_ranges)
    refuse_adapters(target, options, model, source_of_ranges(lower, options, brings_ranges=brings_ranges))
    if not options.get("adapters"):
        model = without_lora(model)
    judged = options.get("max_drop") is not None
    model = aligned(model, task.labels, task.rules.head) if judged else in_order(model, task.labels)
    task = task.read_by(model)
    with new_folder(folder, "export") as partial:
        check_known(task.calibration, model.tokenizer, "the model", allow_unknown=task.allow_unknown)
        stages: list[ParityCheck] = lower(model, partial, task=task, **options)
        for stage in stages:
            logger.info(
                "%s, stage %s: largest error %.2g, %s; %d fused and %d integer operators",
                target,
                stage.name,
                stage.max_abs_error,
                stage.why,
                stage.fused_ops,
                stage.integer_ops,
            )
        broken = [stage for stage in stages if not stage.accepted]
        if broken:
            raise BrokenParity(target, broken[0])
        write_companions(model, partial, for_serving=True)
        write_manifest(model, partial)
        integers = facts_in_file(file_in(partial))
        short, several = integers.pop(TOLD, None), integers.pop(TASKS, None)
        exits = EXITS.read(model)
        facts: dict[str, Any] = {
            "schema": SCHEMA,
            "target": target,
            "kind": task.kind,
            "options": options,
            "inputs": input_names(model),
            "labels": label_names(model),
            "settled": list(settled_by(model, task)),
            **{key: dict(value) for key, value in (("joined", task.joined), ("abstain", task.abstain)) if value},
            "max_length": task.max_length,
            "file": file_in(partial).name,
            "integers": integers,
            **({"short_vectors": json.loads(short)} if short else {}),
            **({"tasks": json.loads(several)} if several else {}),
            **({"exits": exits} if exits else {}),
            "stages": [stage.as_dict() for stage in stages],
        }
        if (partial / SEGMENT_FILE).is_file():
            facts["segment"] = _segment_facts(model, partial, task, target, options)
        where = facts["integers"].get("safe_on")
        if where:
            logger.info("%s: right on %s; fast on %s", target, where, facts["integers"]["fast_on"])
        (partial / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Shipped(Path(folder), target, tuple(stages))


def _segment_facts(
    model: PreTrainedModel, folder: Path, task: Task, target: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Of segment.onnx: how many tokens it reads and, of integers, how its answers move with the number of segments."""
    encoder = segments_of(model)
    assert encoder is not None
    facts: dict[str, Any] = {"file": SEGMENT_FILE, "tokens": encoder.segment}
    if "weight_bits" in facts_in_file(folder / SEGMENT_FILE):
        runtime = load_runtime(runtime_of(target))
        settings = {name: options[name] for name in runtime.options if name in options}
        facts["drift"] = drift(model, folder, task=task, runtime=runtime.name, **settings)
        logger.info(
            "%s: relative error of the logits after a number of segments: %s",
            target,
            ", ".join(f"{number}: {error:.2g}" for number, error in facts["drift"].items()),
        )
    return facts
