"""Answers on the way: heads behind lower layers; a text leaves at the first one that is sure, and those above need not run.

Source: Xin et al. 2020, DeeBERT, arXiv 2004.12993, section 3.1 (off-ramps, entropy); Xin et al. 2021, BERxiT, EACL 2021
(probability); Liu et al. 2020, FastBERT, arXiv 2004.02178, equation 3 (normalized entropy).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.attention.segments import segments_of
from compress.models.families import family_of, known_family
from compress.models.head import SINGLE_LABEL
from compress.models.layer_mix import mix_of
from compress.models.layout import encoder_layers

NAME = "exits"
"""Of the module in a base model."""
NEVER = 1.0
"""A threshold that no confidence is above."""
DROPOUT = 0.1
Measure = Literal["probability", "entropy"]


class Exit(nn.Module):
    """A head that reads a layer's first token as BERT's own reads the last layer's.

    Args:
        width: Of the states.
        labels: How many.
        normalizes: Whether the states have to be normalized, since layers leave that to those that read them.
    """

    def __init__(self, width: int, labels: int, *, normalizes: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if normalizes else nn.Identity()
        self.dense, self.classifier = nn.Linear(width, width), nn.Linear(width, labels)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """The logits, (batch, labels), for states, (batch, tokens, width)."""
        pooled = torch.tanh(self.dense(self.norm(states[:, 0])))
        logits: torch.Tensor = self.classifier(self.dropout(pooled))
        return logits


@dataclass(frozen=True)
class Passage:
    """What a batch leaves behind on its way through a model.

    Args:
        states: For each exit what the layers above it go on from, (batch, length, width).
        logits: For each exit its answers, (batch, labels).
        unsure: For each exit the rows that go on, (batch,).
        last: What the model's own head answers, (batch, labels).
    """

    states: list[torch.Tensor]
    logits: list[torch.Tensor]
    unsure: list[torch.Tensor]
    last: torch.Tensor

    @property
    def left(self) -> torch.Tensor:
        """Where each row leaves: the number of the exit, from 0; as many as there are exits stand for the model's own head."""
        numbers = [torch.full_like(unsure, number, dtype=torch.long) for number, unsure in enumerate(self.unsure)]
        return self._first_sure(numbers, torch.full_like(self.unsure[0], len(self.unsure), dtype=torch.long))

    @property
    def answers(self) -> torch.Tensor:
        """The answers of the exits at which rows leave, (batch, labels)."""
        return self._first_sure(self.logits, self.last)

    def _first_sure(self, values: Sequence[torch.Tensor], last: torch.Tensor) -> torch.Tensor:
        chosen = last
        for unsure, value in zip(reversed(self.unsure), reversed(values), strict=True):
            chosen = torch.where(unsure.view(-1, *(1,) * (value.ndim - 1)), chosen, value)
        return chosen


