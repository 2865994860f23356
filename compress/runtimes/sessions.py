"""Open an ONNX file in onnxruntime, and give it the inputs that it asks for. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, first_line
from compress.run_errors import refuse_out_of_memory
from compress.runtimes.openvino_session import INPUTS

if TYPE_CHECKING:
    import onnxruntime

QUIET = 4
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
UNKNOWN_OPERATOR = "is not a registered function/op"
FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
LOGITS = "logits"


def check_onnx_device(device: str) -> None:
    """Raise InputError when onnxruntime has no provider for the device ("cpu", "cuda", "cuda:N")."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return
    import onnxruntime

    provider = {"cuda": "CUDAExecutionProvider"}.get(kind)
    if provider is None or provider not in onnxruntime.get_available_providers():
        raise InputError(
            f"device is {device!r}, but this onnxruntime cannot use it; it has: "
            f"{', '.join(onnxruntime.get_available_providers())}. Measure on cpu, or install onnxruntime-gpu."
        )


def open_session(path: Path, *, threads: int = 0, device: str = "cpu", spinning: bool = True) -> Any:
    """Open an ONNX file with pinned threads, quietly.

    Args:
        path: model.onnx.
        threads: Threads inside an operator; 0 is one per core. Operators run one after the other.
        device: cpu, cuda or cuda:N.
        spinning: Let idle threads wait busily, which is onnxruntime's default; off, they leave the processor to others.

    Raises:
        InputError: The file cannot be loaded, asks for unknown inputs, or the device is not there.
        CompressError: Memory ran out.
    """
    import onnxruntime

    check_onnx_device(device)
    if device != "cpu":
        onnxruntime.preload_dlls()  # of CUDA, which torch brings where it is imported
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    session = loaded(path, options, device=device)
    if device != "cpu" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise InputError(f"onnxruntime fell back from {device} to the CPU; check the CUDA libraries, or measure on cpu.")
    check_inputs(session, path)
    return session


def loaded(path: Path, options: Any, *, device: str = "cpu") -> Any:
    """Load an ONNX file with onnxruntime's own options, quietly; see `open_session`."""
    import onnxruntime

    options.log_severity_level = QUIET
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers(device))
    except Exception as err:  # onnxruntime's errors have no common class of their own
        refuse_out_of_memory(err, f"loading {path}")
        cure = " with standard operators alone" if UNKNOWN_OPERATOR in str(err) else ""
        told = first_line(err)
        raise InputError(f"{path} cannot be loaded by onnxruntime: {told}. Export the model again{cure}.") from err


def providers(device: str) -> list[Any]:
    """The execution providers for a device."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    number = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def check_inputs(session: onnxruntime.InferenceSession, path: Path) -> None:
    """Raise InputError when a file asks for inputs that the toolkit cannot give, or has no `logits` of floats."""
    wrong = [f"{one.name} {one.type}" for one in session.get_inputs() if one.name not in INPUTS or one.type not in INTEGERS]
    if wrong:
        raise InputError(
            f"{path} asks for {', '.join(wrong)}; allowed are integer inputs {', '.join(INPUTS)}. Export it again."
        )
    if LOGITS not in [one.name for one in session.get_outputs()]:
        given = ", ".join(one.name for one in session.get_outputs())
        raise InputError(f"{path} gives {given}; an output called logits is needed. Export it again.")
    kind = next(one.type for one in session.get_outputs() if one.name == LOGITS)
    if kind not in FLOATS:
        raise InputError(f"{path} gives logits as {kind}; allowed: {', '.join(FLOATS)}. Export it again.")


def feeds(session: onnxruntime.InferenceSession, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pick the inputs that the file asks for, in its types; token types that are missing are zeros."""
    ids = batch["input_ids"]
    chosen = {}
    for one in session.get_inputs():
        values = batch[one.name] if one.name in batch else np.zeros_like(ids)
        chosen[one.name] = np.ascontiguousarray(values, dtype=INTEGERS[one.type])
    return chosen
