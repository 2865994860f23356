"""Let layers of a trained encoder share their weights."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import fits_together, one_of_two, within_range
from compress.errors import InputError, NoEffect
from compress.models.alignment import align_heads, align_neurons
from compress.models.factors import embedding_rank
from compress.models.families import family_of, why_not
from compress.models.head import SEQUENCE
from compress.models.heads import head_of
from compress.models.layout import Parts, encoder_layers, head_count, layer_parts, neuron_count, parameter_count
from compress.models.principal import Activations, Batches, fit_norms, observe, seen_by
from compress.models.sharing import share, shared_parameters
from compress.models.structure import read_structure
from compress.models.surgery import copy_of
from compress.models.traits import why_too_late
from compress.pruning.fisher import drawn_examples
from compress.tasks.labelled import Task
from compress.training.batches import sorted_batches
from compress.training.predict import on_device
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

BATCH_SIZE = 32

GroupSize = Annotated[int, Field(ge=1)]
Initial = Literal["aligned", "mean", "copy"]


def _wrong(group: int | None, groups: list[int] | None) -> list[str]:
    return one_of_two("group", group, "groups", groups, hint=": layers in each group, or a list of sizes")


@within_range
@fits_together(_wrong)
def share_layers(
    model: PreTrainedModel,
    *,
    task: Task,
    group: Annotated[int | None, Field(ge=2, description="neighbouring layers that share; or give groups")] = None,
    groups: Annotated[
        list[GroupSize] | None,
        Field(min_length=1, description="the sizes of all groups, from the first layer on; or give group"),
    ] = None,
    parts: Annotated[
        Parts, Field(description="what is shared: whole layers, or attention or feed-forward parts alone")
    ] = "all",
    initial: Annotated[Initial, Field(description="what a group starts from")] = "aligned",
    keep_norms: Annotated[bool, Field(description="each layer has LayerNorms of its own")] = True,
    keep_biases: Annotated[bool, Field(description="each layer has biases of its own")] = True,
    examples: Annotated[int, Field(ge=1, le=1 << 16, description="of the training part to align and to fit on")] = 256,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Let neighbouring layers share their weights, as in ALBERT: as many layers run, but their weights are kept once.

    The file gets smaller, and no faster. Accuracy falls until the copy is trained again, best by `distill` with hidden states
    of all layers. Sharing feed-forward parts costs more than sharing attention. To share ever more, let steps of
    `share_layers` and `distill` follow each other: groups of 2, then of 3 or 4, then all.

    Source: Lan et al. 2020, ALBERT, arXiv 1909.11942, section 3.1 (cross-layer parameter sharing); Singh and Jaggi 2020, arXiv
    1910.05653 (alignment before a mean).
    Differs: it starts from a trained model; LayerNorms and biases can stay each layer's own, and LayerNorms are then fitted to
    what the model's own states are, one after the other.

    Args:
        model: A BERT or DistilBERT; stays as it is. One whose layers share already can share more.
        task: Its training part gives the sentences; the evaluation split is not touched.
        group: How many neighbouring layers share; the last group may be smaller.
        groups: Their sizes, where they differ: [1, 2, 3] shares nothing in the first layer.
        parts: What is shared.
        initial: "copy" takes the group's middle layer; "mean" the mean of its layers as they are; "aligned" their mean after
            neurons and heads were brought into the order of the middle layer's.
        keep_norms: Cost 4 times the width for each layer, and matter much.
        keep_biases: Cost about 9 times the width for each layer.
        examples: How many sentences, drawn by the seed; more cost time in proportion.
        run: Its seed draws the sentences; its facts take up the groups.

    Returns:
        The copy. A BERT whose groups are of one size and share everything becomes an ALBERT, which transformers loads; else
        structure.json tells what is shared, and `compress.load` loads it.

    Raises:
        InputError: The groups do not fit the layers, layers of a group differ in their sizes, or the model is of another
            family, quantizes, has Linears of low rank or attention for long inputs.
        NoEffect: Nothing would be shared that is not shared already.
    """
    run = run or StepContext()
    sizes = _checked(model, group, groups)
    student = copy_of(model)
    layers = encoder_layers(student)
    ends = list(accumulate(sizes))
    members = [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    names = _names(student, parts)
    _part(student, names)
    if (initial == "aligned" or keep_norms) and not run.is_rehearsal:
        encoded = drawn_examples(model, task, examples, run.seed)
        batches: Batches = [on_device(encoded.batch(rows), "cpu") for rows in sorted_batches(encoded.lengths, BATCH_SIZE)]
        seen = seen_by(student, batches)
    if initial == "aligned" and not run.is_rehearsal:
        _align(student, members, parts, seen, batches)
    for each in members:
        for path, attribute in _merged(model, parts, initial, keep_norms, keep_biases):
            _merge([layers[index] for index in each], path, attribute, initial)
    shared = _shared(model, parts, keep_norms, keep_biases)
    share(student, {names[index][key]: names[each[0]][key] for each in members for index in each[1:] for key in shared})
    if shared_parameters(student) == shared_parameters(model):
        raise NoEffect("share_layers: these layers share these weights already; use larger groups, or remove the step.")
    if keep_norms and not run.is_rehearsal:
        fit_norms(student, batches, _own_norms(student, seen))
    whole, as_shared = head_of(student).architecture == SEQUENCE, family_of(student).as_shared
    if as_shared and whole and parts == "all" and not keep_norms and not keep_biases and _are_even(student, sizes):
        student = as_shared(student, len(sizes))
    run.facts["groups"] = sizes
    logger.info(
        "layers share in groups of %s: %.2f M of %.2f M parameters",
        ", ".join(map(str, sizes)),
        parameter_count(student) / 1e6,
        parameter_count(model) / 1e6,
    )
    return student.eval()


def _checked(model: PreTrainedModel, group: int | None, groups: list[int] | None) -> list[int]:
    """The sizes of the groups, once they fit."""
    why = why_not(model, "share") or why_too_late(
        model, "share its layers", "quantize_aware", "swap_attention", "low_rank", "fine_tune", "early_exit"
    )
    if why:
        raise InputError(f"share_layers: {why}")
    depth = len(encoder_layers(model))
    layers = read_structure(model)["layers"][:depth]
    if group is not None:
        if group > depth:
            raise InputError(f"share_layers.group is {group}, but the model has {depth} layers; use 2 to {depth}.")
        sizes = [min(group, depth - start) for start in range(0, depth, group)]
    else:
        assert groups is not None
        sizes = groups
        if sum(sizes) != depth:
            raise InputError(
                f"share_layers.groups is {sizes}, {sum(sizes)} layers in all, but the model has {depth}; let the "
                f"sizes add up to {depth}."
            )
    for size, end in zip(sizes, accumulate(sizes), strict=True):
        if any(layer != layers[end - size] for layer in layers[end - size : end]):
            raise InputError(
                f"share_layers: layers {end - size} to {end - 1} differ in their heads or neurons, so that they "
                "cannot share; give groups whose layers are alike, or start from the model before it was "
                "pruned."
            )
    return list(sizes)


def _shared(model: PreTrainedModel, parts: Parts, keep_norms: bool, keep_biases: bool) -> list[tuple[str, str]]:
    """Path and attribute, in a layer, of each parameter that is shared."""
    family = family_of(model)
    norms = (family.attention_norm, family.output_norm)
    return [
        (path, attribute)
        for path in layer_parts(family, parts)
        for attribute in ("weight", "bias")
        if not (keep_norms if path in norms else keep_biases and attribute == "bias")
    ]


def _merged(
    model: PreTrainedModel, parts: Parts, initial: Initial, keep_norms: bool, keep_biases: bool
) -> list[tuple[str, str]]:
    """Those that are made one: where the middle layer is copied its biases fit its neurons only, and are copied too."""
    return _shared(model, parts, keep_norms, keep_biases and initial != "copy")


def _names(student: PreTrainedModel, parts: Parts) -> list[dict[tuple[str, str], str]]:
    """For each layer the names of the parameters in its parts."""
    names = {module: name for name, module in student.named_modules()}
    return [
        {
            (path, attribute): f"{names[layer.get_submodule(path)]}.{attribute}"
            for path in layer_parts(family_of(student), parts)
            for attribute in ("weight", "bias")
        }
        for layer in encoder_layers(student)
    ]


def _part(student: PreTrainedModel, names: list[dict[tuple[str, str], str]]) -> None:
    """Give every layer weights of its own in these places."""
    for each in names:
        for name in each.values():
            module, _, attribute = name.rpartition(".")
            parameter = getattr(student.get_submodule(module), attribute)
            own = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
            setattr(student.get_submodule(module), attribute, own)


def _align(student: PreTrainedModel, members: Sequence[range], parts: Parts, seen: Activations, batches: Batches) -> None:
    """Bring the layers of each group into the order of its middle one."""
    layers, context = encoder_layers(student), family_of(student).context
    heads = observe(student, batches, {str(index): (layer.get_submodule(context), True) for index, layer in enumerate(layers)})
    for each in members:
        like = each[len(each) // 2]
        for index in (index for index in each if index != like):
            if parts != "feed_forward" and head_count(layers[index]):
                align_heads(layers[index], layers[like], heads[str(index)], heads[str(like)])
            if parts != "attention" and neuron_count(layers[index]):
                align_neurons(layers[index], layers[like], seen.neurons[index], seen.neurons[like])


def _own_norms(student: PreTrainedModel, seen: Activations) -> list[tuple[nn.Module, torch.Tensor]]:
    """The LayerNorms that no two layers share, in the order in which they run, with what they answered before."""
    family = family_of(student)
    norms: list[tuple[Any, torch.Tensor]] = [
        (layer.get_submodule(norm), wanted[index])
        for index, layer in enumerate(encoder_layers(student))
        for norm, wanted in ((family.attention_norm, seen.attended), (family.output_norm, seen.states[1:]))
    ]
    uses = Counter(id(norm.weight) for norm, _ in norms)
    return [(norm, wanted) for norm, wanted in norms if uses[id(norm.weight)] == 1]


@torch.no_grad()
def _merge(layers: Sequence[Any], path: str, attribute: str, initial: Initial) -> None:
    """Give a parameter of all layers of a group one value: the middle layer's, or their mean."""
    parameters = [getattr(layer.get_submodule(path), attribute) for layer in layers]
    value = parameters[len(parameters) // 2].clone() if initial == "copy" else torch.stack(parameters).mean(0)
    for parameter in parameters:
        parameter.copy_(value)


def _are_even(student: PreTrainedModel, sizes: Sequence[int]) -> bool:
    """Whether the groups are of one size and the layers of those that config.json tells."""
    config = student.config
    expected = {
        "heads": config.num_attention_heads,
        "head_size": config.hidden_size // config.num_attention_heads,
        "intermediate": config.intermediate_size,
    }
    return (
        len(set(sizes)) == 1
        and embedding_rank(student) is None
        and all(layer == expected for layer in read_structure(student)["layers"])
    )
