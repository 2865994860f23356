"""What a training step is told by its caller besides its arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compress.log import Progress, no_progress


@dataclass
class Run:
    """The surroundings of one step.

    Args:
        seed: For the order of the examples, dropout and new weights.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        folder: Where checkpoints go, so that a killed step goes on; None keeps none.
        answers: Where what teachers answer, and what was timed, is kept for other steps and runs; None keeps nothing on disk.
        progress: Told after each batch.
        max_steps: Stop after so many optimizer steps (for `--tiny`). With 0 a step rehearses: it checks what it is given and
            leaves a model of the right shape, but computes nothing that only training needs.
        checkpoint_seconds: Time between two checkpoints.
        log_with: Trackers that accelerate knows ("tensorboard", "wandb", ...).
        logs: Where trackers write; the folder of the checkpoints, which goes when the step ends, if None.
        facts: What the step found out, for run.json: metrics, examples_per_second, curve.
    """

    seed: int = 13
    device: str = "auto"
    folder: Path | None = None
    answers: Path | None = None
    progress: Progress = no_progress
    max_steps: int | None = None
    checkpoint_seconds: float = 60.0
    log_with: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    logs: Path | None = None

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing is to be trained."""
        return self.max_steps == 0
