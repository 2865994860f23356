"""Windowed attention is full attention under the mask of its windows: any length, padding, window and number of globals."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from compress.models.attention.windows import windowed

HEADS, SIZE = 4, 4  # more heads than are computed at once


def states(length: int, batch: int = 3, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(batch, HEADS, length, SIZE, generator=random) for _ in range(3))
    return query, key, value


def masks(length: int) -> torch.Tensor:
    """A whole text, one of two thirds, and one of a single token."""
    return torch.arange(length) < torch.tensor([length, max(1, 2 * length // 3), 1])[:, None]


def expected(length: int, mask: torch.Tensor, window: int, globals_: int) -> torch.Tensor:
    """Full attention with everything out of the window, and padding, masked out."""
    places = torch.arange(length)
    near = (places[:, None] - places).abs() <= window // 2
    allowed = (near | (places < globals_)) & mask[:, None, None]
    query, key, value = states(length)
    return functional.scaled_dot_product_attention(query, key, value, allowed, scale=1.0)


@pytest.mark.parametrize("globals_", [0, 1, 2])
@pytest.mark.parametrize("window", [4, 6, 16, 64])
@pytest.mark.parametrize("length", [1, 2, 5, 8, 17, 48, 61])
def test_it_is_masked_full_attention(length: int, window: int, globals_: int) -> None:
    mask = masks(length)
    output = windowed(*states(length), mask, window=window, globals_=globals_)
    reference = expected(length, mask, window, globals_)
    real = mask[:, None, :, None].expand_as(reference)
    torch.testing.assert_close(output[real], reference[real], rtol=1e-5, atol=1e-5)
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_hides_padding_and_stays_finite(dtype: torch.dtype) -> None:
    mask = masks(48)
    query, key, value = (tensor.to(dtype) for tensor in states(48))
    output = windowed(8 * query, key, value, mask, window=6, globals_=0)
    reference = windowed(8 * query.float(), key.float(), value.float(), mask, window=6, globals_=0)
    assert torch.isfinite(output).all()
    real = mask[:, None, :, None].expand_as(reference)
    torch.testing.assert_close(output[real].float(), reference[real], rtol=0, atol=0.1)


def test_a_window_over_everything_is_full_attention() -> None:
    query, key, value = states(13)
    reference = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    output = windowed(query, key, value, torch.ones(3, 13, dtype=torch.bool), window=26, globals_=0)
    torch.testing.assert_close(output, reference, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_masked_full_attention() -> None:
    mask, gradients = masks(17), []
    for attend in ("windowed", "full"):
        inputs = [tensor.requires_grad_() for tensor in states(17)]
        if attend == "windowed":
            answer = windowed(*inputs, mask, window=6, globals_=1)
        else:
            places = torch.arange(17)
            allowed = (((places[:, None] - places).abs() <= 3) | (places < 1)) & mask[:, None, None]
            answer = functional.scaled_dot_product_attention(*inputs, allowed, scale=1.0)
        (answer * mask[:, None, :, None]).square().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append([tensor.grad for tensor in inputs])
    for own, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-5)


def test_no_tensor_is_as_large_as_length_times_length() -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            answer = function(*args, **(kwargs or {}))
            if isinstance(answer, torch.Tensor):
                largest = max(largest, answer.numel())
            return answer

    length = 1024
    inputs = states(length, batch=1)
    with Watch():
        windowed(*inputs, torch.ones(1, length, dtype=torch.bool), window=32, globals_=1)
    assert largest < HEADS * length * length / 8
