"""Read what a model computes on its way: hidden states, queries, keys, values and attention scores of chosen layers.

Layers are counted from 1, as papers do; hidden 0 is the embeddings' output. Hooks read them off the live modules, so that any
attention kernel may run and no state is kept that nobody asked for.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.attention.segments import joined, segments_of
from compress.models.families import family_of
from compress.models.layout import encoder_layers, head_count, projections_of

StateKind = Literal["hidden", "first", "query", "key", "value", "scores"]
State = tuple[StateKind, int]
States = dict[State, torch.Tensor]

PROJECTIONS: tuple[StateKind, ...] = ("query", "key", "value")


@contextlib.contextmanager
def recorded(model: PreTrainedModel, wanted: Collection[State]) -> Iterator[States]:
    """Collect states of the forward passes inside; those of the last pass stay.

    Args:
        model: Is left as it is.
        wanted: StateKind and layer of each. hidden: a layer's output, (batch, length, width); first: its first token alone,
            (batch, 1, width); query, key, value: a projection's output, (batch, length, heads * head size); scores: the
            products of queries and keys over the root of the head's size, before mask and softmax,
            (batch, heads, length, length).
    """
    states: States = {}
    layers = list(encoder_layers(model))
    if any(kind == "scores" for kind, _ in wanted) and family_of(model).scores_tell_places:
        raise InputError(
            f"the attention scores of a {model.config.model_type} depend on positions besides queries and keys; leave out the "
            "objectives attention and attention_scores, or use relations or value_relations."
        )
    with contextlib.ExitStack() as stack:
        if any(kind not in ("hidden", "first") for kind, _ in wanted) and segments_of(model) is not None:
            stack.callback(layers[0].register_forward_pre_hook(_one_segment, with_kwargs=True).remove)
        for kind, number in sorted(wanted):
            uses = [index for index, layer in enumerate(layers) if layer is layers[max(0, number - 1)]]
            turn = uses.index(max(0, number - 1)), len(uses)
            if kind in ("hidden", "first"):
                _hook(stack, layers[number - 1 if number else 0], turn, _hidden_kept(states, kind, number), before=not number)
                continue
            projections = dict(zip(PROJECTIONS, projections_of(layers[number - 1]), strict=True))
            if kind != "scores":
                _hook(stack, projections[kind], turn, _kept(states, (kind, number)))
                continue
            pair: States = {}
            for end in PROJECTIONS[:2]:
                _hook(stack, projections[end], turn, _kept(pair, (end, number)))
            _hook(stack, layers[number - 1], turn, _scores_kept(states, pair, number, head_count(layers[number - 1])))
        yield states


def _one_segment(_: nn.Module, __: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Refuse texts of several segments, between which there are no scores."""
    if options["layout"].count > 1:
        raise InputError(
            "the model reads these texts in several segments, so that it has no attention over all of their tokens to learn; "
            "leave out the objectives on attention and relations, or give the task a max_length of one segment."
        )


def whole_last_layer(wanted: Collection[State], depth: int) -> bool:
    """Whether more of the last layer is asked for than its first token's state, which is all that a classifier computes."""
    return any(number == depth and kind != "first" for kind, number in wanted)


def _hook(
    stack: contextlib.ExitStack, module: nn.Module, turn: tuple[int, int], keep: Callable[[Any], None], *, before: bool = False
) -> None:
    """Call `keep` with what goes into or comes out of a module, in its `turn[0]`-th of `turn[1]` calls of each pass."""
    calls = itertools.count()

    def hook(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Any = None) -> None:
        if next(calls) % turn[1] == turn[0]:
            given = args[0] if args else options["hidden_states"]
            value = given if before else output
            layout = options.get("layout")
            keep(value if layout is None else joined(value, args[1], layout))

    if before:
        handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    else:
        handle = module.register_forward_hook(hook, with_kwargs=True)
    stack.callback(handle.remove)


def _kept(states: States, state: State) -> Callable[[Any], None]:
    def keep(value: Any) -> None:
        states[state] = value

    return keep


def _hidden_kept(states: States, kind: StateKind, number: int) -> Callable[[Any], None]:
    def keep(value: Any) -> None:
        state: torch.Tensor = value[0] if isinstance(value, tuple) else value
        states[kind, number] = state[:, :1] if kind == "first" else state

    return keep


def _scores_kept(states: States, pair: States, number: int, heads: int) -> Callable[[Any], None]:
    def keep(_: Any) -> None:
        query, key = (pair["query", number], pair["key", number])
        states["scores", number] = head_products(query, key, heads)

    return keep


def head_products(first: torch.Tensor, second: torch.Tensor, heads: int) -> torch.Tensor:
    """Products of all rows of `first` and `second`, (batch, length, width), within each of `heads` equal slices of the width,
    over the root of a slice's width; (batch, heads, length, length)."""
    left, right = (states.view(*states.shape[:2], heads, -1).transpose(1, 2) for states in (first, second))
    scores: torch.Tensor = left @ right.transpose(-1, -2) * left.shape[-1] ** -0.5
    return scores
