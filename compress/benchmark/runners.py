"""Run a subject over batches, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.benchmark.counts import WORKER
from compress.benchmark.subjects import CONFIG, ONNX, Subject, input_limits, label_count, precision_of
from compress.errors import InputError
from compress.log import libraries_silenced
from compress.runtimes.foreign_file import ForeignFile
from compress.runtimes.limits import TIME_LIMIT_SECONDS
from compress.runtimes.openvino_session import need_openvino
from compress.runtimes.process import RuntimeProcess
from compress.runtimes.sessions import check_onnx_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
VOCABULARIES = ("tokenizer.json", "vocab.txt")


@dataclass(frozen=True)
class Runner:
    """A subject that is open. Used with `with`, it is closed at the end.

    Args:
        run: Turns a batch (input_ids, attention_mask and, where the tokenizer gives them, token_type_ids; each
            (batch, length)) into logits, (batch, labels), float32.
        tokenizer: The subject's own.
        model: The torch model, if it is one.
        process: Where a runtime has the file open, if one does.
    """

    run: Run
    tokenizer: Any
    model: PreTrainedModel | None = None
    process: RuntimeProcess | None = None

    def __enter__(self) -> Runner:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        if self.process is not None:
            self.process.end()


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
        from compress.models.checkpoint import load
    model = load(folder)
    model.to(device)
    return model


def open_runner(subject: Subject, device: str = "cpu", *, time_limit: float = TIME_LIMIT_SECONDS) -> Runner:
    """Open a subject to run batches through it: a torch model here, any other file in a process of its own.

    Args:
        subject: What to open.
        device: cpu, cuda or cuda:N.
        time_limit: Seconds that opening a file, and its answer to a batch, may take each.

    Raises:
        InputError: It cannot be loaded.
        CompressError: The runtime crashed over it, or took too long.
    """
    limits = input_limits(subject)
    if subject.kind == "torch":
        model = load_torch(subject.path, device)
        return Runner(_within(limits, subject, _torch_run(model, device)), model.tokenizer, model)
    tokenizer, labels = load_tokenizer(subject.path), label_count(subject)
    path = subject.path / ONNX
    if subject.kind == "openvino":
        file = ForeignFile(path, "openvino", module=WORKER, time_limit=time_limit, precision=precision_of(subject.path))
    else:
        file = ForeignFile(path, "onnxruntime", module=WORKER, time_limit=time_limit, device=device)
    return Runner(_within(limits, subject, lambda batch: file.run(batch, labels)), tokenizer, process=file.process)


def _within(limits: tuple[int, int], subject: Subject, run: Run) -> Run:
    """Refuse batches that the model has no positions or no words for, since runtimes crash over them, or answer nonsense."""
    vocabulary, positions = limits

    def checked(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        ids = batch["input_ids"]
        if ids.shape[1] > positions:
            raise InputError(
                f"an example has {ids.shape[1]} tokens, but {subject.name!r} reads at most {positions} "
                f"({subject.path / CONFIG}); use a shorter max_length."
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
            wrong = int(ids.min() if ids.min() < 0 else ids.max())
            raise InputError(
                f"{subject.path}: the tokenizer gives token id {wrong}, but the vocabulary has {vocabulary} words, 0 to "
                f"{vocabulary - 1}; restore the tokenizer that belongs to the model."
            )
        return run(batch)

    return checked


def load_tokenizer(folder: Path) -> Any:
    """Load the fast tokenizer that lies in a folder.

    Raises:
        InputError: There is none.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):  # AutoTokenizer would make up an empty one
        raise InputError(f"{folder} has none of {', '.join(VOCABULARIES)}; add the model's tokenizer.json.")
    with libraries_silenced():
        from compress.models.checkpoint.tokenizer import open_tokenizer
    return open_tokenizer(folder)


def _torch_run(model: PreTrainedModel, device: str) -> Run:
    import torch

    def run(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(values).to(device) for name, values in batch.items()}).logits
        found: np.ndarray = logits.float().cpu().numpy()
        return found

    return run
