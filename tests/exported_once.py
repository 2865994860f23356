"""Let torch's exporter, which takes most of the time of a tiny export, work once for modules that are the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

NAMES = {"label", "tokenizer", "has_new_head", "warnings_issued", "_load_state_dict_post_hooks"}
"""Attributes that no graph depends on."""
KEYS = {"_name_or_path", "transformers_version", "id2label", "label2id", "architectures", "dtype", "problem_type"}
"""The same of a configuration; how many labels there are is told by the weights."""


def identity(module: nn.Module, *given: Any) -> str:
    """What a module's graph depends on, as a hash: its classes, its tensors and what its attributes say.

    Args:
        module: The one that is exported.
        given: What the exporter is called with besides.
    """
    digest = hashlib.sha256()
    for name, part in module.named_modules():
        digest.update(f"{name} {type(part).__module__}.{type(part).__qualname__}".encode())
        for key, value in sorted(vars(part).items(), key=lambda pair: pair[0]):
            if key not in NAMES and not key.startswith("_"):
                _tell(digest, key, value)
        for key, tensor in [*part._parameters.items(), *part._buffers.items()]:
            _tell(digest, key, tensor)
    for argument in given:
        _tell(digest, "", argument)
    return digest.hexdigest()


def _tell(digest: Any, key: str, value: Any) -> None:
    digest.update(key.encode())
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)} {value.device}".encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, PretrainedConfig):
        digest.update(
            repr(sorted((name, repr(setting)) for name, setting in value.to_dict().items() if name not in KEYS)).encode()
        )
        digest.update(str(value._attn_implementation).encode())
    elif isinstance(value, dict):
        for name, element in value.items():
            _tell(digest, str(name), element)
    elif isinstance(value, list | tuple):
        for element in value:
            _tell(digest, "", element)
    elif callable(value):
        digest.update(str(getattr(value, "__qualname__", type(value).__qualname__)).encode())
    else:
        digest.update(repr(value).encode())


@contextlib.contextmanager
def exported_once(folder: Path) -> Iterator[None]:
    """Take graphs that were exported before from a folder, which processes may share.

    Args:
        folder: Where they are kept.
    """
    folder.mkdir(exist_ok=True)
    original: Callable[..., Any] = torch.onnx.export

    def export(module: nn.Module, example: tuple[Any, ...], path: str, **options: Any) -> Any:
        kept = folder / f"{identity(module, example, sorted(options.items(), key=lambda pair: pair[0]))}.onnx"
        if kept.is_file():
            shutil.copyfile(kept, path)
            return None
        made = original(module, example, path, **options)
        if not Path(f"{path}.data").exists():
            partial = folder / f"{kept.name}.{os.getpid()}"
            shutil.copyfile(path, partial)
            partial.rename(kept)
        return made

    torch.onnx.export = export
    try:
        yield
    finally:
        torch.onnx.export = original
