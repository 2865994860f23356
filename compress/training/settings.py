"""The knobs of the training loop, shared by the methods that train: types, ranges, defaults and meaning, each told once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict, Unpack

from compress.knobs import defaults_of

Epochs = Annotated[float, Field(gt=0, le=1000, description="passes over the training part; more costs time in proportion")]
LearningRate = Annotated[float, Field(gt=0, lt=1, description="highest learning rate of AdamW, reached after warm-up")]
MaxLength = Annotated[
    int | None, Field(ge=4, le=1 << 20, description="tokens of each text to read; null: all that the task gives")
]
BatchSize = Annotated[int, Field(ge=1, le=65536, description="examples per forward pass, over all processes")]
Average = Annotated[
    float, Field(ge=0, le=1, description="last fraction of the steps whose weights are averaged into the result")
]


ClassWeights = Annotated[
    Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None,
    Field(description="how much each label counts in the loss on labels: by how rare it is, or as given by name"),
]
Focal = Annotated[
    float, Field(ge=0, le=10, description="gamma of the focal loss on labels: higher counts what is right already less")
]


class StepKnobs(TypedDict, total=False):
    """How AdamW goes through the training part; a method that trains takes them as `**knobs: Unpack[StepKnobs]`.

    Args:
        batch_size: Examples per forward pass, over all processes.
        accumulate: Batches per optimizer step.
        schedule: How the rate falls after warm-up.
        warmup: Fraction of the steps in which the rate rises.
        weight_decay: Decoupled decay of all weights but biases and LayerNorm.
        clip_norm: Largest norm of the gradient over all parameters.
        dropout: Probability of every dropout in what learns; null leaves what the configuration says. A student that begins
            near its teacher, and learns its very numbers, is only kept from them by dropout: 0 is better there.
        layer_decay: Share of the rate of the layer above, the head's for the highest, at which each layer learns, and the
            embeddings of the lowest's; 1 lets all learn alike, 0.8 to 0.95 keeps more of what a model knew.
    """

    batch_size: Annotated[BatchSize, Field(default=64)]
    accumulate: Annotated[int, Field(default=1, ge=1, le=4096)]
    schedule: Annotated[Literal["linear", "cosine", "constant"], Field(default="linear")]
    warmup: Annotated[float, Field(default=0.1, ge=0, lt=1)]
    weight_decay: Annotated[float, Field(default=0.01, ge=0, lt=1)]
    clip_norm: Annotated[float, Field(default=1.0, gt=0)]
    dropout: Annotated[float | None, Field(default=None, ge=0, lt=1)]
    layer_decay: Annotated[float, Field(default=1.0, gt=0, le=1)]


class TrainingKnobs(StepKnobs, total=False):
    """The same, and which of the weights on the way become the result.

    Args:
        average: Last fraction of the steps whose weights are averaged into the result; 0 takes the last.
        patience: Epochs without a better selection metric before stopping; null never stops early.
    """

    average: Annotated[Average, Field(default=0.0)]
    patience: Annotated[int | None, Field(default=None, ge=1)]


@dataclass(frozen=True)
class Settings:
    """How to train; the fields are those of the methods' signatures, see `TrainingKnobs`."""

    epochs: float
    learning_rate: float
    batch_size: int
    accumulate: int
    schedule: str
    warmup: float
    weight_decay: float
    clip_norm: float
    dropout: float | None
    layer_decay: float
    average: float
    patience: int | None


def settings_of(epochs: float, learning_rate: float, **knobs: Unpack[TrainingKnobs]) -> Settings:
    """Return how to train, where a knob that is not given has its default."""
    chosen: dict[str, Any] = {**defaults_of(TrainingKnobs), **knobs}
    return Settings(epochs, learning_rate, **chosen)
