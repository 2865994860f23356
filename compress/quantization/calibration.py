"""Post-training quantization: find the ranges of a model's activations on real sentences, and mend what rounding bends."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.first_token import first_token_only
from compress.models.heads import head_of, logits_of
from compress.models.layout import reading_what_is_written, same_input
from compress.models.quantizers import QuantizedLinear, lend_ranges, quantized_linears, quantizers_off, with_quantizers
from compress.quantization.histogram import Calibration, Histogram, Percentile
from compress.tasks.encoding import answered_mask, rows_of
from compress.training.batches import sorted_batches
from compress.training.predict import on_device

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

EXAMPLES = 512
FEWEST = 16
BATCH_SIZE = 32

Smooth = Annotated[
    float | None,
    Field(ge=0, le=1, description="alpha of SmoothQuant: how much of the activations' spread weights take; null for none"),
]
Watch = Callable[[str, QuantizedLinear, torch.Tensor], None]


@dataclass(frozen=True)
class Calibrated:
    """How to find ranges; the fields are the options of the targets that quantize statically.

    Args:
        calibration: "min_max", "percentile", "entropy" or "mse".
        percentile: Per cent of the sizes that the range holds.
        symmetric: Ranges are as wide below 0 as above.
        smooth: alpha of SmoothQuant, or None.
        correct_bias: Whether biases take up the mean error of their products.
        per_channel: Weights have a scale for each output channel.
    """

    calibration: Calibration
    percentile: Percentile = 99.99
    symmetric: bool = True
    smooth: Smooth = None
    correct_bias: bool = False
    per_channel: bool = True


def calibrated(model: PreTrainedModel, task: Task, how: Calibrated) -> PreTrainedModel:
    """A copy of a float model that quantizes with ranges found on the task's calibration part; memory does not grow with it.

    Source: Wu et al. 2020, "Integer quantization for deep learning inference", arXiv 2004.09602, section 4 (calibration); Xiao
    et al. 2023, SmoothQuant, arXiv 2211.10438, equation 4; Nagel et al. 2019, arXiv 1906.04721, section 4.2 (bias correction).
    Differs: BERT normalizes after the residual sum, so SmoothQuant's factors cannot move into LayerNorm without changing the
    residual path; they stay a division on the Linears' side of it.

    Raises:
        InputError: The part is empty, too small or of another role, or a weight or an activation is not finite.
    """
    student = with_quantizers(model, per_channel=how.per_channel, symmetric=how.symmetric).eval()
    for name, tensor in student.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} holds values that are not finite; train the model again.")
    batches = calibration_batches(task, student)
    with torch.no_grad(), quantizers_off(student):
        if how.smooth is not None:
            _smooth(student, batches, how.smooth)
        histograms: defaultdict[str, Histogram] = defaultdict(Histogram)
        _watch(student, batches, lambda name, linear, values: histograms[name].add(_smoothed(linear, values)))
        linears = quantized_linears(student)
        for name, seen in histograms.items():
            linears[name].set_range(*seen.range(how.calibration, symmetric=how.symmetric, percentile=how.percentile))
        lend_ranges(student)
        if how.correct_bias:
            _correct_biases(student, batches)
    return student


@torch.no_grad()
def reached(model: PreTrainedModel, task: Task) -> set[str]:
    """Which of a model's quantizing Linears run: in a MobileBERT without trigrams, whose widths agree, one never does."""
    ran: set[str] = set()
    with quantizers_off(model):
        _watch(model, calibration_batches(task, model)[:1], lambda name, linear, values: ran.add(name))
    return ran


def check_calibration_part(task: Task) -> None:
    """Raise InputError where a task has too few sentences to find ranges on."""
    if len(task.calibration) < FEWEST:
        raise InputError(
            f"the task's calibration part has {len(task.calibration)} examples; at least {FEWEST} are needed to find ranges: "
            "give more training data, from which it is cut."
        )


def calibration_batches(task: Task, model: PreTrainedModel) -> list[dict[str, torch.Tensor]]:
    """Up to 512 sentences of the calibration part in batches of like length."""
    check_calibration_part(task)
    split = task.calibration.require("calibration")
    encoded = task.read_by(model).encode(split.take(EXAMPLES), model.tokenizer)
    return [on_device(encoded.batch(indices), "cpu") for indices in sorted_batches(encoded.lengths, BATCH_SIZE)]


