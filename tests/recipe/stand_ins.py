"""Methods, targets and a task with the signatures of real ones, but without torch: what the recipe checks need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.tasks.labelled import Task
    from compress.training.step_context import StepContext

Epochs = Annotated[float, Field(gt=0, description="passes over the training part")]
LayerIndex = Annotated[int, Field(ge=0)]


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("it is odd")
    return value


def fine_tune(
    model: PreTrainedModel,
    *,
    task: Task,
    epochs: Epochs = 3,
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4,
    batch_size: Annotated[int, Field(ge=1)] = 64,
    schedule: Literal["linear", "cosine", "constant"] = "linear",
    shuffle: bool = True,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Train the whole model on labels.

    Source: Devlin et al. 2019, arXiv 1810.04805,
    section 4.1.

    Args:
        epochs: Passes over the training part,
            fractions included.
    """
    raise NotImplementedError


def drop_layers(model: PreTrainedModel, *, keep: Annotated[list[LayerIndex], Field(min_length=1)]) -> PreTrainedModel:
    """Keep some layers.

    Source: Sajjad et al. 2020, arXiv 2004.03844.
    Differs: nothing is averaged.
    """
    raise NotImplementedError


def distill(
    model: PreTrainedModel,
    *,
    teacher: PreTrainedModel,
    task: Task,
    objectives: dict[str, float],
    epochs: Epochs = 3,
    copy: Annotated[int, AfterValidator(_even)] = 2,
    layers: Annotated[dict[int, int], Field(min_length=1)] | Literal["even"] = "even",
    second_model: PreTrainedModel | None = None,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Learn from a teacher."""
    raise NotImplementedError


def onnxruntime_cpu(model: PreTrainedModel, folder: Path, *, task: Task, run: StepContext | None = None) -> None:
    """Write float32 ONNX."""


def onnxruntime_cpu_int8(
    model: PreTrainedModel, folder: Path, *, task: Task, per_channel: bool = True, run: StepContext | None = None
) -> None:
    """Write int8 ONNX."""


def task(
    spec: str | dict[str, Any],
    *,
    kind: str = "text-classification",
    data_dir: str | None = None,
    max_length: Annotated[int, Field(ge=8, le=512)] = 128,
    labels: list[str] | None = None,
) -> Task:
    """Read a task.

    Args:
        max_length: Tokens; what is longer is cut.
    """
    raise NotImplementedError
