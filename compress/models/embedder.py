"""Models that answer a vector for each text: an encoder, pooling over its tokens, projections, and a length of 1.

Source: Reimers and Gurevych 2019, Sentence-BERT, arXiv 1908.10084, section 3 (mean, maximum, first token); Muennighoff 2022,
SGPT, arXiv 2202.08904, section 4.1 (the mean weighted by position). The parts, and what a folder calls them, are those of
sentence-transformers.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from compress.errors import InputError, shown
from compress.models.head import SENTENCES

PROJECTIONS = "projections"
"""What the Linears behind the pooling are called, in order."""
SMALLEST_LENGTH = 1e-12


def _first(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states[:, 0]


def _last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    places = torch.arange(mask.shape[1], device=mask.device)
    return _weighted((places == mask.sum(1, keepdim=True) - 1).to(states.dtype), states)


def _maximum(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states.masked_fill(mask[:, :, None] == 0, torch.finfo(states.dtype).min).amax(1)


def _weighted(weights: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    return torch.matmul(weights[:, None], states)[:, 0]


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.to(states.dtype)
    return _weighted(weights / weights.sum(1, keepdim=True).clamp(min=1), states)


def _mean_by_root(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.to(states.dtype)
    return _weighted(weights / weights.sum(1, keepdim=True).clamp(min=1).sqrt(), states)


def _mean_by_position(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).to(states.dtype)
    return _weighted(weights / weights.sum(1, keepdim=True).clamp(min=1), states)


POOLINGS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cls": _first,
    "max": _maximum,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _mean_by_position,
    "lasttoken": _last,
}
"""From states (batch, length, width) and mask (batch, length), padded on the right, to (batch, width). Several stand one
behind the other, in this order."""
ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Identity": lambda values: values,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "Sigmoid": torch.sigmoid,
    "GELU": nn.functional.gelu,
}
"""Behind a projection, by the names of torch's modules."""


@dataclass(frozen=True)
class Projection:
    """A Linear behind the pooling.

    Args:
        inputs: The width that it reads.
        outputs: The width that it answers.
        bias: Whether it adds one.
        activation: One of ACTIVATIONS.
    """

    inputs: int
    outputs: int
    bias: bool = True
    activation: str = "Identity"


@dataclass(frozen=True)
class Pooling:
    """What becomes of the encoder's states.

    Args:
        pooling: Of POOLINGS; several are put one behind the other.
        projections: Behind the pooling, in order.
        normalize: Whether the vectors have a length of 1.
        prompts: What stands before a text, by its role: "query", "document" and others.
        default_prompt: Which of them stands before texts without a role; None for none.
        longest: Tokens of a text that sentence-transformers reads; None for as many as the model does.
    """

    pooling: tuple[str, ...] = ("mean",)
    projections: tuple[Projection, ...] = ()
    normalize: bool = True
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    longest: int | None = None

    def width(self, states: int) -> int:
        """How many numbers a vector has, of states of this width."""
        return self.projections[-1].outputs if self.projections else len(self.pooling) * states


def pooling_of(config: PretrainedConfig) -> Pooling:
    """What the configuration of a loaded model says of its pooling; the mean where it says nothing."""
    values: dict[str, Any] = getattr(config, "embedder", None) or {}
    try:
        projections = tuple(Projection(**entry) for entry in values.get(PROJECTIONS, ()))
        pooling = Pooling(**{**values, "pooling": tuple(values.get("pooling", ("mean",))), PROJECTIONS: projections})
    except (TypeError, AttributeError, ValueError) as err:
        raise InputError(f"config.json: embedder is {shown(values)}; restore the original file.") from err
    return pooling


def set_pooling(config: PretrainedConfig, pooling: Pooling) -> None:
    """Let a configuration in memory say what pooling there is; in a folder modules.json does."""
    config.embedder = asdict(pooling)


def told_prompts(pooling: Pooling) -> dict[str, str]:
    """What stands before a text, by its role; under "" what stands before one without a role."""
    default = {"": pooling.prompts[pooling.default_prompt]} if pooling.default_prompt else {}
    return {**pooling.prompts, **default}


def take_pooling(teacher: PreTrainedModel, student: PretrainedConfig) -> None:
    """Let a student of another width pool as its teacher does; the first projection reads what there is then."""
    if not getattr(teacher.config, "embedder", None):
        return
    pooling = pooling_of(teacher.config)
    shapes = list(pooling.projections)
    if shapes:
        shapes[0] = replace(shapes[0], inputs=len(pooling.pooling) * student.hidden_size)
    set_pooling(student, replace(pooling, projections=tuple(shapes)))


