"""Catch a teacher whose labels stand in another order before hours are spent on learning from it."""

from __future__ import annotations

from compress.measure.chance import assert_better_than_chance
from compress.pipeline.steps import Stop, Walk
from compress.recipe.plan import INPUT_MODEL
from compress.train.predict import predict

EXAMPLES = 500


def check_teachers(walk: Walk, start: Stop) -> None:
    """Check the model that a run starts from, if it is used with the head that it came with.

    Raises:
        InputError: Its accuracy on the selection part is at or below chance.
    """
    steps = walk.plan.steps
    used = not steps or any(step.arguments.get("teacher") == INPUT_MODEL for step in steps) or (
        steps[0].method != "fine_tune"
    )  # fmt: skip
    if not used or start.model().has_new_head:
        return
    model = start.model()
    encoded = walk.task.encode(walk.task.selection.require("selection").take(EXAMPLES), model.tokenizer)
    logits = predict(model, encoded, progress=walk.progress, what="check the labels")
    assert_better_than_chance(logits, encoded.labels, walk.task.labels)
