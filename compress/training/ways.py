"""What of a model learns: all of it, its head alone, its head and some layers, a mix of all layers, exits, or adapters that
are put into it.

What stays below the lowest layer that learns answers the same in every epoch. It is computed once, and kept: an epoch of a
head then takes seconds.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import nn
from transformers import PreTrainedModel
from typing_extensions import TypedDict

from compress.errors import InputError
from compress.models.adapters import insert_adapters, learned_with_adapters, lora_of
from compress.models.attention.segments import segments_of
from compress.models.exits import exits_of
from compress.models.heads import head_of
from compress.models.layer_mix import NAME, check_mixable, mix_of, set_mix, unmixed
from compress.models.layout import behind_encoder, encoder_layers, reads_first_token_only
from compress.models.lora import Place, insert_lora, keep_lora, merge_lora
from compress.models.quantizers import quantized_linears
from compress.models.states import State
from compress.tasks.encoding import Encoded, features_of
from compress.training.device import has_fast_bf16, pick_device
from compress.training.layer_rates import layers_that_learn
from compress.training.step_context import StepContext
from compress.training.teacher_cache import known_answers

if TYPE_CHECKING:
    from compress.training.training_loss import TrainingLoss

logger = logging.getLogger(__name__)


class SomeLayers(TypedDict):
    """Layers that learn, with the head."""

    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, description="from 0, the lowest")]


class AdapterSizes(TypedDict, total=False):
    """Of adapters.

    Args:
        size: Numbers between an adapter's two Linears.
        both: Behind attention and behind the feed-forward part; else behind the latter alone.
    """

    size: Annotated[int, Field(ge=1, le=1 << 16, description="numbers between an adapter's two Linears")]
    both: Annotated[bool, Field(description="behind attention too, as Houlsby; else behind the feed-forward part alone")]


class OfAdapters(TypedDict):
    """Adapters that learn, with the head and the layers' normalizations."""

    adapters: AdapterSizes


class LoraSizes(TypedDict, total=False):
    """Of low-rank matrices.

    Args:
        rank: Width between two.
        alpha: Their product counts alpha / rank times.
        places: Beside which Linears of each layer.
        keep: Let them stay beside the Linears, so that they can be saved alone.
    """

    rank: Annotated[int, Field(ge=1, le=4096, description="width between two thin matrices")]
    alpha: Annotated[float, Field(gt=0, description="their product counts alpha / rank times")]
    places: Annotated[list[Place], Field(min_length=1, description="beside which Linears of each layer")]
    keep: Annotated[bool, Field(description="let them stay beside the Linears; else they are added to them in the end")]


class OfLora(TypedDict):
    """Low-rank matrices that learn, with the head, and are added to what they stand beside, or kept."""

    lora: LoraSizes


class Turns(TypedDict, total=False):
    """Of layers that begin to learn one after another.

    Args:
        share: Of the steps, until all of the model learns.
    """

    share: Annotated[float, Field(gt=0, le=1, description="of the steps, until all of the model learns")]


class InTurns(TypedDict):
    """All that learns, one layer more at a time."""

    gradual: Turns


SomeLayers.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
AdapterSizes.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
OfAdapters.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
LoraSizes.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
OfLora.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
Turns.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
InTurns.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]

Train = Annotated[
    Literal["all", "head", "layers", "gradual", "layer_mix", "adapters", "lora"] | SomeLayers | InTurns | OfAdapters | OfLora,
    Field(
        description="what learns: all, the head alone, with it layers (all, or {layers: [...]}), all one after another "
        "(gradual, whose {share} of the steps may be told), a layer_mix, adapters, whose {size, both} may be told, or lora, "
        "whose {rank, alpha, places, keep} may; the rest stays as it is"
    ),
]
SIZE = 64
SHARE = 0.5
RANK, ALPHA = 8, 16.0
PLACES: tuple[Place, ...] = ("query", "value")
MIX_RATES = {f"{NAME}.weights": 1e-2, f"{NAME}.scale": 1e-2}
LARGEST_FEATURES = 4_000_000_000
"""Bytes of what is kept of the lower layers; where it would be more, they are computed in every step."""


