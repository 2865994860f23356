"""Let the probabilities of the answers be what they say."""

from __future__ import annotations

import logging

import numpy as np
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError, NoEffect
from compress.models.heads import divided
from compress.models.traits import why_too_late
from compress.tasks.encoding import Gathered
from compress.tasks.labelled import Task
from compress.tasks.reliability import COLDEST, HOTTEST, Confidence, Temperature, best_temperature, reliability
from compress.training.compatibility import labels_aligned
from compress.training.predict import predict
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

NO_CHANGE = 1e-3
"""Of a temperature, in which nothing is to be gained."""


@within_range
@labels_aligned()
def calibrate(model: PreTrainedModel, *, task: Task, run: StepContext | None = None) -> PreTrainedModel:
    """Divide the logits by the temperature at which the labels of the selection part are the most probable.

    The last Linear's weight and bias are divided, so that whoever reads the model or its file by a softmax, or by sigmoids
    where several labels may stand, gets the calibrated probabilities and needs to know of nothing. The order of the labels
    stays, and so do the answers. It comes behind the steps that train: what trains afterwards learns other probabilities.

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2 (temperature scaling).
    Differs: of several labels a text, one temperature divides all logits before the sigmoids.

    Args:
        model: A trained classifier of texts or of words; stays as it is.
        task: Its selection part tells the temperature; the evaluation split is not touched.
        run: Its `facts` are filled in: `temperature`, its 95 % interval, and the reliability of the selection part before and
            after.

    Returns:
        The copy with calibrated outputs.

    Raises:
        InputError: The task's outputs are no probabilities, or its selection part is empty.
        NoEffect: The temperature is 1.
    """
    run = run or StepContext()
    if why := why_too_late(model, "calibrate it", "early_exit"):
        raise InputError(f"calibrate: {why}")
    task, rules = task.read_by(model), task.rules
    selection = task.selection.require("selection")
    if not len(selection):
        raise InputError("calibrate chooses on the task's selection part, which is empty; give rows for it.")
    first = task.encode(selection.take(1), model.tokenizer)
    if rules.confidence(np.zeros((Gathered(first).starts[-1], len(task.labels))), first.labels) is None:
        raise InputError(
            f"calibrate needs outputs that are probabilities, which those of {task.kind} are not; remove the step."
        )
    if run.is_rehearsal:
        return divided(model, 1.0)
    encoded = task.encode(selection, model.tokenizer)
    answers = predict(model, encoded, progress=run.progress, what="calibrate")

    def confidence_at(temperature: float) -> Confidence:
        confidence = rules.confidence(answers / temperature, encoded.labels)
        assert confidence is not None
        return confidence

    temperature = best_temperature(confidence_at)
    _tell(temperature, len(selection))
    if abs(temperature.value - 1) < NO_CHANGE and not run.tiny:
        raise NoEffect("calibrate finds a temperature of 1: the probabilities are what they say already; remove the step.")
    before, after = (reliability(confidence_at(value)) for value in (1.0, temperature.value))
    run.facts.update(
        temperature=temperature.value,
        temperature_ci95=[temperature.low, temperature.high],
        reliability={"before": before, "after": after},
    )
    logger.info(
        "calibrate: temperature %.3f (95 %% interval %.3f to %.3f); on the selection part ECE %.1f -> %.1f points, negative "
        "log-likelihood %.4f -> %.4f",
        temperature.value,
        temperature.low,
        temperature.high,
        100 * before["ece"],
        100 * after["ece"],
        before["nll"],
        after["nll"],
    )
    return divided(model, temperature.value)


def _tell(temperature: Temperature, examples: int) -> None:
    """Tell of a temperature that is known badly."""
    if temperature.low <= COLDEST:
        logger.warning(
            "calibrate: all answers to the selection part are right, so that surer would always be better; after %d examples "
            "a temperature of %.2f is as much as can be said. More rows (task.selection) say more.",
            examples,
            temperature.value,
        )
    elif temperature.value > HOTTEST / 1.01:
        logger.warning(
            "calibrate: the answers to the %d examples of the selection part say so little of the labels that they are "
            "divided by the largest temperature, %g; let the model learn the task first.",
            examples,
            HOTTEST,
        )
    elif temperature.low <= 1 <= temperature.high:
        logger.info("calibrate: a temperature of 1 would do as well, as far as %d examples tell.", examples)
