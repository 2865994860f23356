"""onnxruntime: on every CPU, and on NVIDIA GPUs.

Source: https://onnxruntime.ai/docs/api/python/api_summary.html

Imports no torch, and onnxruntime itself when it is first asked for.
"""

from __future__ import annotations

import importlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import InputError, first_line
from compress.run_errors import refuse_out_of_memory, refuse_run
from compress.runtimes.graph_files import is_writer
from compress.runtimes.runtime import (
    EXIT,
    INPUTS,
    LOGITS,
    TASK,
    Kernels,
    Runtime,
    Session,
    Usage,
    Version,
    as_logits,
    outputs_among,
)
from compress.runtimes.writer_files import open_writer

if TYPE_CHECKING:
    import onnx
    import onnxruntime

    from compress.runtimes.runtime import Batch

QUIET = 4
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
UNKNOWN_OPERATOR = "is not a registered function/op"
FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
INTEGER_OPS = frozenset(
    {
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "QLinearMatMul",
        "QGemm",
        "QAttention",
        "QEmbedLayerNormalization",
        "ConvInteger",
        "QLinearConv",
        "DynamicQuantizeLSTM",
        "MatMulNBits",
    }
)
FUSED_OPS = frozenset(
    {
        "Attention",
        "MultiHeadAttention",
        "QAttention",
        "SkipLayerNormalization",
        "EmbedLayerNormalization",
        "QEmbedLayerNormalization",
        "BiasGelu",
        "FastGelu",
        "FusedMatMul",
        "FusedGemm",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "LayerNormalization",
        "Gelu",
    }
)
FLOAT_PRODUCTS = frozenset({"MatMul", "FusedMatMul", "Gemm", "FusedGemm"})


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


def open_classifier(
    path: Path, *, threads: int = 0, device: str = "cpu", fused: bool = True, of_task: int | None = None
) -> Session:
    """Open a classifier, see `Runtime.open`.

    Args:
        path: model.onnx.
        threads: 0 is one per core, which leave the processor to others while they wait; pinned ones, as for timing, do not.
        device: cpu, cuda or cuda:N.
        fused: Let onnxruntime put operators together; off, they run as they are written.
        of_task: Of a file of several tasks, the number of that which answers; the first where it is None.
    """
    if is_writer(path):
        if device != "cpu":
            raise InputError(f"{path} is run on the CPU alone, not on {device}; measure it there.")
        return open_writer(path, partial(open_graph, threads=threads, spinning=threads > 0))
    return _asked(open_session(path, threads=threads, device=device, spinning=threads > 0, fused=fused), path, of_task)


def _asked(session: onnxruntime.InferenceSession, path: Path, of_task: int | None) -> Session:
    """An open file that is asked for one task."""
    names = [output.name for output in session.get_outputs()]
    outputs = outputs_among(names, path)
    beside = tuple(name for name in names if name == EXIT)
    chosen = {} if of_task is None else {TASK: np.array(of_task)}
    has_several = TASK in [node.name for node in session.get_overridable_initializers()]
    if chosen and not has_several:
        raise InputError(f"{path} is a file of one task, so that it has no task {of_task}; ask it without a number.")

    def prepare(batch: Batch, wanted: tuple[str, ...] = outputs) -> Callable[[], list[np.ndarray]]:
        given = {**feeds(session, batch), **chosen}

        def call() -> list[np.ndarray]:
            try:
                arrays: list[np.ndarray] = session.run(wanted, given)
            except Exception as err:  # onnxruntime's errors have no common class of their own
                refuse_run(err, path, batch)
            return arrays

        return call

    def run(batch: Batch) -> dict[str, np.ndarray]:
        arrays = prepare(batch, outputs + beside)()
        return {LOGITS: as_logits(arrays[: len(outputs)]), **dict(zip(beside, arrays[len(outputs) :], strict=True))}

    return Session(
        run,
        shapes_of(session),
        (LOGITS, *beside),
        kernels=lambda: kernels_of(path),
        prepare=prepare,
        of_task=(lambda number: _asked(session, path, number)) if has_several else None,
    )


