"""Eight-bit numbers inside a float model: what its Linears and embeddings answer when a runtime runs them on integers.

A quantized Linear multiplies whole numbers, `integers(x) @ integers(W)`, and scales the sum afterwards, as the runtimes do.
The numbers stay in float tensors, so gradients pass, and in bfloat16 they stay exact, since 8 bits hold every one of them.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.adapters import lora_of
from compress.models.exits import exits_of
from compress.models.families import known_family
from compress.models.families.family import Family
from compress.models.heads import head_of, last_linear
from compress.models.layout import encoder_layers, same_input
from compress.models.spelled import fold_spelling

LOWEST, QMAX = -128, 127  # of an activation; weights are symmetric, -127 to 127
SMALLEST = 1e-12
NEARLY = 1 - 1e-5  # exp(log(x)) / x may be some roundings away from 1


class _Integers(torch.autograd.Function):
    """Whole numbers for values; the gradient passes straight through, outside of the range as well (Q8BERT's choice)."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, scale: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scale)
        return torch.clamp_(torch.round(values / scale), low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (scale,) = ctx.saved_tensors
        return gradients[0] / scale, None, None, None


def _integers(values: torch.Tensor, scale: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    whole: torch.Tensor = _Integers.apply(values, scale, low, high)  # type: ignore[no-untyped-call]
    return whole


def _learned_integers(values: torch.Tensor, scale: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The same with a gradient for the scale (LSQ), none for values outside of the range or, but for rounding, at its ends."""
    steps = values / scale
    cut = torch.minimum(torch.maximum(steps.detach(), low), high)
    inside = torch.where((steps > low * NEARLY) & (steps < high * NEARLY), steps, cut)
    return inside + (cut.round() - inside).detach()


class QuantizedLinear(nn.Linear):
    """A Linear whose input and weight are eight-bit numbers.

    Attributes:
        low, high: The range of the input, which always holds 0; both 0 while it is unknown.
        divisor: What each input channel is divided by before (SmoothQuant), (in,), or None; the weight is multiplied by it.
        per_channel: One weight scale for each output channel instead of one for the weight.
        symmetric: Whether the range is kept symmetric around 0.
        qmax: The largest whole number of the weight: 127, or 63 for seven bits.
        on: Whether it quantizes; off, it is a plain Linear.
        decay: In training the range follows the inputs' as an exponential moving average with this decay; None keeps it.
    """

    low: torch.Tensor
    high: torch.Tensor
    divisor: torch.Tensor | None

    def __init__(self, plain: nn.Linear, *, per_channel: bool, symmetric: bool) -> None:
        super().__init__(plain.in_features, plain.out_features, bias=plain.bias is not None, device="meta")
        self.weight, self.bias = plain.weight, plain.bias
        self.register_buffer("low", torch.zeros((), device=plain.weight.device))
        self.register_buffer("high", torch.zeros((), device=plain.weight.device))
        self.register_buffer("divisor", None, persistent=False)
        self.per_channel, self.symmetric, self.qmax = per_channel, symmetric, QMAX
        self.on = True
        self.decay: float | None = None
        self.stretch: nn.Parameter | None = None
        self.ceiling: nn.Parameter | None = None

    @property
    def has_range(self) -> bool:
        """Whether the range is known."""
        return bool(self.high > self.low)

    def set_range(self, low: torch.Tensor | float, high: torch.Tensor | float) -> None:
        """Set the range; it is widened to hold 0 and, where it is symmetric, to both sides alike."""
        least, most = torch.as_tensor(low).clamp(max=0), torch.as_tensor(high).clamp(min=0)
        if self.symmetric:
            most = torch.maximum(-least, most)
            least = -most
        self.low.copy_(least)
        self.high.copy_(most)

    def input_grid(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The input's scale and the whole number that 0 stands at (from -128 to 127), both 0-d."""
        if self.symmetric:
            scale, zero = self.high.clamp(min=SMALLEST) / QMAX, torch.zeros_like(self.low)
        else:
            scale = (self.high - self.low).clamp(min=SMALLEST) / (QMAX - LOWEST)
            zero = (LOWEST - self.low / scale).round().clamp(LOWEST, QMAX)
        if self.stretch is not None:
            scale = scale * self.stretch.exp()
        return scale, zero

    def smoothed_weight(self) -> torch.Tensor:
        """The weight that is quantized, (out, in)."""
        return self.weight if self.divisor is None else self.weight * self.divisor

    def weight_scale(self) -> torch.Tensor:
        """The weight's scale: (out, 1) per channel, else (1, 1)."""
        size = self.smoothed_weight().detach().abs()
        most = size.amax(1, keepdim=True) if self.per_channel else size.amax().view(1, 1)
        if self.ceiling is not None:  # which learns where it is tied with the largest weight or above it as well
            fixed = self.ceiling.detach()
            most = torch.minimum(fixed.exp(), most) * (self.ceiling - fixed).exp()
        return most.clamp(min=SMALLEST) / self.qmax

    def rounded_input(self, values: torch.Tensor) -> torch.Tensor:
        """Inputs (divided already) as the integers tell them."""
        scale, zero = self.input_grid()
        return _integers(values, scale, LOWEST - zero, QMAX - zero) * scale

    def rounded_weight(self) -> torch.Tensor:
        """The weight as the integers tell it, (out, in)."""
        scale = self.weight_scale()
        return (self.smoothed_weight() / scale).round().clamp(-self.qmax, self.qmax) * scale

    def learn_ranges(self) -> None:
        """Let the ranges of input and weight be learned, from where they are; on a logarithmic scale, so that one learning
        rate fits all."""
        self.stretch = nn.Parameter(torch.zeros_like(self.low))
        self.ceiling = nn.Parameter((self.weight_scale() * self.qmax).detach().log())

    @torch.no_grad()
    def settle_ranges(self) -> None:
        """Write learned ranges into range and weight, where they stay."""
        if self.stretch is None or self.ceiling is None:
            return
        factor, most = self.stretch.exp(), self.weight_scale() * self.qmax
        self.low.mul_(factor)
        self.high.mul_(factor)
        cut = torch.minimum(torch.maximum(self.smoothed_weight(), -most), most)
        self.weight.copy_(cut if self.divisor is None else cut / self.divisor)
        self.stretch = self.ceiling = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.training and self.decay is not None:
            self._follow(input.detach())
        if not self.on:
            return super().forward(input)
        weight, weight_scale = self.smoothed_weight(), self.weight_scale()
        values = (input if self.divisor is None else input / self.divisor).float()
        scale, zero = self.input_grid()
        learned = self.stretch is not None
        if learned:  # LSQ's factor, so that the sum over many values does not swamp the gradient's norm
            scale = _slowed(scale, (values.numel() * QMAX) ** -0.5)
            weight_scale = _slowed(weight_scale, (weight.numel() / len(weight_scale) * QMAX) ** -0.5)
        integers = _learned_integers if learned else _integers
        limit = torch.full_like(scale, self.qmax)
        if self.ceiling is not None:  # a ceiling above all weights cuts none of them
            limit = (self.ceiling.exp() / weight_scale).detach()
        whole = integers(values, scale, LOWEST - zero, QMAX - zero)
        sums = functional.linear(whole, integers(weight, weight_scale, -limit, limit))
        result = sums * (scale * weight_scale.squeeze(1))
        return result if self.bias is None else result + self.bias

    @torch.no_grad()
    def _follow(self, values: torch.Tensor) -> None:
        low, high = (bound.float() for bound in values.aminmax())
        if self.has_range:
            assert self.decay is not None
            low, high = torch.lerp(low, self.low, self.decay), torch.lerp(high, self.high, self.decay)
        self.set_range(low, high)


class QuantizedEmbedding(nn.Embedding):
    """An embedding whose rows are eight-bit numbers with a scale each.

    Attributes:
        qmax: The largest whole number: 127, or 7 for four bits.
        on: Whether it quantizes; off, it is a plain embedding.
    """

    def __init__(self, plain: nn.Embedding) -> None:
        super().__init__(plain.num_embeddings, plain.embedding_dim, padding_idx=plain.padding_idx, device="meta")
        self.weight = plain.weight
        self.qmax = QMAX
        self.on = True

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rows = super().forward(input)
        if not self.on:
            return rows
        scale = rows.detach().abs().amax(-1, keepdim=True).clamp(min=SMALLEST) / self.qmax
        return rows + ((rows / scale).round() * scale - rows).detach()


def _slowed(scale: torch.Tensor, factor: float) -> torch.Tensor:
    """The same scale with its gradient multiplied by `factor`."""
    return scale * factor + (scale * (1 - factor)).detach()


def with_quantizers(model: PreTrainedModel, *, per_channel: bool, symmetric: bool) -> PreTrainedModel:
    """A copy whose embeddings and Linears quantize, the classifier left out; ranges are unknown still. A network in the place
    of the word table gives way to the table of its rows.

    Raises:
        InputError: The model quantizes already, keeps low-rank matrices, or has no Linear to quantize.
    """
    if quantized_linears(model):
        raise InputError("the model is quantized already; start from the model before that step.")
    if lora_of(model):
        raise InputError(
            "the model keeps low-rank matrices beside its Linears (train: {lora: {keep: true}}), which would be rounded "
            "apart; leave keep out, so that they are added to them before."
        )
    if not encoder_layers(model):
        raise InputError(
            f"a {model.config.model_type} has no encoder, whose products could get fixed ranges; export it to a float target, "
            "or to onnxruntime-cpu-int8 with activations dynamic."
        )
    student = copy.deepcopy(model)
    fold_spelling(student)
    replace_with_quantizers(student, per_channel=per_channel, symmetric=symmetric)
    if not quantized_linears(student):
        raise InputError(f"{type(model).__name__} has no Linear to quantize; use a float target.")
    return student


def _kept_float(model: PreTrainedModel) -> set[nn.Module]:
    """What answers: the classifier, or all that stands behind an embedder's pooling. The output matrix of masked words is as
    large as the word table, and rounds as that does."""
    head, family = head_of(model), known_family(model)
    if head.of_pieces:
        return {model.get_submodule(path) for path in (family.uncalled if isinstance(family, Family) else ())}
    last, exits = last_linear(model), exits_of(model)
    return set(last.modules()) if head.gives_vectors else {last, *(exits.classifiers if exits else ())}


def replace_with_quantizers(model: PreTrainedModel, *, per_channel: bool, symmetric: bool) -> None:
    """Put quantizing modules in the place of the Linears, but for the classifier, and embeddings; they keep the tensors."""
    kept = _kept_float(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child not in kept:
                setattr(parent, name, QuantizedLinear(child, per_channel=per_channel, symmetric=symmetric))
            elif type(child) is nn.Embedding:
                setattr(parent, name, QuantizedEmbedding(child))


def set_qmax(model: nn.Module, *, weights: int, tables: int) -> None:
    """Set the largest whole numbers of weights and embeddings, in place."""
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            module.qmax = weights
        elif isinstance(module, QuantizedEmbedding):
            module.qmax = tables


def quantized_linears(model: nn.Module) -> dict[str, QuantizedLinear]:
    """The quantizing Linears by name, in the order of the forward pass."""
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLinear)}


@torch.no_grad()
def weights_as_integers(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the quantizing modules as their integers tell them, by the names of the parameters."""
    rounded = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear):
            weight = module.rounded_weight()
            rounded[f"{name}.weight"] = weight if module.divisor is None else weight / module.divisor
        elif isinstance(module, QuantizedEmbedding):
            rounded[f"{name}.weight"] = module(torch.arange(module.num_embeddings, device=module.weight.device))
    return rounded


def lend_ranges(model: PreTrainedModel) -> None:
    """Let Linears that never ran take the range of others that read the same: of a last layer whose first token alone is
    computed, with projections of its own, those of the other tokens."""
    linears = quantized_linears(model)
    for names in same_input(model):
        known = [linears[name] for name in names if linears[name].has_range]
        for linear in (linears[name] for name in names if known and not linears[name].has_range):
            linear.set_range(known[-1].low, known[-1].high)


@contextlib.contextmanager
def quantizers_off(model: nn.Module) -> Iterator[None]:
    """Let the model compute in float for a while."""
    quantizing = [
        module for module in model.modules() if isinstance(module, QuantizedLinear | QuantizedEmbedding) and module.on
    ]
    for module in quantizing:
        module.on = False
    try:
        yield
    finally:
        for module in quantizing:
            module.on = True
