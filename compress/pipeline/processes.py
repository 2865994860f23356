"""Several processes under `accelerate launch`: the first one writes, all of them train."""

from __future__ import annotations

import itertools
import os

_answers = itertools.count()


def is_main() -> bool:
    """Whether this process is the one that writes; true when it is alone."""
    return int(os.environ.get("RANK", "0")) == 0


def _together() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def broadcast(value: bool) -> bool:
    """The main process's answer, in every process.

    It goes by the store where the processes met. After a broadcast, a thread of gloo's may still hold the tensor when the
    process ends, and aborts it then, since it cannot let go of it without the interpreter.
    """
    if not _together():
        return value
    from torch.distributed.distributed_c10d import _get_default_store

    store, key = _get_default_store(), f"compress: answer {next(_answers)}"
    if is_main():
        store.set(key, str(value))
    return bool(store.get(key) == str(True).encode())


def wait_for_all() -> None:
    """Go on when every process has come this far."""
    if _together():
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def join_processes(device: str) -> None:
    """Meet the other processes, if there are any."""
    if _together():
        from accelerate import PartialState

        PartialState(cpu=device == "cpu")
