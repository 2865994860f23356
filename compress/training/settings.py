"""The knobs of the training loop, one type for each, shared by the methods that train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Epochs = Annotated[float, Field(gt=0, le=1000, description="passes over the training part; more costs time in proportion")]
LearningRate = Annotated[float, Field(gt=0, lt=1, description="highest learning rate of AdamW, reached after warm-up")]
MaxLength = Annotated[
    int | None, Field(ge=4, le=1 << 20, description="tokens of each text to read; null: all that the task gives")
]
BatchSize = Annotated[int, Field(ge=1, le=65536, description="examples per forward pass, over all processes")]
Accumulate = Annotated[int, Field(ge=1, le=4096, description="batches per optimizer step")]
Schedule = Annotated[Literal["linear", "cosine", "constant"], Field(description="how the learning rate falls after warm-up")]
Warmup = Annotated[float, Field(ge=0, lt=1, description="fraction of all optimizer steps in which the rate rises")]
WeightDecay = Annotated[float, Field(ge=0, lt=1, description="decoupled decay; biases and LayerNorm are left out")]
Average = Annotated[
    float,
    Field(ge=0, le=1, description="last fraction of the steps whose weights are averaged into the result; 0 takes the last"),
]
ClipNorm = Annotated[float, Field(gt=0, description="largest norm of the gradient over all parameters")]
Patience = Annotated[
    int | None,
    Field(ge=1, description="stop after so many epochs without a better selection metric; null never stops early"),
]


@dataclass(frozen=True)
class Settings:
    """How to train; the fields are those of the methods' signatures."""

    epochs: float
    learning_rate: float
    batch_size: int
    accumulate: int
    schedule: str
    warmup: float
    weight_decay: float
    clip_norm: float
    average: float
    patience: int | None
