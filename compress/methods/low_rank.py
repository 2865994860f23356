"""Write Linears of a trained encoder as two thinner ones."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import fits_together, within_range
from compress.benchmark.block_times import Setting
from compress.dependencies import DependsOn
from compress.errors import InputError, NoEffect, raise_together
from compress.models.factors import set_rank
from compress.models.families import family_of, family_of_layer
from compress.models.layout import Parts, all_layers, distinct_layers, linear_paths
from compress.models.sharing import share
from compress.models.surgery import copy_of
from compress.models.traits import why_too_late
from compress.pruning.break_even import faster_below
from compress.pruning.deployed import Examples, Target, Threads, Tokens, not_timed
from compress.pruning.fisher import drawn_examples, row_information
from compress.pruning.obs import DAMPING, Inputs, damped_root
from compress.pruning.stitching import inputs_of
from compress.tasks.labelled import Task
from compress.training.batches import sorted_batches
from compress.training.compatibility import check_fit, labels_aligned
from compress.training.predict import BATCH_SIZE, on_device
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

HALVINGS = 100
Weighting = Literal["activations", "fisher", "none"]
Readers = tuple[list[str], int]
"""The names of the Linears that read a weight, and how often an example passes it."""


@dataclass(frozen=True)
class _Weight:
    """A weight that is to be written as two.

    Args:
        names: Of the Linears that read it.
        runs: How often an example passes it.
        up: (out, directions), and `down`: (directions, in); their product is the weight, and the first directions tell most.
        down: See there.
        energies: What each direction keeps, as a share of all, falling.
        means: What each Linear reads on average, by name, (in,); zeros where nothing was read.
    """

    names: list[str]
    runs: int
    up: torch.Tensor
    down: torch.Tensor
    energies: torch.Tensor
    means: Mapping[str, torch.Tensor]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return len(self.up), self.down.shape[1]

    @property
    def each(self) -> int:
        """Multiply-adds of one direction for one token."""
        return self.runs * sum(self.shape)

    @property
    def whole(self) -> int:
        """Multiply-adds of the weight as it is for one token."""
        return self.runs * math.prod(self.shape)


def _wrong(rank: int | None, energy: float | None, macs: float | None) -> list[str]:
    given = {"rank": rank, "energy": energy, "macs": macs}
    named = [name for name, value in given.items() if value is not None]
    if len(named) == 1:
        return []
    return [f"rank, energy and macs: {' and '.join(named) or 'none'} given; give one of the three."]


@within_range
@fits_together(_wrong)
@labels_aligned()
def low_rank(
    model: PreTrainedModel,
    *,
    task: Task,
    rank: Annotated[int | None, Field(ge=1, description="of every Linear; or give energy or macs")] = None,
    energy: Annotated[
        float | None, Field(gt=0, lt=1, description="of each Linear's answers that is kept at least; or give rank or macs")
    ] = None,
    macs: Annotated[
        float | None,
        Field(gt=0, lt=1, description="fraction of these Linears' multiply-adds that stays; or give rank or energy"),
    ] = None,
    parts: Annotated[Parts, Field(description="of layers, whose Linears are written so")] = "all",
    weighting: Annotated[
        Weighting, Field(description="what counts: errors of answers, of rows by their Fisher information, or of weights")
    ] = "activations",
    break_even: Annotated[
        Literal["weights", "measured"],
        Field(description="above which rank a Linear stays whole: where two have more weights, or are no faster here"),
        DependsOn("machine", when=("measured",)),
    ] = "weights",
    target: Target = "onnxruntime-cpu",  # type: ignore[valid-type]
    batch: Examples = 1,
    length: Tokens = 32,
    threads: Threads = 1,
    examples: Annotated[int, Field(ge=1, le=1 << 20, description="of the training part to learn from; more cost time")] = 1024,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Write each Linear (out, in) of the encoder as two, (rank, in) and (out, rank), by its singular values.

    Two thinner products are smaller below a rank of out x in / (out + in), 192 of a 384 x 384 Linear, and faster only well
    below that. BERT's weights are nearly of full rank: let a `distill` follow.

    Source: Hsu et al. 2022, "Language model compression with weighted low-rank factorization" (FWSVD), arXiv 2207.00112
    (fisher); Chen et al. 2021, DRONE, NeurIPS (activations: best for what the Linear is given).
    Differs: inputs are taken about their mean, which the bias takes up; each row's information is the sum of its own, at the
    task's labels, example by example; ranks may differ from Linear to Linear.

    Args:
        model: A BERT or another with an encoder; stays as it is. A weight that layers share is written once and stays shared.
        task: Of its training part examples are read; the evaluation split is not touched.
        rank: The same for every Linear; give this, `energy` or `macs`.
        energy: The share of the (weighted) squares that each Linear keeps; those that would need a rank above the break-even
            stay whole, and the log names them.
        macs: What stays of these Linears' multiply-adds, those that keep most for their cost getting most; some may stay
            whole.
        parts: Whole layers, or attention or feed-forward parts alone.
        weighting: "activations" keeps what the Linear answers to the examples; "fisher" its rows by what the loss loses;
            "none" the weight, and reads nothing.
        break_even: "measured" times files on this machine, in the target, and is never above "weights".
        target: What will run it; for the measured break-even.
        batch: Examples in a call; for the measured break-even.
        length: Tokens of each example; for the measured break-even.
        threads: That the runtime may use; for the measured break-even.
        examples: How many, drawn by the seed; all of them if the part has fewer.
        run: Seed and progress; its facts take up the ranks.

    Returns:
        The copy. structure.json tells its ranks, and `compress.load` loads it.

    Raises:
        InputError: Not exactly one of rank, energy and macs is given, the rank is above a break-even, macs cannot be reached,
            or the model quantizes or does not fit the task.
        NoEffect: Every Linear stays whole.
        CompressError: The machine is too busy to measure on.
    """
    run = run or StepContext()
    read_by = _checked(model, task, parts)
    setting = Setting(target, batch, length, threads, quick=run.tiny)
    if break_even == "measured":
        raise_together(not_timed("low_rank", model, setting))
    if run.is_rehearsal:
        return _rehearsed(model, read_by, rank, macs)
    weights = _decomposed(model, task, read_by, weighting, examples, run)
    limits = _limits(weights)
    if break_even == "measured" and not setting.quick:
        names = {shape: [name for weight in weights if weight.shape == shape for name in weight.names] for shape in limits}
        limits = faster_below(model, task, names, limits, setting, run)
    ranks = _ranks(weights, limits, rank, energy, macs)
    lowered = [(weight, chosen) for weight, chosen in zip(weights, ranks, strict=True) if chosen is not None]
    if not lowered:
        bounds = ", ".join(f"{shape[0]} x {shape[1]}: {limit}" for shape, limit in limits.items())
        raise NoEffect(
            f"low_rank: every Linear would need a rank above the break-even ({bounds}); ask for less, or remove the step."
        )
    student = copy_of(model)
    for weight, chosen in lowered:
        _write(student, weight, chosen)
    _tell(run, weights, ranks)
    return student.eval()


