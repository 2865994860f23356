"""Where a pruned model will run: what a recipe may say about it, and whether a model's parts can be timed there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from transformers import PreTrainedModel

from compress.benchmark.block_times import BlockTimes, Setting, block_times
from compress.dependencies import DependsOn
from compress.models.families import MOST_TOLD, encoder_family, encoders, family_of, longest_text
from compress.models.heads import head_of
from compress.targets import timed_targets
from compress.targets.exporting import check_runtime
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext

Target = Annotated[  # type: ignore[valid-type]  # the table tells at run time
    Literal[timed_targets()],
    Field(description="what will run it; times are of its files, with its default options"),
    DependsOn("target"),
]
Speedup = Annotated[
    float | None, Field(gt=1, description="how many times faster than today, by measured times"), DependsOn("machine")
]
Milliseconds = Annotated[float | None, Field(gt=0, description="median milliseconds of a call"), DependsOn("machine")]
Examples = Annotated[int, Field(ge=1, description="examples in a call")]
Tokens = Annotated[int, Field(ge=1, description="tokens of each example")]
Threads = Annotated[int, Field(ge=1, description="threads of the runtime")]


def times_of(model: PreTrainedModel, task: Task, setting: Setting, run: StepContext) -> BlockTimes:
    """What the model's parts take there, kept beside teachers' answers for other steps and runs."""
    folder = run.answers / "times" if run.answers else None
    return block_times(model, task, setting, folder=folder, progress=run.progress)


def not_timed(method: str, model: PreTrainedModel, setting: Setting) -> list[str]:
    """Why parts of the model cannot be timed there; nothing if they can.

    Raises:
        InputError: The target's runtime is not installed.
    """
    check_runtime(setting.target)
    if head_of(model).writes:
        what = f"a {model.config.model_type} that writes texts"
        return [f"{method}: {what} cannot be timed part by part; use prune_ffn and prune_heads."]
    if family_of(model).after_attention is None:
        known = [kind for kind in encoders() if encoder_family(kind).after_attention is not None][:MOST_TOLD]
        return [
            f"{method}: a {model.config.model_type} cannot be timed part by part; allowed: {', '.join(known)}. Use "
            "build_student for another shape."
        ]
    longest = longest_text(model.config)
    if setting.length > longest:
        return [f"{method}.length is {setting.length}, but the model reads at most {longest} tokens; use fewer."]
    return []