class Exits(nn.Module):
    """The exits of a model, which see what its layers answer, and answer in its place where they are sure.

    Args:
        layers: Behind which, counted from 0, rising.
        width: Of the states.
        labels: How many.
        measure: What of an answer tells how sure it is.
        normalizes: See `Exit`.

    Attributes:
        thresholds: For each exit what the confidence of an answer has to be above, so that a text leaves; 1 lets none leave.
        stacked: Whether the model gives the answers of all exits and its own, (batch, exits + 1, labels), in the place of one.
        lean: For exits whose state is computed for the first token alone, how; by layer.
        passage: Of the last batch, while it is watched.
    """

    def __init__(
        self, layers: Sequence[int], width: int, labels: int, measure: Measure = "probability", *, normalizes: bool = False
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Exit(width, labels, normalizes=normalizes) for _ in layers)
        self.layers, self.measure = tuple(layers), measure
        self.thresholds = [NEVER] * len(self.layers)
        self.stacked = self.watched = False
        self.lean: dict[int, Callable[..., torch.Tensor]] = {}
        self.passage: Passage | None = None
        self._done = 0
        self._states: list[torch.Tensor] = []
        self._logits: list[torch.Tensor] = []

    @property
    def classifiers(self) -> list[nn.Module]:
        """The last Linear of each."""
        return [head.get_submodule("classifier") for head in self.heads]

    def begin(self, *_: Any) -> None:
        """A pass begins."""
        self._done, self.passage = 0, None
        self._forget()

    def leave(self, _: nn.Module, args: tuple[Any, ...], options: dict[str, Any], answer: Any) -> None:
        """A layer answers."""
        number, self._done = self._done, self._done + 1
        if number not in self.layers:
            return
        state: torch.Tensor = answer[0] if isinstance(answer, tuple) else answer
        read = state
        if number in self.lean:
            state = args[0] if args else options["hidden_states"]
            read = self.lean[number](*args, **options)
        self._states.append(state)
        self._logits.append(self.heads[self.layers.index(number)](read))

    def end(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        """The model answers: what the first exit that is sure has said."""
        if self.stacked:
            output.logits = torch.stack([*self._logits, output.logits], 1)
        else:
            passage = Passage(self._states[:], self._logits[:], self._unsure(), output.logits)
            output.logits = passage.answers
            self.passage = passage if self.watched else None
        self._forget()
        return output

    def _unsure(self) -> list[torch.Tensor]:
        return [
            confidence(logits, self.measure) <= threshold
            for logits, threshold in zip(self._logits, self.thresholds, strict=True)
        ]

    def _forget(self) -> None:
        self._states.clear()
        self._logits.clear()


def confidence(logits: torch.Tensor, measure: Measure) -> torch.Tensor:
    """How sure answers are, from 0 to 1, (..., labels) in, (...) out: the likeliest label's probability, or 1 less the entropy
    of the labels' over that of labels that are all alike."""
    if measure == "probability":
        return logits.softmax(-1).amax(-1)
    logs = logits.log_softmax(-1)
    return 1 + (logs.exp() * logs).sum(-1) / math.log(logits.shape[-1])


def ends_exit(module: str) -> bool:
    """Whether the module of a name is the last Linear of an exit."""
    return f".{NAME}.heads." in f".{module}" and module.endswith(".classifier")


def exits_of(model: PreTrainedModel) -> Exits | None:
    """The exits of a model that has some."""
    exits = getattr(getattr(model, "base_model", None), NAME, None)
    return exits if isinstance(exits, Exits) else None


def exit_layers(model: PreTrainedModel, layers: Sequence[int] | Literal["all"]) -> list[int]:
    """The layers that a recipe names, behind which exits are to stand.

    Raises:
        InputError: The model can have no exits there, or none at all.
    """
    depth = len(encoder_layers(model))
    if depth < 2:
        raise InputError(
            f"a {model.config.model_type} of {depth} layers has no layer to leave behind before the last; remove early_exit."
        )
    tells_one_label = model.config.problem_type in (None, SINGLE_LABEL) and model.config.num_labels > 1
    if type(model) is not known_family(model).classifier or not tells_one_label:
        raise InputError(
            "early_exit needs a model that tells one label for a text, whose probability says how sure it is; remove the step."
        )
    if exits_of(model) is not None:
        raise InputError("the model has exits already; name all of their layers in one early_exit.")
    if mix_of(model) is not None:
        raise InputError("the model mixes its layers, so that its head needs all of them; remove early_exit, or layer_mix.")
    if segments_of(model) is not None:
        raise InputError("the model reads texts in segments, between which nothing can leave; remove early_exit.")
    numbers = list(range(depth - 1)) if layers == "all" else sorted(set(layers))
    if numbers[-1] >= depth - 1:
        what = "is the last one, where all texts leave anyway" if numbers[-1] == depth - 1 else "does not exist"
        raise InputError(f"early_exit.layers names {numbers[-1]}, which {what}; allowed: 0 to {depth - 2}.")
    return numbers


def set_exits(model: PreTrainedModel, layers: Sequence[int], measure: Measure = "probability", *, seed: int = 13) -> Exits:
    """Let a model have exits behind these layers, in place, with new weights and thresholds that nothing is above.

    Args:
        model: Is changed.
        layers: Counted from 0, rising; see `exit_layers`.
        measure: See `confidence`.
        seed: For the weights.
    """
    every, base = encoder_layers(model), model.base_model
    device, width = next(every[-1].parameters()).device, model.config.hidden_size
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        exits = Exits(layers, width, model.config.num_labels, measure, normalizes=not family_of(model).norms_behind)
        if device.type != "meta":
            for linear in (module for module in exits.modules() if isinstance(module, nn.Linear)):
                linear.weight.data.normal_(0.0, getattr(model.config, "initializer_range", 0.02))
                linear.bias.data.zero_()
    base.add_module(NAME, exits.train(model.training))
    base.register_forward_pre_hook(exits.begin)
    for layer in dict.fromkeys(every):
        layer.register_forward_hook(exits.leave, with_kwargs=True)
    model.register_forward_hook(exits.end)
    return exits


@contextlib.contextmanager
def all_exits(model: PreTrainedModel) -> Iterator[None]:
    """Let a model give the answers of all exits and its own, (batch, exits + 1, labels), for a while."""
    exits = exits_of(model)
    assert exits is not None
    exits.stacked = True
    try:
        yield
    finally:
        exits.stacked = False


@contextlib.contextmanager
def watched_exits(model: PreTrainedModel) -> Iterator[Exits | None]:
    """Let a model's exits keep the last batch's passage for a while; None where it has none."""
    exits = exits_of(model)
    if exits is not None:
        exits.watched = True
    try:
        yield exits
    finally:
        if exits is not None:
            exits.watched, exits.passage = False, None