def _rehearsed(model: PreTrainedModel, read_by: Sequence[Readers], rank: int | None, macs: float | None) -> PreTrainedModel:
    """A copy of Linears of that rank; of half of the largest where the ranks are what is looked for."""
    weights = []
    for names, runs in read_by:
        linear: Any = model.get_submodule(names[0])
        nothing = torch.zeros((), dtype=torch.float64)
        shape = tuple(linear.weight.shape)
        up, down = (nothing.expand(side, min(shape)) for side in shape)
        means = {name: nothing.expand(shape[1]) for name in names}
        weights.append(_Weight(names, runs, up, down.T, nothing.expand(min(shape)), means))
    limits = _limits(weights)
    if macs is not None:
        _check_macs(weights, [1 if limits[weight.shape] else None for weight in weights], macs)
    student = copy_of(model)
    half = [limits[weight.shape] // 2 or None for weight in weights]
    for weight, chosen in zip(weights, half if rank is None else _ranks(weights, limits, rank, None, None), strict=True):
        if chosen is not None:
            _write(student, weight, chosen)
    return student.eval()


def _limits(weights: Sequence[_Weight]) -> dict[tuple[int, int], int]:
    """For each shape the largest rank at which two have fewer weights than one."""
    return {weight.shape: (weight.whole // weight.runs - 1) // sum(weight.shape) for weight in weights}


def _checked(model: PreTrainedModel, task: Task, parts: Parts) -> list[Readers]:
    """Who reads each weight, once the model fits."""
    family_of(model)
    why = why_too_late(model, "write its Linears so", "quantize_aware", "fine_tune", "early_exit")
    if why:
        raise InputError(f"low_rank: {why}")
    check_fit(model, task)
    names, layers = {module: name for name, module in model.named_modules()}, all_layers(model)
    readers: dict[int, Readers] = {}
    for layer in distinct_layers(model):
        for path in linear_paths(family_of_layer(layer), parts):
            linear: Any = layer.get_submodule(path)
            if type(linear) is nn.Linear and linear.weight.numel():
                known, runs = readers.get(id(linear.weight), ([], 0))
                readers[id(linear.weight)] = [*known, names[linear]], runs + layers.count(layer)
    if not readers:
        raise NoEffect("low_rank: no Linear of these parts is whole any more; remove the step.")
    return list(readers.values())


def _decomposed(
    model: PreTrainedModel, task: Task, read_by: Sequence[Readers], weighting: Weighting, examples: int, run: StepContext
) -> list[_Weight]:
    """Every weight with its directions."""
    reader: Any = copy_of(model).to("cpu").eval()
    linears: dict[str, list[Any]] = {each[0]: [reader.get_submodule(name) for name in each] for each, _ in read_by}
    inputs: dict[str, Inputs] = {}
    rows: dict[str, torch.Tensor] = {}
    if weighting != "none":
        encoded = drawn_examples(model, task, examples, run.seed)
        batches = [on_device(encoded.batch(indices), "cpu") for indices in sorted_batches(encoded.lengths, BATCH_SIZE)]
        if weighting == "activations":
            names = [name for each, _ in read_by for name in each]
            inputs = dict(zip(names, inputs_of(reader, batches, [reader.get_submodule(name) for name in names]), strict=True))
        else:
            rows = row_information(reader, encoded, linears, run.progress)
    weights = []
    for number, (each, runs) in enumerate(read_by):
        weight = linears[each[0]][0].weight.detach().double()
        read = [inputs[name] for name in each if name in inputs]
        up, down, energies = _directions(weight, read, rows.get(each[0]))
        means = {
            name: inputs[name].mean if name in inputs else torch.zeros(weight.shape[1], dtype=torch.float64) for name in each
        }
        weights.append(_Weight(each, runs, up, down, energies, means))
        run.progress("decompose", number + 1, len(read_by))
    return weights


def _directions(
    weight: torch.Tensor, read: Sequence[Inputs], rows: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two factors of a weight whose first directions keep most of what counts, and each direction's share of it."""
    root, strength = None, None
    seen = weight
    if read:
        products = torch.stack([inputs.centred() for inputs in read]).sum(0) / sum(inputs.rows for inputs in read)
        root = damped_root(products, DAMPING, max(float(products.diagonal().mean()), torch.finfo(products.dtype).tiny))
        seen = weight @ root
    if rows is not None:
        strength = (rows / rows.mean().clamp(min=torch.finfo(rows.dtype).tiny)).sqrt().clamp(min=DAMPING)[:, None]
        seen = strength * weight
    left, values, right = torch.linalg.svd(seen, full_matrices=False)
    half = values.sqrt()
    up, down = left * half, half[:, None] * right
    if root is not None:
        down = torch.linalg.solve_triangular(root, down, upper=False, left=False)
    if strength is not None:
        up = up / strength
    squares = values.square()
    return up, down, squares / squares.sum().clamp(min=torch.finfo(squares.dtype).tiny)


def _ranks(
    weights: Sequence[_Weight],
    limits: Mapping[tuple[int, int], int],
    rank: int | None,
    energy: float | None,
    macs: float | None,
) -> list[int | None]:
    """The rank of each weight; None where it stays whole."""
    if rank is not None:
        beyond = [weight for weight in weights if rank > limits[weight.shape]]
        if beyond:
            smallest = min(beyond, key=lambda each: limits[each.shape])
            out, inputs = smallest.shape
            raise InputError(
                f"low_rank.rank is {rank}, but {smallest.names[0]} ({out} x {inputs}) is no smaller or faster above "
                f"{limits[smallest.shape]}; use at most that, or leave its part out with parts."
            )
        return [rank for _ in weights]
    if energy is not None:
        needed = [int((weight.energies.cumsum(0) < energy).sum()) + 1 for weight in weights]
        stays = [
            f"{weight.names[0]} (rank {least}, at most {limits[weight.shape]})"
            for weight, least in zip(weights, needed, strict=True)
            if least > limits[weight.shape]
        ]
        if stays:
            logger.warning(
                "%d of %d Linears stay whole, since %g of their energy needs a rank above the break-even: %s",
                len(stays),
                len(weights),
                energy,
                ", ".join(stays[:6]),
            )
        return [least if least <= limits[weight.shape] else None for weight, least in zip(weights, needed, strict=True)]
    assert macs is not None
    return _under(weights, limits, macs)


def _under(weights: Sequence[_Weight], limits: Mapping[tuple[int, int], int], macs: float) -> list[int | None]:
    """The ranks that keep most within so much of the multiply-adds: directions are worth what they keep for what they cost."""

    def chosen(worth: float) -> list[int | None]:
        counts = [max(1, int((weight.energies / weight.each >= worth).sum())) for weight in weights]
        return [count if count <= limits[weight.shape] else None for weight, count in zip(weights, counts, strict=True)]

    low, high = 1e-30, 1.0
    _check_macs(weights, chosen(high), macs)
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _part_left(weights, chosen(middle)) <= macs else (middle, high)
    return chosen(high)


def _part_left(weights: Sequence[_Weight], ranks: Sequence[int | None]) -> float:
    """The fraction of the weights' multiply-adds that stays at these ranks."""
    left = (weight.whole if rank is None else rank * weight.each for weight, rank in zip(weights, ranks, strict=True))
    return sum(left) / sum(weight.whole for weight in weights)


def _check_macs(weights: Sequence[_Weight], smallest: Sequence[int | None], macs: float) -> None:
    least = _part_left(weights, smallest)
    if least > macs:
        raise InputError(
            f"low_rank.macs is {macs:g}, but {least:.3g} of the multiply-adds stay at the smallest ranks; use more."
        )


@torch.no_grad()
def _write(student: PreTrainedModel, weight: _Weight, rank: int) -> None:
    """Put the two factors in the place of a weight, wherever it is read."""
    first = weight.names[0]
    up, down = weight.up[:, :rank], weight.down[:rank]
    olds: list[Any] = [student.get_submodule(name) for name in weight.names]
    lost = olds[0].weight.double() - up @ down
    bias_ids = [id(old.bias) for old in olds if old.bias is not None]
    shares_bias = len(set(bias_ids)) < len(bias_ids)
    mean = torch.stack(list(weight.means.values())).mean(0)
    biases = [
        (0 if old.bias is None else old.bias.double()) + lost @ (mean if shares_bias else weight.means[name])
        for name, old in zip(weight.names, olds, strict=True)
    ]
    for name, bias in zip(weight.names, biases, strict=True):
        made = set_rank(student, name, rank)
        made.up.weight.copy_(up)
        made.down.weight.copy_(down)
        made.up.bias.copy_(bias)
    tied = ("up.weight", "down.weight", *(["up.bias"] if shares_bias else []))
    share(student, {f"{name}.{end}": f"{first}.{end}" for name in weight.names[1:] for end in tied})


def _tell(run: StepContext, weights: Sequence[_Weight], ranks: Sequence[int | None]) -> None:
    pairs = list(zip(weights, ranks, strict=True))
    left = _part_left(weights, ranks)
    kept = [float(weight.energies[:rank].sum()) for weight, rank in pairs]
    run.facts["ranks"] = {weight.names[0]: rank for weight, rank in pairs}
    shown = ", ".join(map(str, sorted({rank for rank in ranks if rank is not None})))
    logger.info(
        "%d of %d weights are of low rank, %s; %.1f %% of their multiply-adds stay, and %.2f %% of energy or more",
        sum(rank is not None for rank in ranks),
        len(ranks),
        shown,
        100 * left,
        100 * min(kept),
    )
