"""How small does a model of BERT-base's size get when its layers share their weights, and what stays as it was?

    python benchmarks/shared_bert_base.py --data-dir FOLDER

The model has BERT-base's shape and random weights, since sizes do not depend on them. It is exported as it is, with all twelve
layers in one group, and with a factorized word table besides; float and int8. Writes benchmarks/results/shared_bert_base.json:
for each file its bytes, those of the tensors that differ, the memory of a fresh process that answers one text of 128 tokens
with it, in onnxruntime and in OpenVINO, and the multiply-adds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from random_bert_base import SEED, model_and_task, parser, write_result

import compress as cp
from compress.benchmark.counts import onnx_macs
from compress.benchmark.latency import Grid, ask_worker
from compress.benchmark.subjects import subject_of
from compress.targets.onnx.graph import FILE
from compress.training.step_context import StepContext

RESULT = Path(__file__).parent / "results" / "shared_bert_base.json"
LENGTH, GROUP, RANK = 128, 12, 128
LIMIT = 0.25  # of the dense file
LOOSE = {"max_flips": 1.0, "max_relative_error": 10.0}  # random weights answer next to nothing
FILES: dict[str, dict[str, Any]] = {
    "onnxruntime-cpu": {},
    "onnxruntime-cpu-int8": LOOSE,
    "openvino-cpu": {"precision": "float32"},
    "openvino-cpu-int8": LOOSE,
}


def main() -> None:
    """Export every variant, open every file, and write what was found."""
    arguments = parser(__doc__).parse_args()
    model, task = model_and_task(arguments.data_dir)
    run = StepContext(seed=SEED, device="cpu")
    shared = cp.share_layers(model, task=task, group=GROUP, initial="copy", keep_norms=False, run=run)
    variants = {
        "dense": model,
        "one group": shared,
        f"one group, word table at rank {RANK}": cp.factorize_embedding(shared, task=task, rank=RANK, run=run),
    }
    rows = [_row(name, variant, target, task) for name, variant in variants.items() for target in FILES]
    dense = {row["target"]: row["bytes"] for row in rows if row["name"] == "dense"}
    for row in rows:
        row["of_dense"] = row["bytes"] / dense[row["target"]]
        row["fits"] = row["of_dense"] <= LIMIT
        print(
            f"{row['name']:40} {row['target']:22} {row['bytes'] / 1e6:7.1f} MB, {row['of_dense']:.3f} of the dense file, "
            f"{row['peak_memory_bytes'] / 1e6:6.0f} MB in memory, {row['macs'] / 1e9:.2f} G MACs",
            flush=True,
        )
    write_result(RESULT, length=LENGTH, limit=LIMIT, files=rows)


def _row(name: str, model: Any, target: str, task: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        shipped = cp.export(model, Path(folder) / "out", target=target, task=task, **FILES[target])
        file = shipped.path / FILE
        answer = ask_worker(subject_of(shipped.path), Grid(batch=(1,), length=(LENGTH,), samples=1), 1)
        return {
            "name": name,
            "target": target,
            "bytes": file.stat().st_size,
            "distinct_tensor_bytes": sum(4 * parameter.numel() for parameter in model.parameters()),
            "peak_memory_bytes": answer["peak_memory_bytes"],
            "macs": onnx_macs(file, LENGTH),
        }


if __name__ == "__main__":
    main()
