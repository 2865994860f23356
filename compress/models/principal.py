"""Put a teacher's weights into a narrower student by principal components, so that it starts near and not at random.

The states between layers are turned into a basis of fewer directions, every matrix that reads or writes them is multiplied by
it, and what lies outside of it is taken into account by its mean, in the biases. A basis has two properties that keep
LayerNorm close: it holds nothing of the direction of ones, which LayerNorm takes away from the teacher's states, and what it
gives has no mean over the student's columns either, so that the student's LayerNorm takes nothing away. Where all gains of a
LayerNorm are alike and the teacher's states lie within the basis, the student says what the teacher says. Gains and offsets
are then fitted to the teacher's states, one norm after the other, each behind the student's own answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.embedder import PROJECTIONS
from compress.models.families import family_of
from compress.models.families.family import Family
from compress.models.heads import head_of, last_linear
from compress.models.layout import encoder_layers, head_count, head_size, reading_what_is_written
from compress.models.students import embedding_tables, pooler_of, write_embeddings

Batches = Sequence[Mapping[str, torch.Tensor]]
RIDGE = 1e-6
NEW = 0.02  # standard deviation of rows that no teacher has


@dataclass(frozen=True)
class Activations:
    """What a teacher computes on some sentences, padding left out.

    Args:
        states: The embeddings' output and each layer's, (tokens, width).
        attended: Each layer's state behind attention, (tokens, width).
        neurons: What each layer's second feed-forward Linear reads, (tokens, intermediate).
        pooled: What the classifier reads, (sentences, width).
    """

    states: list[torch.Tensor]
    attended: list[torch.Tensor]
    neurons: list[torch.Tensor]
    pooled: torch.Tensor


@torch.no_grad()
def observe(
    model: PreTrainedModel, batches: Batches, watched: Mapping[str, tuple[nn.Module, bool]]
) -> dict[str, torch.Tensor]:
    """Run batches and tell what modules read (True) or answer (False) at real tokens, (tokens, width), double precision."""
    activations: dict[str, list[torch.Tensor]] = {name: [] for name in watched}
    of_written = reading_what_is_written(model)
    watched = {name: entry for name, entry in watched.items() if entry[0] not in of_written}  # whose tokens are others
    kept = torch.empty(0)

    def note(name: str, values: torch.Tensor) -> None:
        activations[name].append((values[kept] if values.ndim == 3 else values).double())

    def hook(name: str, reads: bool) -> Any:
        return lambda _, inputs, output: note(name, inputs[0] if reads else output)

    handles = [module.register_forward_hook(hook(name, reads)) for name, (module, reads) in watched.items()]
    try:
        for batch in batches:
            kept = batch["attention_mask"].bool()
            model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(values) if values else torch.empty(0) for name, values in activations.items()}


def seen_by(teacher: PreTrainedModel, batches: Batches) -> Activations:
    """What the teacher computes on batches of real sentences."""
    family, layers = family_of(teacher), encoder_layers(teacher)
    watched = {
        "embeddings": (teacher.base_model.get_submodule(family.embeddings_norm), False),
        **({"pooled": (last_linear(teacher), True)} if head_of(teacher).is_named else {}),
    }
    for index, layer in enumerate(layers):
        watched[f"attended{index}"] = (layer.get_submodule(family.attention_norm), False)
        watched[f"neurons{index}"] = (layer.get_submodule(family.feed_forward[1]), True)
        watched[f"state{index}"] = (layer.get_submodule(family.output_norm), False)
    activations = observe(teacher, batches, watched)
    each = {what: [activations[f"{what}{index}"] for index in range(len(layers))] for what in ("state", "attended", "neurons")}
    return Activations(
        [activations["embeddings"], *each["state"]],
        each["attended"],
        each["neurons"],
        activations.get("pooled", torch.empty(0)),
    )


def moment_of(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean of x x', (width, width), each tensor of rows x counting as much as any other."""
    return torch.stack([rows.double().T @ rows.double() / len(rows) for rows in values]).mean(0)