@dataclass(frozen=True)
class Way:
    """What of a model learns.

    Args:
        layers: Numbers of the layers that learn, from 0, rising; None for all of the model.
        adapters: The size of adapters that learn in the layers' place, and whether they stand behind both parts.
        lora: The rank, alpha and places of low-rank matrices that learn in the layers' place.
        keeps_lora: Whether these stay beside what they could be added to.
        mixes: Whether a weighted sum of all layers is what the head reads, and its weights learn.
        share: Of the steps, in which one layer after another begins to learn, until all of the model does.
        exits: Whether the model's exits learn: alone, or with all of it.
    """

    layers: tuple[int, ...] | None = None
    adapters: tuple[int, bool] | None = None
    lora: tuple[int, float, tuple[Place, ...]] | None = None
    keeps_lora: bool = False
    mixes: bool = False
    share: float | None = None
    exits: bool = False

    def begin(self, model: PreTrainedModel, seed: int) -> None:
        """Put in what is to learn, and let that have gradients, and nothing else."""
        if self.layers is None:
            model.requires_grad_(True)
            return
        model.requires_grad_(False)
        if self.adapters is not None:
            insert_adapters(model, self.adapters[0], both=self.adapters[1], seed=seed)
        learning = learned_with_adapters(model) if self.adapters is not None else behind_encoder(model)
        exits = exits_of(model)
        if self.exits and exits is not None:
            exits.requires_grad_(True)
            learning = []
        if self.lora is not None:
            rank, alpha, places = self.lora
            learning = [*learning, *insert_lora(model, rank=rank, alpha=alpha, places=places, seed=seed)]
        if self.mixes:
            set_mix(model).requires_grad_(True)
        for name in learning:
            model.get_parameter(name).requires_grad_(True)
        every = encoder_layers(model)
        for number in self.layers:
            every[number].requires_grad_(True)

    @property
    def each_step(self) -> Callable[[PreTrainedModel, int, int], None] | None:
        """What is done to the model before each step."""
        return None if self.share is None else partial(take_turns, share=self.share)

    def end(self, model: PreTrainedModel, run: StepContext | None = None) -> PreTrainedModel:
        """Leave a model that needs nothing of what made it learn, and tell what its layers are worth where it mixes them."""
        if run is not None and (mix := mix_of(model)):
            run.facts["layer_mix"] = shares = [round(share, 4) for share in mix.shares.tolist()]
            logger.info("shares of the embeddings and of each layer: %s", ", ".join(f"{share:.1%}" for share in shares))
        if self.lora is None:
            return model
        return keep_lora(model) if self.keeps_lora else merge_lora(model)

    def rehearsed(self, model: PreTrainedModel, seed: int) -> PreTrainedModel:
        """The shape of what will come out, in place."""
        self.begin(model, seed)
        return self.end(model).requires_grad_(True)

    def constant(self, model: PreTrainedModel) -> int:
        """How many layers, from the lowest, answer the same in every epoch."""
        if self.layers is None or self.adapters or self.lora:
            return 0
        return self.layers[0] if self.layers else len(encoder_layers(model))

    def read(self, model: PreTrainedModel) -> list[int]:
        """Of these layers, counted from 1, those whose answers are read by what learns."""
        constant = self.constant(model)
        return list(range(1, constant + 1)) if self.mixes or self.exits or mix_of(model) else [constant][:constant]


ALL = Way()


def take_turns(model: PreTrainedModel, step: int, steps: int, *, share: float) -> None:
    """Let layers begin to learn one after another, in so much of all steps."""
    layers_that_learn(model, step, max(1, round(steps * share)))


def mixing(goal: TrainingLoss, way: Way) -> TrainingLoss:
    """What is made small, with rates for the weights of a mix that learns."""
    return replace(goal, rates={**goal.rates, **MIX_RATES}) if way.mixes else goal


