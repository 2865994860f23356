"""Run a subject over batches, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError
from compress.log import libraries_silenced
from compress.measure.sessions import check_onnx_device, feeds, first_line, open_session
from compress.measure.subjects import ONNX, Subject, precision_of
from compress.openvino_session import need_openvino, open_openvino

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARIES = ("tokenizer.json", "vocab.txt")


@dataclass(frozen=True)
class Runner:
    """A subject that is open.

    Args:
        run: Turns a batch (input_ids, attention_mask and, where the tokenizer gives them, token_type_ids; each
            (batch, length)) into logits, (batch, labels), float32.
        tokenizer: The subject's own.
        model: The torch model, if it is one.
    """

    run: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    tokenizer: Any
    model: PreTrainedModel | None = None


def check_device(device: str, kinds: set[str]) -> None:
    """Raise InputError unless every kind of subject can run on the device."""
    if device.partition(":")[0] not in ("cpu", "cuda") or not _is_device(device):
        raise InputError(f"device is {device!r}; allowed: cpu, cuda, cuda:N. Correct it.")
    if "onnx" in kinds:
        check_onnx_device(device)
    if "openvino" in kinds:
        need_openvino()
        if device != "cpu":
            raise InputError(f"device is {device!r}, but openvino files run on the CPU here; measure them on cpu.")
    if "torch" in kinds and device != "cpu":
        check_torch_device(device)


def _is_device(device: str) -> bool:
    kind, colon, number = device.partition(":")
    return not colon or (kind == "cuda" and number.isdecimal())


def check_torch_device(device: str) -> None:
    """Raise InputError when torch does not see the device."""
    import torch

    if device != "cpu" and torch.cuda.device_count() <= int(device.partition(":")[2] or 0):
        raise InputError(
            f"device is {device!r}, but torch sees {torch.cuda.device_count()} GPUs; measure on cpu, or install a CUDA "
            "build of torch."
        )


def load_torch(folder: Path, device: str = "cpu") -> PreTrainedModel:
    """Load a saved torch model for inference, quietly."""
    with libraries_silenced():
        from compress.artifact import load
    model = load(folder)
    model.to(device)
    return model


def open_runner(subject: Subject, device: str = "cpu") -> Runner:
    """Open a subject to run batches through it.

    Raises:
        InputError: It cannot be loaded.
    """
    if subject.kind == "torch":
        model = load_torch(subject.path, device)
        return Runner(_torch_run(model, device), model.tokenizer, model)
    if subject.kind == "openvino":
        compiled = open_openvino(subject.path / ONNX, precision=precision_of(subject.path))
        return Runner(compiled.run, load_tokenizer(subject.path))
    session = open_session(subject.path / ONNX, device=device, spinning=False)

    def run(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        try:
            return np.asarray(session.run(["logits"], feeds(session, batch))[0], dtype=np.float32)
        except Exception as err:  # onnxruntime's errors have no common class of their own
            examples, length = batch["input_ids"].shape
            raise InputError(
                f"{subject.path / ONNX} cannot run {examples} examples of {length} tokens: {first_line(err)}. Export the "
                "model again, with free batch size and length."
            ) from err

    return Runner(run, load_tokenizer(subject.path))


def load_tokenizer(folder: Path) -> Any:
    """Load the fast tokenizer that lies in a folder.

    Raises:
        InputError: There is none.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):  # AutoTokenizer would make up an empty one
        raise InputError(f"{folder} has none of {', '.join(VOCABULARIES)}; add the model's tokenizer.json.")
    with libraries_silenced():
        from compress.artifact.tokenizer import open_tokenizer
    return open_tokenizer(folder)


def _torch_run(model: PreTrainedModel, device: str) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    import torch

    def run(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(values).to(device) for name, values in batch.items()}).logits
        found: np.ndarray = logits.float().cpu().numpy()
        return found

    return run