def basis_of(moment: torch.Tensor, width: int, seed: int) -> torch.Tensor:
    """Turn a moment into a basis of its principal components, (teacher's width, width), see the top of this file.

    Components are mixed by a random rotation, so that every column varies alike, as under LayerNorm they have to.
    """
    size = len(moment)
    centre = torch.eye(size, dtype=torch.float64) - 1 / size
    inside = centre @ moment @ centre
    count = min(size, width) - 1
    components = torch.linalg.eigh(inside + RIDGE * inside.trace() / size * centre).eigenvectors[:, size - count :]
    random = torch.randn(width, count + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    random[:, 0] = 1
    return components @ torch.linalg.qr(random).Q[:, 1:].T


def _read(linear: Any, basis: torch.Tensor, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a Linear that reads a state through the basis; what the basis does not hold stands at its mean."""
    weight = linear.weight.detach().double()
    return weight @ basis, linear.bias.detach().double() + weight @ (mean - basis @ (basis.T @ mean))


@torch.no_grad()
def project_layer(
    teacher: Any, student: Any, families: tuple[Family, Family], basis: torch.Tensor, seen: Activations, index: int
) -> None:
    """Write a teacher's layer, its `index`-th, into a student's layer; the norms are left to `fit_norms`.

    The feed-forward part keeps the neurons with the largest mean size times norm of outgoing weight. Attention keeps the heads
    whose values weigh most; within a head it keeps the strongest directions of queries times keys and of values times output,
    as the states tell them.
    """
    query, key, value, context, first, second = (
        (teacher.get_submodule(old), student.get_submodule(new))
        for old, new in zip(_linears(families[0]), _linears(families[1]), strict=True)
    )
    heads, size = (head_count(teacher), head_count(student)), head_size(student)
    mean = seen.states[index].mean(0)
    read = (_read(old, basis, mean) for old, _ in (query, key, value))
    parts = [torch.cat([weight, bias[:, None]], 1) for weight, bias in read]
    output = basis.T @ context[0].weight.double()
    *projected, written = _fewer_heads(parts, output, _root(seen.states[index] @ basis), heads, size)
    for (_, linear), values in zip((query, key, value), projected, strict=True):
        linear.weight.copy_(values[:, :-1])
        linear.bias.copy_(values[:, -1])
    context[1].weight.copy_(written)
    context[1].bias.copy_(basis.T @ context[0].bias.double())
    weight, bias = _read(first[0], basis, seen.attended[index].mean(0))
    outgoing, neurons = second[0].weight.double(), seen.neurons[index]
    chosen = _strongest(neurons.abs().mean(0) * outgoing.norm(dim=0), first[1].out_features)
    first[1].weight.copy_(weight[chosen])
    first[1].bias.copy_(bias[chosen])
    second[1].weight.copy_((basis.T @ outgoing)[:, chosen])
    second[1].bias.copy_(basis.T @ (second[0].bias.double() + _left_out(outgoing, neurons.mean(0), chosen)))


def _linears(family: Family) -> tuple[str, ...]:
    return (*family.projections, family.context, *family.feed_forward)


def _root(states: torch.Tensor) -> torch.Tensor:
    """A root of the moment of states with a 1 behind each, (width + 1, width + 1), lower triangular."""
    moment = moment_of([torch.cat([states, states.new_ones(len(states), 1)], 1)])
    ridge = RIDGE * moment.trace() / len(moment) * torch.eye(len(moment), dtype=torch.float64)
    return torch.linalg.cholesky(moment + ridge)


def _strongest(strength: torch.Tensor, count: int) -> torch.Tensor:
    return strength.topk(count).indices.sort().values


def _left_out(outgoing: torch.Tensor, means: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """What the neurons that are left out add on average."""
    means = means.clone()
    means[chosen] = 0
    return outgoing @ means


def _fewer_heads(
    parts: Sequence[torch.Tensor], output: torch.Tensor, root: torch.Tensor, heads: tuple[int, int], size: int
) -> list[torch.Tensor]:
    """Query, key and value with their biases as last column, (heads * size, width + 1), and output, (width, heads * size)."""
    queries, keys, values = (part.chunk(heads[0]) for part in parts)
    outputs = output.chunk(heads[0], dim=1)
    strength = torch.stack([torch.linalg.matrix_norm(out @ value @ root) for out, value in zip(outputs, values, strict=True)])
    rescaled = (size / len(queries[0])) ** 0.25  # queries and keys make up for another division of the scores
    made: list[list[torch.Tensor]] = [[], [], [], []]
    for head in _strongest(strength, heads[1]).tolist():
        query, key = _fewer_directions(queries[head], keys[head], size, root, root)
        value, out = _fewer_directions(values[head], outputs[head].T, size, root, None)
        for place, tensor in zip(made, (query * rescaled, key * rescaled, value, out), strict=True):
            place.append(tensor)
    return [torch.cat(tensors) for tensors in made[:3]] + [torch.cat(made[3]).T]


def _fewer_directions(
    left: torch.Tensor, right: torch.Tensor, size: int, left_root: torch.Tensor, right_root: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two factors with `size` rows whose product left' right is nearest, where inputs have these roots of their moments.

    Missing rows are filled up with small random numbers and zeros, so that the product stays and both sides can learn.
    """
    missing = size - len(left)
    if missing >= 0:
        random = torch.randn(missing, left.shape[1], generator=torch.Generator().manual_seed(size), dtype=torch.float64) * NEW
        return torch.cat([left, random]), torch.cat([right, right.new_zeros(missing, right.shape[1])])
    seen_right = right if right_root is None else right @ right_root
    left_qr, right_qr = torch.linalg.qr((left @ left_root).T), torch.linalg.qr(seen_right.T)
    vectors, strength, co_vectors = torch.linalg.svd(left_qr.R @ right_qr.R.T)
    scale = strength[:size].sqrt()[:, None]
    new_left = scale * (left_qr.Q @ vectors[:, :size]).T
    new_right = scale * (right_qr.Q @ co_vectors[:size].T).T
    new_left = torch.linalg.solve_triangular(left_root, new_left, upper=False, left=False)
    if right_root is not None:
        new_right = torch.linalg.solve_triangular(right_root, new_right, upper=False, left=False)
    return new_left, new_right


@torch.no_grad()
def fit_norms(student: PreTrainedModel, batches: Batches, wanted: Sequence[tuple[nn.Module, torch.Tensor]]) -> None:
    """Set gains and offsets of norms, in the order in which they run, by least squares: each column of a norm's answers is to
    be that of the states it is given, (tokens, width)."""
    norm: Any
    for norm, target in wanted:
        norm.weight.fill_(1)
        norm.bias.zero_()
        values = observe(student, batches, {"norm": (norm, False)})["norm"]
        centred = values - values.mean(0)
        spread = centred.square().sum(0)
        gain = (centred * (target - target.mean(0))).sum(0) / spread.clamp(min=1e-12)
        norm.weight.copy_(torch.where(spread > 1e-9, gain, 1))
        norm.bias.copy_(target.mean(0) - norm.weight * values.mean(0))


@torch.no_grad()
def project_embeddings(teacher: PreTrainedModel, student: PreTrainedModel, basis: torch.Tensor) -> None:
    """Write the teacher's tables through the basis."""
    tables = embedding_tables(teacher, with_types=family_of(student).reads_types)
    write_embeddings(student, {name: table @ basis for name, table in tables.items()})


@torch.no_grad()
def project_head(teacher: PreTrainedModel, student: PreTrainedModel, basis: torch.Tensor, seen: Activations) -> None:
    """Write pooler and classifier: of the pooler's columns those stay that weigh most in the classifier.

    Where the student's pooler has ReLU and BERT's tanh, each column z stands twice there, as z and -z, since
    ReLU(z) - ReLU(-z) is z; the classifier reads it with the factor that brings z nearest to tanh(z) on the sentences.
    """
    if head_of(teacher).gives_vectors:
        _project_projections(teacher, student, basis)
        return
    old, new = pooler_of(teacher), pooler_of(student)
    weight, bias = _read(old, basis, seen.states[-1].mean(0))
    classifier: Any = last_linear(student)
    taught: Any = last_linear(teacher)
    reading, pooled = taught.weight.double(), seen.pooled
    twice = family_of(student).pooler_is_relu
    count = new.out_features // 2 if twice else new.out_features
    chosen = _strongest(pooled.abs().mean(0) * reading.norm(dim=0), count)
    weight, bias, columns = weight[chosen], bias[chosen], reading[:, chosen]
    if twice:
        before = torch.atanh(pooled[:, chosen].clamp(-1 + 1e-6, 1 - 1e-6))
        columns = columns * ((before * pooled[:, chosen]).sum(0) / before.square().sum(0).clamp(min=1e-12))
        weight, bias, columns = torch.cat([weight, -weight]), torch.cat([bias, -bias]), torch.cat([columns, -columns], 1)
    classifier.weight.zero_()
    new.weight[: len(weight)], new.bias[: len(bias)] = weight.float(), bias.float()
    classifier.weight[:, : len(weight)] = columns.float()
    classifier.bias.copy_(taught.bias.double() + _left_out(reading, pooled.mean(0), chosen))


def _project_projections(teacher: PreTrainedModel, student: PreTrainedModel, basis: torch.Tensor) -> None:
    """Of an embedder: the first projection reads each pooling's states through the basis, the others stay as they are."""
    weights = teacher.get_submodule(PROJECTIONS).state_dict()
    first = "0.linear.weight"
    if first in weights:
        parts = weights[first].double().split(len(basis), 1)
        weights[first] = torch.cat([part @ basis for part in parts], 1).float()
    student.get_submodule(PROJECTIONS).load_state_dict(weights)


def regression(inputs: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, in) and bias of the Linear that brings inputs nearest to what is wanted, (rows, in) and (rows, out)."""
    centred = inputs - inputs.mean(0)
    moment = centred.T @ centred
    moment = moment + 1e-4 * moment.trace() / len(moment) * torch.eye(len(moment), dtype=torch.float64)
    weight = torch.linalg.solve(moment, centred.T @ (wanted - wanted.mean(0))).T
    return weight, wanted.mean(0) - weight @ inputs.mean(0)
