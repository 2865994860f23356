"""Random states of padded batches, and the same values worked out example by example in numpy, where nothing is padded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from compress.models.states import State
from compress.objectives.outputs import Batch, Outputs

LENGTHS = (5, 2, 1, 4)


def batch(stage: int | None = None) -> Batch:
    """Four examples of five tokens at most."""
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return Batch(torch.zeros(len(LENGTHS), dtype=torch.long), mask, stage)


def outputs(seed: int, *wanted: State, width: int = 6, heads: int = 2) -> Outputs:
    """Random states, those of padding included, which no objective may see."""
    random = torch.Generator().manual_seed(seed)
    states = {}
    for kind, layer in wanted:
        length = max(LENGTHS)
        shape = {"scores": (4, heads, length, length), "first": (4, 1, width)}.get(kind, (4, length, width))
        states[kind, layer] = torch.randn(shape, generator=random)
    return Outputs(torch.zeros(4, 2), states)


def unpadded(outputs: Outputs, state: State) -> list[np.ndarray]:
    """A state as one array for each example, without its padding."""
    rows = outputs.states[state].numpy().astype(np.float64)
    if state[0] == "scores":
        return [row[:, :length, :length] for row, length in zip(rows, LENGTHS, strict=True)]
    return [row[:length] for row, length in zip(rows, LENGTHS, strict=True)]


def softmax(scores: np.ndarray) -> np.ndarray:
    """Of each row."""
    powers = np.exp(scores)
    return powers / powers.sum(-1, keepdims=True)


def divergence(teacher: list[np.ndarray], said: list[np.ndarray]) -> float:
    """Mean over heads and rows of sum p log(p / q), p and q softmaxes of scores, (heads, length, length) each."""
    p, q = ([softmax(scores) for scores in side] for side in (teacher, said))
    rows = [(target * np.log(target / other)).sum(-1).reshape(-1) for target, other in zip(p, q, strict=True)]
    return float(np.concatenate(rows).mean())


def relations(values: list[np.ndarray], heads: int) -> list[np.ndarray]:
    """Products of rows within each of `heads` slices, over the root of their width."""
    products = []
    for rows in values:
        slices = np.split(rows, heads, axis=1)
        products.append(np.stack([part @ part.T / np.sqrt(part.shape[1]) for part in slices]))
    return products


def token_mean(
    error: Callable[[np.ndarray, np.ndarray], np.ndarray], student: Outputs, teacher: Outputs, said: State, target: State
) -> float:
    """Mean of a token's error over all tokens of all examples."""
    pairs = zip(unpadded(student, said), unpadded(teacher, target), strict=True)
    return float(np.concatenate([error(own, wanted) for own, wanted in pairs]).mean())


def close(value: float) -> object:
    """As near as float32 comes."""
    return pytest.approx(value, rel=1e-4, abs=1e-6)
