"""The residual stream, that each layer of an encoder reads and adds to: what holds a part of it, and fewer channels of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import nn
from transformers import PreTrainedModel

from compress.models.attention.kernel import attention_kernel
from compress.models.empty import EmptyLinear
from compress.models.families import family_of
from compress.models.heads import logits_of
from compress.models.layout import encoder_layers
from compress.models.principal import Batches, fit_norms, observe, regression
from compress.models.students import pooler_of


@dataclass(frozen=True)
class Place:
    """Where a module holds channels that are coupled with others'.

    Args:
        module: A Linear, an embedding table or a LayerNorm.
        size: Its attribute that counts them.
        dims: Name of each of its parameters that has the channels, with the dimension that they are.
    """

    module: nn.Module
    size: str
    dims: Mapping[str, int]


CUTS: dict[Any, tuple[str, dict[str, int]]] = {
    torch_pruning.prune_linear_out_channels: ("out_features", {"weight": 0, "bias": 0}),
    torch_pruning.prune_linear_in_channels: ("in_features", {"weight": 1}),
    torch_pruning.prune_embedding_out_channels: ("embedding_dim", {"weight": 1}),
    torch_pruning.prune_layernorm_out_channels: ("normalized_shape", {"weight": 0, "bias": 0}),
}
"""torch-pruning's ways to cut a module. They are told apart by, not called: 1.6.1 may leave a LayerNorm in another order."""


def coupled_places(model: PreTrainedModel) -> tuple[list[Place], list[Place]]:
    """Everything that holds the residual stream, and everything that holds the pooler's answer, by torch-pruning's graph of
    dependencies (see `prune_width`)."""
    graph = torch_pruning.DependencyGraph()
    words = torch.full((1, 4), model.config.pad_token_id or 0, device=model.device)
    with attention_kernel(model, "eager"), torch.enable_grad():  # the graph is traced backwards through autograd
        graph.build_dependency(model, {"input_ids": words}, output_transform=logits_of, verbose=False)
    roots = (
        (_last_norm(model), torch_pruning.prune_layernorm_out_channels),
        (pooler_of(model), torch_pruning.prune_linear_out_channels),
    )
    stream, pooled = (
        [Place(dep.target.module, *CUTS[dep.handler]) for dep, _ in graph.get_pruning_group(*root, [0]) if dep.handler in CUTS]
        for root in roots
    )
    silent = [
        module for module in model.modules() if isinstance(module, EmptyLinear) and not module.out_features
    ]  # nothing to trace
    return [*stream, *(Place(module, *CUTS[torch_pruning.prune_linear_in_channels]) for module in silent)], pooled


def channel_sums(places: Sequence[Place], value: Callable[[nn.Parameter], torch.Tensor]) -> torch.Tensor:
    """Sum, for each channel, what `value` makes of the elements of every parameter that has it, (channels,)."""
    sums = []
    for place in places:
        for name, dim in place.dims.items():
            parameter = getattr(place.module, name)
            if parameter is not None:
                values = value(parameter)
                sums.append(values.double() if values.ndim == 1 else values.sum(1 - dim, dtype=torch.float64))
    return torch.stack(sums).sum(0)


@torch.no_grad()
def keep_channels(places: Sequence[Place], keep: torch.Tensor) -> None:
    """Cut these places to the channels of `keep`, in this order."""
    for place in places:
        for name, dim in place.dims.items():
            parameter = getattr(place.module, name)
            if parameter is not None:
                setattr(place.module, name, nn.Parameter(parameter.index_select(dim, keep)))
        setattr(place.module, place.size, (len(keep),) if place.size == "normalized_shape" else len(keep))


def narrow(model: PreTrainedModel, stream: Sequence[Place], keep: torch.Tensor) -> None:
    """Cut the model's stream, in place, to these channels; what the pooler answers stays as wide.

    Heads are as wide as before; as config.json cannot say so, num_attention_heads there becomes the largest number up to the
    old one that divides the width.
    """
    keep_channels(stream, keep)
    config, width = model.config, len(keep)
    config.hidden_size = width
    config.num_attention_heads = fitting_heads(config.num_attention_heads, width)


def fitting_heads(heads: int, width: int) -> int:
    """The largest number up to `heads` that divides a width."""
    return max(count for count in range(1, heads + 1) if width % count == 0)


@torch.no_grad()
def refit_stream(model: PreTrainedModel, student: PreTrainedModel, keep: torch.Tensor, batches: Batches) -> None:
    """Fit a BERT or DistilBERT whose stream was cut to the channels of `keep` to the model's states, from the embeddings up.

    Each LayerNorm is fitted to what the model's answers in these channels; each Linear behind it then reads what of the
    model's whole state a linear map tells from the student's narrow one. Both are least squares.
    """
    family, layers = family_of(model), encoder_layers(model)
    names = {module: name for name, module in model.named_modules()}
    norms = [layer.get_submodule(path) for layer in layers for path in (family.attention_norm, family.output_norm)]
    readers: list[list[Any]] = [list(map(layer.get_submodule, paths)) for layer in layers for paths in family.read_alike]
    readers.append([pooler_of(model)])
    for norm, behind in zip([model.base_model.embeddings.LayerNorm, *norms], readers, strict=True):
        narrow = student.get_submodule(names[norm])
        wanted = observe(model, batches, {"norm": (norm, False)})["norm"]
        fit_norms(student, batches, [(narrow, wanted[:, keep])])
        states = observe(student, batches, {"norm": (narrow, False)})["norm"]
        wanted[:, keep] -= states  # what the channels that stay do not say as they are
        weight, bias = regression(states, wanted)
        weight[keep] += torch.eye(len(keep), dtype=weight.dtype)
        for old in behind:
            linear: Any = student.get_submodule(names[old])
            linear.weight.copy_(old.weight.double() @ weight)
            linear.bias.copy_(old.bias.double() + old.weight.double() @ bias)


def _last_norm(model: PreTrainedModel) -> nn.Module:
    return encoder_layers(model)[-1].get_submodule(family_of(model).output_norm)