def open_graph(path: Path, *, threads: int = 0, spinning: bool = True) -> Session:
    """Open a file of any ends on the CPU, see `Runtime.open_graph`; `spinning` as in `open_session`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    session = loaded(path, options)
    names = tuple(output.name for output in session.get_outputs())
    return Session(
        lambda given: dict(zip(names, session.run(names, dict(given)), strict=True)),
        shapes_of(session),
        names,
        lambda: kernels_of(path),
    )


def shapes_of(session: onnxruntime.InferenceSession) -> dict[str, tuple[int | None, ...]]:
    """Names and shapes of the inputs, None for sizes that are free."""
    return {node.name: tuple(size if isinstance(size, int) else None for size in node.shape) for node in session.get_inputs()}


def open_session(path: Path, *, threads: int = 0, device: str = "cpu", spinning: bool = True, fused: bool = True) -> Any:
    """Open an ONNX file with pinned threads, quietly.

    Args:
        path: model.onnx.
        threads: Threads inside an operator; 0 is one per core. Operators run one after the other.
        device: cpu, cuda or cuda:N.
        spinning: Let idle threads wait busily, which is onnxruntime's default; off, they leave the processor to others.
        fused: Let onnxruntime put operators together; off, they run as they are written.

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
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
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
        reason = first_line(err)
        raise InputError(f"{path} cannot be loaded by onnxruntime: {reason}. Export the model again{cure}.") from err


def providers(device: str) -> list[Any]:
    """The execution providers for a device."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    number = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def check_inputs(session: onnxruntime.InferenceSession, path: Path) -> None:
    """Raise InputError when a file asks for inputs that the toolkit cannot give, or has no answers of floats."""
    wrong = [
        f"{node.name} {node.type}" for node in session.get_inputs() if node.name not in INPUTS or node.type not in INTEGERS
    ]
    if wrong:
        raise InputError(
            f"{path} asks for {', '.join(wrong)}; allowed are integer inputs {', '.join(INPUTS)}. Export it again."
        )
    answers = outputs_among([output.name for output in session.get_outputs()], path)
    kinds = {output.name: output.type for output in session.get_outputs()}
    for name in answers:
        if kinds[name] not in FLOATS:
            raise InputError(f"{path} gives {name} as {kinds[name]}; allowed: {', '.join(FLOATS)}. Export it again.")


def feeds(session: onnxruntime.InferenceSession, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pick the inputs that the file asks for, in its types; token types that are missing are zeros."""
    ids = batch["input_ids"]
    chosen = {}
    for node in session.get_inputs():
        values = batch[node.name] if node.name in batch else np.zeros_like(ids)
        chosen[node.name] = np.ascontiguousarray(values, dtype=INTEGERS[node.type])
    return chosen


def kernels_of(path: Path) -> Kernels:
    """What onnxruntime makes of a file's operators on the CPU."""
    graph = running_graph(path)
    operators = Counter(node.op_type for node in nodes_in(graph))
    integer_ops, fused_ops = (sum(operators[op] for op in ops) for ops in (INTEGER_OPS, FUSED_OPS))
    return Kernels(integer_ops, fused_ops, float_products(graph))