def way_of(method: str, train: Train, model: PreTrainedModel) -> Way:
    """What learns, as a recipe names it.

    Args:
        method: Who asks.
        train: Its words.
        model: What learns.

    Raises:
        InputError: The model has no such layers, or they share weights with others, or it has no head of its own.
    """
    if train == "all":
        return ALL
    if head_of(model).writes:
        raise InputError(f"{method}.train is {train!r}, but a model that writes learns as a whole; set it to all.")
    if not behind_encoder(model):
        raise InputError(
            f"{method}.train is {train!r}, but this {model.config.model_type} has no weights behind its encoder; use all."
        )
    asked: dict[str, Any] = {train: {}} if isinstance(train, str) else {**train}
    if "head" in asked:
        return Way(())
    if "gradual" in asked:
        if not encoder_layers(model):
            raise InputError(f"{method}.train is {train!r}, but a {model.config.model_type} has no layers; set it to all.")
        return Way(share=asked["gradual"].get("share", SHARE))
    if "layer_mix" in asked:
        check_mixable(model)
        return Way((), mixes=True)
    if quantized_linears(model) and not asked.keys().isdisjoint({"adapters", "lora"}):
        raise InputError(f"{method}.train is {train!r}, but the model quantizes; train adapters before quantize_aware.")
    if lora_of(model) and not asked.keys().isdisjoint({"adapters", "lora"}):
        raise InputError(
            f"{method}.train is {train!r}, but the model keeps low-rank matrices already; begin with the model that they were "
            "put into, or train the head, layers or all of it."
        )
    if "adapters" in asked:
        return Way((), (asked["adapters"].get("size", SIZE), asked["adapters"].get("both", True)))
    if "lora" in asked:
        lora = asked["lora"]
        sizes = (lora.get("rank", RANK), lora.get("alpha", ALPHA), tuple(lora.get("places", PLACES)))
        return Way((), lora=sizes, keeps_lora=lora.get("keep", False))
    layers = encoder_layers(model)
    wanted = sorted(set(asked["layers"] or range(len(layers))))
    if not wanted or wanted[-1] >= len(layers):
        allowed = f"from 0 to {len(layers) - 1}" if layers else "none, since it has no encoder"
        names = wanted[-1] if wanted else "all"
        raise InputError(f"{method}.train.layers names {names}, but the model's layers are {allowed}.")
    learning = {parameter for number in wanted for parameter in layers[number].parameters()}
    stays = [number for number in range(len(layers)) if number not in wanted]
    if shared := [number for number in stays if not learning.isdisjoint(layers[number].parameters())]:
        raise InputError(
            f"{method}.train.layers leaves out layer {shared[0]}, which shares its weights with one that learns; name both, "
            "or set train to all."
        )
    return Way(tuple(wanted))


@contextlib.contextmanager
def features_kept(
    model: PreTrainedModel, way: Way, goal: TrainingLoss, parts: tuple[Encoded, ...], run: StepContext
) -> Iterator[tuple[Encoded, ...]]:
    """What the layers that stay answer to examples, computed once.

    Args:
        model: As it is before training.
        way: What of it learns.
        goal: What is made small; where it compares states or hides words, nothing is kept.
        parts: Examples, with whole pieces' ids.
        run: Device, progress, and the folder where features are kept for other runs.

    Yields:
        The parts with features; as they are where nothing stays, or it would be too large.
    """
    layers = way.read(model)
    moves = goal.states or goal.mlm_probability or any(part.hides for part in parts)
    if not layers or moves or segments_of(model) is not None or quantized_linears(model):
        yield parts
        return
    first = layers[-1] == len(encoder_layers(model)) and reads_first_token_only(model)
    states: list[State] = [("first" if first else "hidden", layer) for layer in layers]
    device = pick_device(run.device)
    with contextlib.ExitStack() as stack:
        folder = run.answers or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept = []
        with unmixed(model):
            for part in parts:
                known = known_answers(
                    model,
                    part,
                    states,
                    folder=folder,
                    limit_bytes=LARGEST_FEATURES,
                    device=device,
                    bf16=has_fast_bf16(device),
                    progress=run.progress,
                    what="what layers answer that do not learn",
                )
                if known is None:
                    break
                kept.append(replace(part, features={state[1]: known.states[state] for state in states}))
        yield tuple(kept) if len(kept) == len(parts) else parts


@contextlib.contextmanager
def layers_lent(model: PreTrainedModel, features: Collection[int]) -> Iterator[None]:
    """Let the lowest layers answer what a batch says of them, see `Encoded.features`, and compute nothing.

    Args:
        model: Is changed inside.
        features: The layers whose answers batches have, counted from 1; those below the lowest are not read.
    """
    if not features:
        yield
        return
    lent: dict[int, torch.Tensor] = {}
    calls: list[int] = []

    def take(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        lent.update({layer: options.pop(features_of(layer)).float() for layer in features})
        calls.clear()
        return args, options

    def answer(*_: Any, **__: Any) -> torch.Tensor:
        calls.append(1)
        return lent[max(len(calls), min(lent))]

    layers: list[Any] = list(dict.fromkeys(encoder_layers(model)[: max(features)]))
    hook = model.register_forward_pre_hook(take, with_kwargs=True)
    for layer in layers:
        layer.forward = answer
    try:
        yield
    finally:
        hook.remove()
        for layer in layers:
            del layer.forward
