"""Several processes under `accelerate launch`: the first one writes, all of them train."""

from __future__ import annotations

import os


def is_main() -> bool:
    """Whether this process is the one that writes; true when it is alone."""
    return int(os.environ.get("RANK", "0")) == 0


def _together() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def agreed(value: bool) -> bool:
    """The main process's answer, in every process."""
    if not _together():
        return value
    from accelerate.utils import broadcast_object_list

    answers = [value]
    broadcast_object_list(answers)
    return answers[0]


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