def running_graph(path: Path) -> onnx.GraphProto:
    """The graph that onnxruntime really runs on the CPU: after its own fusions."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="compress-graph-") as folder:
        options, written = onnxruntime.SessionOptions(), Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(written)
        loaded(path, options)
        return onnx.load(written, load_external_data=False).graph


def float_products(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Names of the products of floats with constant weights, as they were before onnxruntime fused them."""
    nodes = list(nodes_in(graph))
    graphs = [graph, *(attribute.g for node in nodes for attribute in node.attribute)]
    weights = {tensor.name for part in graphs for tensor in part.initializer if len(tensor.dims) == 2}
    weights |= {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    products = (node.name for node in nodes if node.op_type in FLOAT_PRODUCTS and node.input[1] in weights)
    return tuple(name.removeprefix("fused ").partition("/")[0] for name in products)


def nodes_in(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, and of the branches in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes_in(attribute.g)


WRITING = """\
import json
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = {folder!r}
reader, writer = (Tokenizer.from_file(f"{{folder}}/{{name}}.json") for name in ("tokenizer", "decoder_tokenizer"))
reader.enable_truncation({max_length})
encoder, decoder = (
    onnxruntime.InferenceSession(f"{{folder}}/{{name}}.onnx", providers=["CPUExecutionProvider"])
    for name in ("encoder", "decoder")
)
with open(f"{{folder}}/generation_config.json", encoding="utf-8") as file:
    numbers = json.load(file)

encoding = reader.encode("A man sleeps in a green room.")
columns = {{"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}}
read = {{item.name: np.array([columns[item.name]], dtype=np.int64) for item in encoder.get_inputs()}}
known = dict(zip([item.name for item in encoder.get_outputs()], encoder.run(None, read)))
known["attention_mask"] = read["attention_mask"]
past = {{
    item.name: np.zeros((1, item.shape[1], 0, item.shape[3]), dtype=np.float32)
    for item in decoder.get_inputs()
    if item.name.startswith("past.")
}}
ids = [numbers["decoder_start_token_id"]]
while len(ids) < numbers["max_length"] and (len(ids) == 1 or ids[-1] != numbers["eos_token_id"]):
    given = {{"decoder_input_ids": np.array([ids[-1:]], dtype=np.int64), **known, **past}}
    outputs = dict(zip([item.name for item in decoder.get_outputs()], decoder.run(None, given)))
    past = {{name.replace("present.", "past."): state for name, state in outputs.items() if name.startswith("present.")}}
    ids.append(int(outputs["logits"][0, -1].argmax()))  # greedily; compress.TextWriter has beams
print(writer.decode(ids))"""


def diagnose(version: Version) -> tuple[str, str]:
    """What is installed, see `Runtime.diagnose`; it is imported, since its devices are told by nothing else."""
    installed = {name: release for name in RUNTIME.distributions if (release := version(name))}
    if not installed:
        return "missing", f"needed to export and measure: {RUNTIME.install}"
    value = ", ".join(number if name == "onnxruntime" else f"{name} {number}" for name, number in installed.items())
    try:
        available = importlib.import_module("onnxruntime").get_available_providers()
    except Exception as err:  # a broken installation is what is looked for here
        return value, f"cannot be imported ({err}); install it again: pip install --force-reinstall onnxruntime"
    value += f" ({', '.join(name.removesuffix('ExecutionProvider') for name in available)})"
    if len(installed) > 1:
        return value, "two packages share one folder and overwrite each other: uninstall both, then install the one you need"
    has_cuda = "CUDAExecutionProvider" in available
    return value, "runs on CPU and GPU" if has_cuda else "runs on the CPU; for a GPU install onnxruntime-gpu in its place"


RUNTIME = Runtime(
    name="onnx",
    title="onnxruntime",
    package="onnxruntime",
    install="pip install onnxruntime",
    distributions=("onnxruntime", "onnxruntime-gpu"),
    purpose="runs the onnxruntime targets",
    open=open_classifier,
    open_graph=open_graph,
    devices=("cpu", "cuda"),
    check_device=check_onnx_device,
    usage=Usage(
        module="onnxruntime",
        opened='session = onnxruntime.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])',
        run="inputs = {item.name: np.array(columns[item.name], dtype=np.int64) for item in session.get_inputs()}\n"
        "[{names}] = session.run({outputs}, inputs)",
        loaded_by="optimum's `ORTModelFor{head}` and transformers' `ExportedModel`",
        writing=WRITING,
    ),
    tag="onnxruntime",
    instead="",
    diagnose=diagnose,
)