def _watch(model: PreTrainedModel, batches: Sequence[dict[str, torch.Tensor]], watch: Watch) -> None:
    """Run the batches and show `watch` the input of every quantized Linear without its padding, (values, in)."""
    for batch in batches:
        read, written = batch["attention_mask"].bool(), answered_mask(batch).bool()
        with _watched(model, read, written, watch), first_token_only(model):  # as the exported file computes
            model(**batch)


@contextlib.contextmanager
def _watched(model: PreTrainedModel, read: torch.Tensor, written: torch.Tensor, watch: Watch) -> Iterator[None]:
    of_written = reading_what_is_written(model)

    def hook(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        kept = written if model.get_submodule(name) in of_written else read

        def see(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            values = inputs[0]
            is_each_token = values.ndim == 3 and values.shape[:2] == kept.shape  # the pooler reads one token alone
            values = values[kept] if is_each_token else values.flatten(0, -2)
            if not torch.isfinite(values).all():
                raise InputError(f"the input of {name} holds values that are not finite; train the model again.")
            assert isinstance(module, QuantizedLinear)
            watch(name, module, values)

        return see

    handles = [linear.register_forward_pre_hook(hook(name)) for name, linear in quantized_linears(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _smoothed(linear: QuantizedLinear, values: torch.Tensor) -> torch.Tensor:
    return values if linear.divisor is None else values / linear.divisor


def _smooth(model: PreTrainedModel, batches: Sequence[dict[str, torch.Tensor]], alpha: float) -> None:
    """Give every Linear behind a LayerNorm its divisor: max|x| to the power of alpha over max|w| to that of 1 - alpha; those
    that share a weight have one, so that they share its whole numbers."""
    linears = quantized_linears(model)
    sizes: dict[str, torch.Tensor] = {}

    def see(name: str, _: QuantizedLinear, values: torch.Tensor) -> None:
        size = values.abs().amax(0)
        sizes[name] = torch.maximum(sizes[name], size) if name in sizes else size

    _watch(model, batches, see)
    alike: dict[int, list[str]] = {}
    for names in same_input(model):
        alike.setdefault(id(linears[names[0]].weight), []).extend(names)
    for names in alike.values():
        group = [linears[name] for name in names]
        weights = torch.stack([linear.weight.abs().amax(0) for linear in group]).amax(0)
        # in the last layer the query reads one token alone, and some may not run
        size = torch.stack([sizes[name] for name in names if name in sizes]).amax(0)
        factors = (size.clamp(min=1e-5) ** alpha / weights.clamp(min=1e-5) ** (1 - alpha)).clamp(min=1e-5)
        for linear in group:
            linear.divisor = factors


def _correct_biases(model: PreTrainedModel, batches: Sequence[dict[str, torch.Tensor]]) -> None:
    """Add to each bias what its products lose on average, given the float model's inputs."""
    sums = {name: torch.zeros(2, linear.in_features) for name, linear in quantized_linears(model).items()}
    seen: dict[str, int] = dict.fromkeys(sums, 0)

    def see(name: str, linear: QuantizedLinear, values: torch.Tensor) -> None:
        values = _smoothed(linear, values)
        sums[name] += torch.stack([values.sum(0), linear.rounded_input(values).sum(0)])
        seen[name] += len(values)

    _watch(model, batches, see)
    lost: dict[nn.Parameter, list[torch.Tensor]] = {}
    for name, linear in quantized_linears(model).items():
        if linear.bias is None or not seen[name]:
            continue
        plain, rounded = sums[name] / seen[name]
        expected = functional.linear(plain, linear.smoothed_weight())
        lost.setdefault(linear.bias, []).append(expected - functional.linear(rounded, linear.rounded_weight()))
    for bias, errors in lost.items():
        bias.add_(torch.stack(errors).mean(0))


def answers(model: PreTrainedModel, batches: Sequence[dict[str, torch.Tensor]]) -> np.ndarray:
    """The model's answers to the batches, (rows, outputs); of pieces at the masked places alone, since others would not fit
    into the memory."""
    mask = model.tokenizer.mask_token_id if head_of(model).of_pieces else None
    with torch.inference_mode(), first_token_only(model):
        return np.concatenate(
            [
                rows_of(
                    logits_of(model(**batch)).float().numpy(),
                    (answered_mask(batch) if mask is None else batch["input_ids"] == mask).numpy(),
                )
                for batch in batches
            ]
        )
