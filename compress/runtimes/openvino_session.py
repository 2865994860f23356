"""Open an ONNX file in OpenVINO on the CPU. Imports no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError, last_line
from compress.run_errors import refuse_run

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
INTEGERS = ("i8", "u8")
PRODUCTS = ("FullyConnected",)
FUSED = ("FullyConnected", "MVN", "Subgraph", "ScaledDotProductAttention")
Batch = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Compiled:
    """A model that OpenVINO has compiled.

    Args:
        run: Turns a batch, (batch, length) each, into logits, (batch, labels), float32.
        operators: Of the compiled graph: (kind, precision, name of the node that it came from).
    """

    run: Callable[[Batch], np.ndarray]
    operators: tuple[tuple[str, str, str], ...]

    @property
    def integer_ops(self) -> int:
        """How many products run on integers."""
        return sum(kind in PRODUCTS and precision in INTEGERS for kind, precision, _ in self.operators)

    @property
    def fused_ops(self) -> int:
        """How many operators do the work of several."""
        return sum(kind in FUSED for kind, _, _ in self.operators)

    @property
    def stayed_float(self) -> tuple[str, ...]:
        """Names of the products with constant weights that do not run on integers."""
        return tuple(name for kind, precision, name in self.operators if kind in PRODUCTS and precision not in INTEGERS)


def need_openvino() -> None:
    """Raise InputError where OpenVINO is not installed."""
    if importlib.util.find_spec("openvino") is None:
        raise InputError(
            "OpenVINO is not installed, and this target runs on it; run pip install 'bert-compress[openvino]', or choose an "
            "onnxruntime target."
        )


def open_openvino(path: Path, *, threads: int = 0, precision: str = "auto") -> Compiled:
    """Compile an ONNX file for the CPU.

    Args:
        path: model.onnx.
        threads: Threads inside an operator; 0 is one per core.
        precision: Of what is not integers: "float32", "bfloat16", or "auto" for what OpenVINO finds fastest here.

    Raises:
        InputError: OpenVINO is not installed, or it cannot read the file.
    """
    compiled = compiled_for_cpu(path, threads=threads, precision=precision)
    wanted = [one.get_any_name() for one in compiled.inputs]
    _check_ends(compiled, wanted, path)
    request = compiled.create_infer_request()

    def run(batch: Batch) -> np.ndarray:
        ids = batch["input_ids"]
        given = {name: np.ascontiguousarray(batch.get(name, np.zeros_like(ids)), dtype=np.int64) for name in wanted}
        try:
            return np.array(request.infer(given)["logits"], dtype=np.float32)
        except Exception as err:  # openvino raises RuntimeError for everything
            refuse_run(err, path, batch)

    return Compiled(run, operators_of(compiled))


def operators_of(compiled: Any) -> tuple[tuple[str, str, str], ...]:
    """The operators of a compiled model, see `Compiled`."""
    return tuple(_described(node) for node in compiled.get_runtime_model().get_ordered_ops())


def compiled_for_cpu(path: Path, *, threads: int = 0, precision: str = "auto") -> Any:
    """OpenVINO's own compiled model of an ONNX file, whatever its inputs; see `open_openvino`."""
    need_openvino()
    import openvino

    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    if precision != "auto":
        settings["INFERENCE_PRECISION_HINT"] = PRECISIONS[precision]
    try:
        core = openvino.Core()
        return core.compile_model(core.read_model(path), "CPU", settings)
    except Exception as err:  # openvino raises RuntimeError for everything
        raise InputError(f"{path} cannot be loaded by OpenVINO: {last_line(err)}. Export the model again.") from err


def _check_ends(compiled: Any, wanted: list[str], path: Path) -> None:
    unknown = [name for name in wanted if name not in INPUTS]
    if unknown:
        raise InputError(f"{path} asks for {', '.join(unknown)}; allowed are inputs {', '.join(INPUTS)}. Export it again.")
    given = [name for one in compiled.outputs for name in one.get_names()]
    if "logits" not in given:
        raise InputError(f"{path} gives {', '.join(given)}; an output called logits is needed. Export it again.")
    kind = next(one.element_type for one in compiled.outputs if "logits" in one.get_names())
    if not kind.is_real():
        raise InputError(f"{path} gives logits as {kind.get_type_name()}; floats are needed. Export it again.")
    fixed = [one.get_any_name() for one in compiled.inputs if not all(size.is_dynamic for size in one.partial_shape)]
    if fixed:
        raise InputError(f"{path} fixes the batch or the length of {', '.join(fixed)}; export it with both of them free.")


def _described(node: Any) -> tuple[str, str, str]:
    told = node.get_rt_info()
    kind, precision, names = (
        told[key].astype(str) if key in told else "" for key in ("layerType", "runtimePrecision", "originalLayersNames")
    )
    name = names.partition(",")[0].partition("/")[0] or node.get_friendly_name()
    return kind, precision, name.removesuffix(".bias")
