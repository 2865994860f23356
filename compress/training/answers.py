"""What a teacher answers to the training examples: live in every step, or known from before."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.models.checkpoint.fingerprint import fingerprint
from compress.models.first_token import first_token_only
from compress.models.heads import logits_of
from compress.models.layout import encoder_layers
from compress.models.masked_places import at_places
from compress.models.states import State, States, recorded, whole_last_layer
from compress.objectives.outputs import Outputs
from compress.tasks.encoding import Encoded
from compress.training.predict import on_device


class Answers(Protocol):
    """A teacher, as the loop sees it."""

    def outputs(self, indices: np.ndarray, inputs: Mapping[str, torch.Tensor], places: torch.Tensor | None = None) -> Outputs:
        """The answers to the training examples at `indices`, which the student reads as `inputs`, with whole pieces' ids; of
        masked words at these `places` alone, see `at_places`."""

    def moved(self, device: torch.device | str) -> None:
        """Go where the student learns."""

    @property
    def identity(self) -> str:
        """Tells one teacher's answers from another's."""


@dataclass(frozen=True)
class LiveAnswers:
    """A teacher that answers beside the student, without dropout.

    Args:
        teacher: Is put into evaluation mode.
        wanted: The states that the objectives compare.
        encoded: The training examples as the teacher reads them.
    """

    teacher: PreTrainedModel
    wanted: Collection[State]
    encoded: Encoded

    def outputs(self, indices: np.ndarray, inputs: Mapping[str, torch.Tensor], places: torch.Tensor | None = None) -> Outputs:
        """Let the teacher read the batch."""
        own = on_device(self.encoded.batch(indices), inputs["input_ids"].device)
        own["input_ids"] = inputs["input_ids"]  # where words are hidden from the student, they are from the teacher
        logits, states = answered(self.teacher, own, self.wanted, places)
        return Outputs(logits, states)

    def moved(self, device: torch.device | str) -> None:
        """Move the teacher."""
        self.teacher.to(device).eval()

    @property
    def identity(self) -> str:
        """A hash of the teacher's weights."""
        return fingerprint(self.teacher)


def answered(
    teacher: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    wanted: Collection[State],
    places: torch.Tensor | None = None,
) -> tuple[torch.Tensor, States]:
    """A model's logits (at `places`, see `at_places`) and states, without gradients; the last layer is cut to its first token
    where nobody asks for more."""
    whole = whole_last_layer(wanted, len(encoder_layers(teacher)))
    cut = nullcontext() if whole else first_token_only(teacher)
    with torch.no_grad(), recorded(teacher, wanted) as states, cut, at_places(teacher, places):
        return logits_of(teacher(**inputs)), states


@dataclass(frozen=True)
class Stored:
    """One state of every training example, unpadded, one after the other.

    Args:
        kind: The state's; see `compress.models.states`.
        rows: float16. scores: flat, each example's (heads, length, length); others: (rows, width), a row per token, or per
            example for "first".
        starts: Where each example begins in `rows`, and where the last one ends, (examples + 1,).
        lengths: Tokens of each example, (examples,).
    """

    kind: str
    rows: Any
    starts: np.ndarray
    lengths: np.ndarray

    def batch(self, indices: np.ndarray, length: int) -> torch.Tensor:
        """The state of some examples, padded with 0 to `length` tokens."""
        parts = [self.rows[self.starts[index] : self.starts[index + 1]] for index in indices]
        if self.kind == "scores":
            heads = len(parts[0]) // int(self.lengths[indices[0]]) ** 2
            shape: tuple[int, ...] = (len(parts), heads, length, length)
        else:
            shape = (len(parts), 1 if self.kind == "first" else length, self.rows.shape[1])
        padded = np.zeros(shape, dtype=np.float16)
        for row, (part, tokens) in enumerate(zip(parts, self.lengths[indices], strict=True)):
            if self.kind == "scores":
                padded[row, :, :tokens, :tokens] = part.reshape(-1, tokens, tokens)
            else:
                padded[row, : len(part)] = part
        return torch.from_numpy(padded)


@dataclass(frozen=True)
class KnownAnswers:
    """Answers that were computed before.

    Args:
        logits: (examples, outputs); or a row for each token, one example after the other.
        states: By kind and layer.
        starts: Where each example's tokens begin in `logits`, and where the last one's end; None where it has one row.
    """

    logits: np.ndarray
    states: Mapping[State, Stored]
    starts: np.ndarray | None = None

    def outputs(self, indices: np.ndarray, inputs: Mapping[str, torch.Tensor], places: torch.Tensor | None = None) -> Outputs:
        """Look the batch up."""
        assert places is None  # which are others in each step
        device, length = inputs["input_ids"].device, inputs["input_ids"].shape[1]
        states = {state: stored.batch(indices, length).to(device) for state, stored in self.states.items()}
        return Outputs(torch.from_numpy(self._batch(indices, length)).to(device), states)

    def _batch(self, indices: np.ndarray, length: int) -> np.ndarray:
        if self.starts is None:
            return np.asarray(self.logits[indices])
        padded = np.zeros((len(indices), length, self.logits.shape[1]), dtype=np.float32)
        for row, index in enumerate(indices):
            part = self.logits[self.starts[index] : self.starts[index + 1]]
            padded[row, : len(part)] = part
        return padded

    def moved(self, device: torch.device | str) -> None:
        """Stay: each batch goes where it is read."""

    @property
    def identity(self) -> str:
        """A hash of the logits."""
        return str(zlib.crc32(np.ascontiguousarray(self.logits).tobytes()))
