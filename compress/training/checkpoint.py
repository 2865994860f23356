"""Where a training step stands, on disk: enough to go on exactly, and no pickle."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from compress.disk import Damaged, discard, free_name, put, sync
from compress.training.average import Weights

logger = logging.getLogger(__name__)

FILE = "checkpoint.safetensors"
SEAL = "sha256"


@dataclass
class Position:
    """How far training has come.

    Args:
        epoch: The epoch that is running, counted from 0.
        batch: The next batch in it.
        step: Optimizer steps done.
        examples: Examples seen.
        seconds: Time spent training, without evaluation.
        history: One entry per finished epoch: its selection metric and mean loss.
        curve: (step, loss) every so often.
        best_epoch: The epoch with the best selection metric so far, -1 for none.
        done: Whether training has ended, so that only the best weights are left to take.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    curve: list[list[float]] = field(default_factory=list)
    best_epoch: int = -1
    done: bool = False


def save_checkpoint(
    folder: Path,
    position: Position,
    model: nn.Module,
    optimizer: Optimizer,
    best: Weights | None,
    mean: Weights | None,
    what: str,
) -> None:
    """Write everything into one file that replaces the one before in one move.

    Args:
        folder: Where; it is made if needed.
        position: How far training has come.
        model: Its weights are kept.
        optimizer: Its moments are kept.
        best: The weights of the best epoch.
        mean: The mean of the weights so far.
        what: Names the training run; another run's checkpoint is never taken up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
    for kind, weights in (("best", best), ("mean", mean)):
        tensors |= {f"{kind}.{name}": tensor for name, tensor in (weights or {}).items()}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"position": json.dumps(asdict(position)), "what": what}
    partial = free_name(folder / FILE, "partial")
    try:
        save_file(tensors, partial, metadata=metadata | {SEAL: _seal(tensors, metadata)})
        sync(partial)
        put(partial, folder, FILE)
        sync(folder)
    finally:
        discard(partial)


def _seal(tensors: Weights, metadata: dict[str, str]) -> str:
    """A hash of all that a checkpoint holds; safetensors has none."""
    total = hashlib.sha256(f"{metadata['position']} {metadata['what']}".encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return total.hexdigest()


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, what: str
) -> tuple[Position, Weights | None, Weights | None] | None:
    """Put model and optimizer back to where they were; None when there is nothing to go on from.

    Returns the position, the weights of the best epoch, and the mean of the weights.

    Random state needs no keeping: each step seeds its own.
    """
    path = folder / FILE
    if path.is_symlink() or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get(SEAL) != _seal(tensors, metadata):
            raise Damaged("it has other contents than were written")
        if metadata["what"] != what:
            return None
        position = Position(**json.loads(metadata["position"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as err:
        logger.warning("%s cannot be read (%s); the step starts again.", path, err)
        return None
    model.load_state_dict(_under("model.", tensors))
    _restore_optimizer(optimizer, _under("optimizer.", tensors))
    return position, _under("best.", tensors) or None, _under("mean.", tensors) or None


def _under(prefix: str, tensors: Weights) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _restore_optimizer(optimizer: Optimizer, tensors: Weights) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