def take_prompts(teacher: PretrainedConfig, student: PretrainedConfig) -> None:
    """Let a student without an encoder put the same prompts before texts as its teacher; where that answers with vectors."""
    if getattr(teacher, "embedder", None):
        set_pooling(student, replace(pooling_of(teacher), pooling=("mean",), projections=(), normalize=True))


@dataclass
class SentenceVectors(ModelOutput):
    """What a sentence embedder answers.

    Args:
        last_hidden_state: The encoder's last states, (batch, length, width); None where there is no encoder.
        sentence_embedding: The vectors, (batch, dimensions).
    """

    last_hidden_state: torch.Tensor | None = None
    sentence_embedding: torch.Tensor | None = None


class Head(nn.Module):
    """A projection and what stands behind it."""

    def __init__(self, shape: Projection) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.inputs, shape.outputs, bias=shape.bias)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.activation(self.linear(values))


def projections_of(pooling: Pooling) -> nn.ModuleList:
    """New projections."""
    return nn.ModuleList(Head(shape) for shape in pooling.projections)


def finished(vectors: torch.Tensor, pooling: Pooling, projections: Sequence[nn.Module]) -> torch.Tensor:
    """Project pooled vectors, and bring them to a length of 1, (batch, dimensions)."""
    for projection in projections:
        vectors = projection(vectors)
    if not pooling.normalize:
        return vectors
    return vectors / vectors.square().sum(-1, keepdim=True).sqrt().clamp(min=SMALLEST_LENGTH)


class _Embedder:
    """The parts of an embedder that do not depend on its family."""

    encoder: type[PreTrainedModel]

    @property
    def state_width(self) -> int:
        """The width of what is pooled."""
        config: Any = self.config  # type: ignore[attr-defined]
        width: int = config.hidden_size
        return width

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        model: Any = self
        bare = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(self.encoder).parameters else {}
        setattr(model, model.base_model_prefix, self.encoder(config, **bare))
        self.projections = projections_of(pooling_of(config))
        model.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **inputs: Any) -> SentenceVectors:
        """Answer a batch that is padded on the right, (batch, length) each."""
        model: Any = self
        pooling = pooling_of(model.config)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = model.base_model(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        pooled = [POOLINGS[name](states, mask) for name in pooling.pooling]
        vectors = pooled[0] if len(pooled) == 1 else torch.cat(pooled, -1)
        return SentenceVectors(states, finished(vectors, pooling, list(self.projections)))


class OfFeatures:
    """What embedders without an encoder share, whose model says what their `features` are."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        model: Any = self
        self.projections = projections_of(pooling_of(config))
        model.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> SentenceVectors:
        """Answer a batch padded on the right, (batch, length) each."""
        model: Any = self
        vectors = model.features(input_ids, attention_mask)
        return SentenceVectors(None, finished(vectors, pooling_of(model.config), list(self.projections)))


def unfinished(model: PreTrainedModel) -> PreTrainedModel:
    """The model, whose vectors keep the length that they have behind the last projection; weights are shared."""
    bare = copy.copy(model)
    bare.config = copy.deepcopy(model.config)
    set_pooling(bare.config, replace(pooling_of(model.config), normalize=False))
    return bare


@torch.no_grad()
def with_projection(model: PreTrainedModel, linear: nn.Linear, activation: str = "Identity") -> PreTrainedModel:
    """Copy an embedder with one more projection.

    Args:
        model: Stays as it is.
        linear: Its weights are taken.
        activation: One of ACTIVATIONS.
    """
    student: Any = copy.deepcopy(model)
    pooling = pooling_of(model.config)
    shape = Projection(linear.in_features, linear.out_features, linear.bias is not None, activation)
    head = Head(shape)
    head.linear.load_state_dict(linear.state_dict())
    student.projections.append(head)
    set_pooling(student.config, replace(pooling, projections=(*pooling.projections, shape)))
    ready: PreTrainedModel = student.train(model.training)
    return ready


def embedder(encoder: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The class of a family's embedders.

    Args:
        encoder: The family's base model.
    """
    family = next(kind for kind in encoder.__mro__[1:] if kind is not PreTrainedModel and issubclass(kind, PreTrainedModel))
    name = f"{encoder.__name__.removesuffix('Model')}For{SENTENCES}"
    made: type[PreTrainedModel] = type(name, (_Embedder, family), {"encoder": encoder, "__module__": __name__})
    return made
