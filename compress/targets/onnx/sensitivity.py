"""Which products can bear eight bits, measured: the fewest that have to stay float."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from compress.errors import CompressError
from compress.measures import lost
from compress.models.quantizers import quantized_linears, quantizers_off
from compress.models.surgery import copy_of
from compress.training.predict import predict

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

RANKED_ON = 256
FILE = "sensitivity.json"


def keep_in_float(model: PreTrainedModel, task: Task, max_drop: float, folder: Path) -> PreTrainedModel:
    """A copy of a quantized model in which the most sensitive Linears compute in float, as few as `max_drop` allows.

    The ranking is by the error of the logits when a Linear alone is quantized, on 256 calibration sentences; then Linears are
    set to float from the top until the loss of the task's metric, on the whole selection part, is at most `max_drop`.

    Source: Wu et al. 2020, "Integer quantization for deep learning inference", arXiv 2004.09602, section 5.2 (partial
    quantization by sensitivity).

    Args:
        model: Quantizes, with its ranges known.
        task: Its calibration part ranks, its selection part judges.
        max_drop: Largest loss of the metric, a fraction; see `compress.measures.lost`.
        folder: Where the ranking is written, as sensitivity.json.

    Raises:
        CompressError: Even with every Linear in float the loss is larger, because of the embeddings.
    """
    student = copy_of(model)
    ranking = _ranking(student, task)
    encoded = task.read_by(student).encode(task.selection.require("selection"), student.tokenizer)

    def score() -> float:
        return task.score(predict(student, encoded), encoded.labels)[task.metric]

    with quantizers_off(student):
        baseline = score()
    linears = quantized_linears(student)
    kept: list[str] = []
    while (drop := lost(task.metric, baseline, score())) > max_drop:
        if len(kept) == len(ranking):
            raise CompressError(
                f"max_drop is {max_drop:g}, but with every Linear in float the loss on the selection part is still "
                f"{drop:.4f}, from the embeddings alone; allow more, or export to a float target."
            )
        kept.append(ranking[len(kept)][0])
        linears[kept[-1]].on = False
    for place, (name, error) in enumerate(ranking, 1):
        logger.info("%2d. %s: error %.3g%s", place, name, error, ", stays float" if name in kept else "")
    rows: list[dict[str, Any]] = [{"name": name, "error": error, "float": name in kept} for name, error in ranking]
    (folder / FILE).write_text(json.dumps({"max_drop": max_drop, "drop": drop, "ranking": rows}, indent=1) + "\n", "utf-8")
    return student


def _ranking(model: PreTrainedModel, task: Task) -> list[tuple[str, float]]:
    """Each Linear with the relative error of the logits when it alone is quantized, the worst first."""
    encoded = task.read_by(model).encode(task.calibration.require("calibration").take(RANKED_ON), model.tokenizer)
    errors = {}
    with quantizers_off(model):
        reference = predict(model, encoded)
        for name, linear in quantized_linears(model).items():
            linear.on = True
            errors[name] = encoded.rules.relative_error(reference, predict(model, encoded))
            linear.on = False
    return sorted(errors.items(), key=lambda pair: -pair[1])
