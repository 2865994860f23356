"""Several processes under `accelerate launch`: the first one writes, all of them train."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from compress.disk import discard, folders_made
from compress.errors import InputError

_LEFT_ALONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "recvValue failed", "ncclRemoteError")
_answers = itertools.count()


def is_main() -> bool:
    """Whether this process is the one that writes; true when it is alone."""
    return int(os.environ.get("RANK", "0")) == 0


def _together() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def broadcast(value: bool) -> bool:
    """The main process's answer, in every process."""
    return _said_by_main(str(value)) == str(True)


def _said_by_main(text: str) -> str:
    """What the main process says, in every process.

    It goes by the store where the processes met. After a broadcast, a thread of gloo's may still hold the tensor when the
    process ends, and aborts it then, since it cannot let go of it without the interpreter.
    """
    if not _together():
        return text
    store, key = _meeting_place(), f"compress: answer {next(_answers)}"
    if is_main():
        store.set(key, text)
    return str(store.get(key).decode())


def _said_by_all(text: str) -> list[str]:
    """What each process says, in every process, by rank."""
    if not _together():
        return [text]
    store, key = _meeting_place(), f"compress: answer {next(_answers)}"
    store.set(f"{key} of {os.environ['RANK']}", text)
    return [store.get(f"{key} of {rank}").decode() for rank in range(int(os.environ["WORLD_SIZE"]))]


def _meeting_place() -> Any:
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def check_shared(folder: Path) -> None:
    """Check that every process sees the folder of the main one's cache, where it takes up steps and checkpoints.

    Raises:
        InputError: One on another machine does not; all of them raise it.
    """
    if not _together():
        return
    with folders_made(folder) if is_main() else contextlib.nullcontext():
        probe = folder / _said_by_main(f".probe.{secrets.token_hex(8)}")
        if is_main():
            probe.touch()
        _said_by_main("made")
        blind = [host for host in _said_by_all("" if probe.is_file() else socket.gethostname()) if host]
        if is_main():
            discard(probe)
        if blind:
            raise InputError(
                f"the cache {folder} of the first process is not there on {', '.join(sorted(set(blind)))}; processes on "
                "several machines need one cache: name a folder that all of them mount, with --cache."
            )


def tells() -> bool:
    """Whether this process is to say why all of them end: the first that fails, or before they met, one on each machine."""
    if not _together():
        return True
    from torch.distributed import is_initialized

    if not is_initialized():
        return int(os.environ.get("LOCAL_RANK", "0")) == 0
    try:
        return bool(_meeting_place().add("compress: failures", 1) == 1)
    except RuntimeError:  # the place went with those who failed first
        return False


def whose() -> str:
    """Which process an error is of, as the beginning of a message; nothing for the main one."""
    if is_main():
        return ""
    return f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}, on {socket.gethostname()}: "


def is_left_alone(err: BaseException) -> bool:
    """Whether something failed because another process of this run has ended."""
    return _together() and any(sign in str(err) for sign in _LEFT_ALONE)


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
