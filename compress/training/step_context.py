"""What a training step is told by its caller besides its arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compress.log import Progress, no_progress


@dataclass
class Guess:
    """Which shape a rehearsal takes where only a step's work tells it.

    What is refused for all of the shapes that are plausible is wrong whatever the work will find; what passes for one is not.

    Args:
        number: Of the shape, from 0.
        choices: How many there are, as far as the steps that were rehearsed have told.
    """

    number: int = 0
    choices: int = 1

    def among(self, choices: int) -> int:
        """Choose one of so many, and note how many there are."""
        self.choices = max(self.choices, choices)
        return self.number % max(1, choices)


@dataclass
class StepContext:
    """The surroundings of one step.

    Args:
        seed: For the order of the examples, dropout and new weights.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        folder: Where checkpoints go, so that a killed step goes on; None keeps none.
        answers: Where what teachers answer, and what was timed, is kept for other steps and runs; None keeps nothing on disk.
        progress: Told after each batch.
        max_steps: Stop after so many optimizer steps; None does not.
        checkpoint_seconds: Time between two checkpoints.
        log_with: Trackers that accelerate knows ("tensorboard", "wandb", ...).
        logs: Where trackers write; the folder of the checkpoints, which goes when the step ends, if None.
        facts: What the step found out, for run.json: metrics, examples_per_second, curve.
        tiny: For `--tiny`: a random model and a few examples, on which steps that measure take few measurements, and do not
            insist on having an effect.
        rehearsal: Check all that is given, and leave a model of the right shape whose weights say nothing: no training, and no
            forward pass but for the shortest text, where the room for a teacher's answers is checked.
        guess: What a rehearsal takes for a shape that only the work tells.
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
    tiny: bool = False
    rehearsal: bool = False
    guess: Guess = field(default_factory=Guess)
    logs: Path | None = None

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing is to be computed but the shape of the result."""
        return self.rehearsal
