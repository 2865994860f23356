"""torch: the model itself, as it was trained, in this process or another.

Source: https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad_mode.inference_mode.html

It stands here and not in `compress.runtimes`, since it loads models. Imports no torch until it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError
from compress.log import libraries_silenced
from compress.runtimes.runtime import ANSWERED, EXIT, LOGITS, Runtime, Session, Version
from compress.runtimes.writing import GIVEN, forced, write, write_exactly

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from compress.runtimes.runtime import Batch


def check_torch_device(device: str) -> None:
    """Raise InputError when torch does not see the device."""
    if device == "cpu":
        return
    import torch

    if torch.cuda.device_count() <= int(device.partition(":")[2] or 0):
        raise InputError(
            f"device is {device!r}, but torch sees {torch.cuda.device_count()} GPUs; measure on cpu, or install a CUDA "
            "build of torch."
        )


def load_torch(folder: Path, device: str = "cpu") -> PreTrainedModel:
    """Load a saved torch model for inference, quietly."""
    with libraries_silenced():
        from compress.models.checkpoint import load
    model = load(folder)
    model.to(device)
    return model


def open_torch(path: Path, *, threads: int = 0, device: str = "cpu") -> Session:
    """Load the model of a folder, see `Runtime.open`; threads are pinned for the whole process."""
    import torch

    from compress.models.exits import watched_exits
    from compress.models.heads import head_of, logits_of
    from compress.models.masked_places import at_places

    check_torch_device(device)
    if threads:
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
    model, place = load_torch(path, device), torch.device(device)
    if head_of(model).writes:
        return _writing(model)

    def prepare(batch: Batch) -> Callable[[], torch.Tensor]:
        given = {name: torch.from_numpy(values).to(place) for name, values in batch.items()}
        wanted = given.pop(ANSWERED, None)
        places = None if wanted is None else wanted != 0

        def call() -> Any:
            with torch.inference_mode(), at_places(model, places):
                logits = logits_of(model(**given))
            if place.type == "cuda":
                torch.cuda.synchronize(place)
            return logits

        return call

    def run(batch: Batch) -> dict[str, np.ndarray]:
        with watched_exits(model) as exits:
            logits = prepare(batch)().float().cpu().numpy()
            passage = exits.passage if exits is not None else None
            return {LOGITS: logits} if passage is None else {LOGITS: logits, EXIT: passage.left.cpu().numpy()}

    return Session(run, prepare=prepare, model=model)


def _writing(model: PreTrainedModel) -> Session:
    """A model that writes: what is timed writes as many tokens as a text has."""
    from compress.models.encoder_decoder import TorchWriter, search_with

    writer, search = TorchWriter(model), search_with(model)

    def run(batch: Batch) -> dict[str, np.ndarray]:
        return {LOGITS: forced(writer, batch) if GIVEN in batch else write(writer, batch, search).astype(np.float32)}

    return Session(run, prepare=lambda batch: partial(write_exactly, writer, batch, search), model=model)


def diagnose(version: Version) -> tuple[str, str]:
    """What is installed, see `Runtime.diagnose`."""
    installed = version(RUNTIME.package)
    if installed is None:
        return "missing", f"needed for all but `list` and `check`: {RUNTIME.install}"
    return installed, RUNTIME.purpose


RUNTIME = Runtime(
    name="torch",
    title="torch",
    package="torch",
    install="pip install torch",
    distributions=("torch",),
    purpose="trains and exports",
    open=open_torch,
    devices=("cpu", "cuda"),
    check_device=check_torch_device,
    file=None,
    instead="",
    diagnose=diagnose,
)
