"""How a plan is run: one object for all that is no part of the plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compress.log import Progress, no_progress


@dataclass(frozen=True)
class RunOptions:
    """How to run a plan; nothing here changes a result, but for `tiny`.

    Args:
        out: The run folder; `runs/<name>` if None, `runs/<name>-tiny` for a tiny run.
        cache: Where results of steps are kept; `.cache` beside the run folder if None, and in there if it is someone else's.
        shared_cache: The address of a store that others share, behind that cache: what it holds is not made again.
        copy_to: An address to which the run folder is copied when it is whole.
        device: auto, cpu or cuda.
        tiny: Random model, a few examples and steps.
        progress: Told how far the running step is.
        log_with: Trackers that accelerate knows.
        checkpoint_seconds: Time between two checkpoints of a step that trains.
        force: Take over a run folder that is not empty and not ours; what it holds stays, if need be under another name.
        judged_on: The part that the shipped file is measured on: "evaluation", or "selection" where many runs are compared
            before one of them is measured; the evaluation part is then read by nothing that measures.
    """

    out: Path | None = None
    cache: Path | None = None
    shared_cache: str | None = None
    copy_to: str | None = None
    device: str = "auto"
    tiny: bool = False
    progress: Progress = no_progress
    log_with: tuple[str, ...] = ()
    checkpoint_seconds: float = 60.0
    force: bool = False
    judged_on: Literal["evaluation", "selection"] = "evaluation"
