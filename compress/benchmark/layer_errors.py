"""How far an int8 file is from the float file of the same model, layer by layer: where is the error made?"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.benchmark.counts import WORKER, graph_of
from compress.benchmark.parts import EMBEDDINGS, WORDS, part_of
from compress.errors import CompressError
from compress.runtimes.graph_files import is_writer
from compress.runtimes.onnxruntime import feeds, loaded
from compress.runtimes.process import RuntimeProcess

if TYPE_CHECKING:
    from compress.benchmark.subjects import Subject
    from compress.tasks.encoding import Encoded

logger = logging.getLogger(__name__)

EXAMPLES = 16
LARGEST = 1_000_000_000
"""Bytes of a file whose layers are looked at; a larger one would be held in memory twice."""
NORMS = ("LayerNormalization", "SimplifiedLayerNormalization")
"""The operators that end a part of a layer, and whose outputs keep their names when a graph is quantized."""


def layer_errors(
    subjects: Sequence[Subject], entries: Sequence[Mapping[str, Any]], encoded: Mapping[str, Encoded]
) -> dict[str, dict[str, Any]]:
    """Compare each int8 ONNX file with the float one beside it, on real texts.

    Args:
        subjects: What was measured, stored.
        entries: Their entries of run.json.
        encoded: For each name the examples as it reads them.

    Returns:
        For the name of each int8 file {against, examples, layers: [{name, relative_error}]}; none where there is no float
        file whose layers have the same names.
    """
    graphs = [pair for pair in zip(subjects, entries, strict=True) if _is_cheap(*pair)]
    floats = [subject for subject, entry in graphs if not entry["integer_ops"]]
    errors = {}
    for subject, entry in graphs:
        if not entry["integer_ops"] or not floats:
            continue
        try:
            compared = _compared(floats[0], subject, encoded[subject.name])
        except CompressError as err:
            logger.warning("the layers of %s are not compared with those of %s: %s", subject.name, floats[0].name, err)
            continue
        if compared:
            errors[subject.name] = compared
    return errors


def _is_cheap(subject: Subject, entry: Mapping[str, Any]) -> bool:
    path = subject.file
    is_graph = path is not None and path.suffix == ".onnx" and not is_writer(path)
    return is_graph and entry["size_bytes"] <= LARGEST


def _compared(exact: Subject, quantized: Subject, encoded: Encoded) -> dict[str, Any]:
    assert exact.file is not None
    assert quantized.file is not None
    outputs = [norms_of(graph_of(path)) for path in (exact.file, quantized.file)]
    shared = {name: words for name, words in outputs[0].items() if name in outputs[1]}
    chosen = encoded.unwritten.spread(EXAMPLES)
    if not shared:
        return {}
    request = {"do": "layers", "paths": [str(exact.file), str(quantized.file)], "names": list(shared)}
    batch = {name: np.asarray(values, np.int64) for name, values in encoded.unwritten.batch(chosen).items()}
    answer, _ = RuntimeProcess(WORKER).ask(f"comparing the layers of {quantized.file} with {exact.file}", request, batch)
    layers = [{"name": words, "relative_error": error} for words, error in zip(shared.values(), answer["errors"], strict=True)]
    return {"against": exact.name, "examples": len(chosen), "layers": layers}


def norms_of(graph: Any) -> dict[str, str]:
    """What each normalization of a graph ends, by the name of its output, in the order of the graph."""
    ends, seen = {}, 0
    for node in graph.node:
        if node.op_type in NORMS:
            seen += 1
            weight = next((name for name in node.input[1:] if part_of(name)), "")
            part = part_of(weight) or f"normalization {seen}"
            if part in (WORDS, EMBEDDINGS):
                part = "embeddings"
            ends[node.output[0]] = f"{part}, attention" if part.startswith("layer") and "attention" in weight else part
    return ends


def errors_of(paths: Sequence[Path], names: Sequence[str], batch: Mapping[str, np.ndarray]) -> list[float]:
    """Run two files on the same examples, one by one, and compare what they have at tensors of the same names.

    Returns:
        For each name the root of the summed squares of the differences over that of the first file's values. It runs in this
        process: call it in one that can be ended.
    """
    sessions = [_with_outputs(path, names) for path in paths]
    squares = np.zeros((2, len(names)))
    for row, mask in enumerate(batch["attention_mask"]):
        length = int(mask.sum())
        example = {name: values[row : row + 1, :length] for name, values in batch.items()}
        exact, other = (session.run(list(names), feeds(session, example)) for session in sessions)
        for place, (before, after) in enumerate(zip(exact, other, strict=True)):
            difference = np.asarray(after, np.float64) - before
            squares[:, place] += np.square(difference).sum(), np.square(np.asarray(before, np.float64)).sum()
    return [float(error) for error in np.sqrt(squares[0] / np.maximum(squares[1], np.finfo(float).tiny))]


def _with_outputs(path: Path, names: Sequence[str]) -> Any:
    """Open a file that gives these tensors too."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    with tempfile.TemporaryDirectory(prefix="compress-layers-") as room:
        written = Path(room) / "model.onnx"
        onnx.save(model, written)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return loaded(written, options)
