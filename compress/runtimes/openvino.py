"""OpenVINO: on CPUs, in 8-bit integers and bfloat16 where the processor has them.

Source: https://docs.openvino.ai, "CPU device"

Imports no torch, and OpenVINO itself when it is first asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, last_line
from compress.run_errors import refuse_run
from compress.runtimes.runtime import (
    EXIT,
    INPUTS,
    LOGITS,
    Dimensions,
    Kernels,
    Runtime,
    Session,
    Usage,
    as_logits,
    outputs_among,
)

if TYPE_CHECKING:
    from compress.runtimes.runtime import Batch

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
INTEGERS = ("i8", "u8")
PRODUCTS = ("FullyConnected",)
FUSED = ("FullyConnected", "MVN", "Subgraph", "ScaledDotProductAttention")
Operators = tuple[tuple[str, str, str], ...]
"""Of a compiled graph: kind, precision, name of the node that it came from."""


def open_openvino(path: Path, *, threads: int = 0, device: str = "cpu", precision: str = "auto") -> Session:
    """Compile a classifier for the CPU, see `Runtime.open`.

    Args:
        path: model.onnx.
        threads: Threads inside an operator; 0 is one per core.
        device: cpu.
        precision: Of what is not integers: "float32", "bfloat16", or "auto" for what OpenVINO finds fastest here.

    Raises:
        InputError: OpenVINO is not installed, or it cannot read the file.
    """
    compiled = compiled_for_cpu(path, threads=threads, precision=precision)
    wanted = [port.get_any_name() for port in compiled.inputs]
    outputs = _check_ends(compiled, wanted, path)
    beside = tuple(name for port in compiled.outputs for name in port.get_names() if name == EXIT)
    request = compiled.create_infer_request()

    def run(batch: Batch) -> dict[str, np.ndarray]:
        ids = batch["input_ids"]
        given = {name: np.ascontiguousarray(batch.get(name, np.zeros_like(ids)), dtype=np.int64) for name in wanted}
        try:
            answers = request.infer(given)
        except Exception as err:  # openvino raises RuntimeError for everything
            refuse_run(err, path, batch)
        logits = as_logits([np.array(answers[name]) for name in outputs])
        return {LOGITS: logits, **{name: np.array(answers[name]) for name in beside}}

    return Session(run, shapes_of(compiled), (LOGITS, *beside), kernels=lambda: kernels_of(operators_of(compiled), path))


def open_graph(path: Path, *, threads: int = 0, precision: str = "auto") -> Session:
    """Compile a file of any ends, see `Runtime.open_graph`."""
    compiled = compiled_for_cpu(path, threads=threads, precision=precision)
    outputs, request = tuple(port.get_any_name() for port in compiled.outputs), compiled.create_infer_request()

    def run(given: Batch) -> dict[str, np.ndarray]:
        results = request.infer(dict(given))
        return {name: np.array(results[name], dtype=np.float32) for name in outputs}

    return Session(run, shapes_of(compiled), outputs, lambda: kernels_of(operators_of(compiled), path))


def shapes_of(compiled: Any) -> dict[str, Dimensions]:
    """Names and shapes of the inputs, None for sizes that are free."""
    return {
        port.get_any_name(): tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
        for port in compiled.inputs
    }


def kernels_of(operators: Operators, path: Path) -> Kernels:
    """What OpenVINO made of a file's operators. It calls the product that gives an output by that, and here it has its own
    name, which an ONNX file tells, and a file of OpenVINO's own (.xml) does not."""
    kernels = counted(operators)
    if path.suffix == ".xml":
        return kernels
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    outputs = {output.name for output in graph.output}
    own = {node.output[0]: node.name.removesuffix(".bias") for node in graph.node if node.output[0] in outputs}
    return Kernels(kernels.integer_ops, kernels.fused_ops, tuple(own.get(name) or name for name in kernels.stayed_float))


def counted(operators: Operators) -> Kernels:
    """Count the operators of a compiled graph: products that run on integers, and what does the work of several."""
    products = [operator for operator in operators if operator[0] in PRODUCTS]
    stayed_float = tuple(name for _, precision, name in products if precision not in INTEGERS)
    return Kernels(len(products) - len(stayed_float), sum(kind in FUSED for kind, _, _ in operators), stayed_float)


def operators_of(compiled: Any) -> Operators:
    """The operators of a compiled model."""
    return tuple(_described(node) for node in compiled.get_runtime_model().get_ordered_ops())


def compiled_for_cpu(path: Path, *, threads: int = 0, precision: str = "auto") -> Any:
    """OpenVINO's own compiled model of an ONNX file, whatever its inputs; see `open_openvino`."""
    RUNTIME.need()
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


def _check_ends(compiled: Any, wanted: list[str], path: Path) -> tuple[str, ...]:
    unknown = [name for name in wanted if name not in INPUTS]
    if unknown:
        raise InputError(f"{path} asks for {', '.join(unknown)}; allowed are inputs {', '.join(INPUTS)}. Export it again.")
    kinds = {name: node.element_type for node in compiled.outputs for name in node.get_names()}
    answers = outputs_among(list(kinds), path)
    for name in answers:
        if not kinds[name].is_real():
            raise InputError(f"{path} gives {name} as {kinds[name].get_type_name()}; floats are needed. Export it again.")
    fixed = [port.get_any_name() for port in compiled.inputs if not all(size.is_dynamic for size in port.partial_shape)]
    if fixed:
        raise InputError(f"{path} fixes the batch or the length of {', '.join(fixed)}; export it with both of them free.")
    return answers


def _described(node: Any) -> tuple[str, str, str]:
    info = node.get_rt_info()
    kind, precision, names = (
        info[key].astype(str) if key in info else "" for key in ("layerType", "runtimePrecision", "originalLayersNames")
    )
    name = names.partition(",")[0].partition("/")[0] or node.get_friendly_name()
    return kind, precision, name.removesuffix(".bias")


RUNTIME = Runtime(
    name="openvino",
    title="OpenVINO",
    package="openvino",
    install="pip install 'bert-compress[openvino]'",
    distributions=("openvino",),
    purpose="runs the openvino targets, the fastest int8 on x86",
    open=open_openvino,
    open_graph=open_graph,
    options={"precision": ("auto", *PRECISIONS)},
    usage=Usage(
        module="openvino",
        opened='model = openvino.Core().compile_model(f"{folder}/model.onnx", "CPU")',
        run="inputs = {item.any_name: np.array(columns[item.any_name], dtype=np.int64) for item in model.inputs}\n"
        "answers = model(inputs)\n[{names}] = (answers[name] for name in {outputs})",
    ),
)
