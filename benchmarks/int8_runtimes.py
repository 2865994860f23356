"""How fast and how accurate is int8, on every runtime, beside what other tools make of the same model?

    python benchmarks/int8_runtimes.py MODEL --quantized QUANTIZED --data-dir FOLDER

MODEL is a fine-tuned classifier of SST-2 (runs/sst2_q8bert/steps/1-fine_tune), QUANTIZED the same after `quantize_aware`. The
peers (optimum, NNCF, torchao) are installed into environments of their own under --work. Each subject is timed in a fresh
process, the subjects in turn, round after round, at each number of threads; answers to the whole evaluation set come one by
one, unpadded, and again in batches of 32 padded to the longest. Writes benchmarks/results/int8_runtimes.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peer_environments import asked, environment, run
from peer_process import read_answers, write_batches

import compress as cp
from compress.benchmark.counts import onnx_macs
from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole
from compress.statistics import paired_counts, paired_drop_interval, percentile, wilson_interval

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "int8_runtimes.json"
PEERS = HERE / "int8_peers.py"
SHAPES = [(1, 16), (1, 32), (1, 128), (8, 128), (1, 384)]
BATCH, CALIBRATION, SEED = 32, 300, 13


@dataclass(frozen=True)
class Subject:
    """What is compared: a file or folder, what runs it, and how."""

    name: str
    runtime: str
    path: Path
    how: str = ""
    python: str = sys.executable
    is_timed: bool = True


def main() -> None:
    """Make every subject, let each answer and be timed, hold the results against the bars, and write them."""
    arguments = _arguments()
    work = Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)
    task = cp.task("sst2", data_dir=arguments.data_dir)
    model = cp.load(arguments.model)
    subjects = _subjects(arguments, work, model, task)
    rows = {subject.name: _accuracy(subject, task, model, work) for subject in subjects}
    _compare(rows)
    timed = [subject for subject in subjects if subject.is_timed]
    vocabulary = model.config.vocab_size
    samples = {subject.name: {threads: [[] for _ in SHAPES] for threads in arguments.threads} for subject in timed}
    for round_ in range(arguments.rounds):
        turn = round_ % len(timed)
        for threads in arguments.threads:
            for subject in timed[turn:] + timed[:turn]:
                request = {"vocabulary": vocabulary, "shapes": SHAPES, "samples": 40, "seconds": 0.6, "seed": SEED}
                blocks = _asked(subject, threads, request)["samples"]
                for kept, taken in zip(samples[subject.name][threads], blocks, strict=True):
                    kept += taken
        print(f"round {round_ + 1} of {arguments.rounds} is done", flush=True)
    for name, by_threads in samples.items():
        rows[name]["latency"] = [
            {
                "batch": batch,
                "length": length,
                "threads": threads,
                "p50_ms": percentile(taken, 50),
                "p95_ms": percentile(taken, 95),
                "samples": taken,
            }
            for threads, lists in by_threads.items()
            for (batch, length), taken in zip(SHAPES, lists, strict=True)
        ]
    peak = statistics.median(_peak_gops() for _ in range(5))
    macs = {f"{batch}x{length}": batch * onnx_macs(work / "ours-static" / "model.onnx", length) for batch, length in SHAPES}
    content = {
        "schema": 1,
        "script": "benchmarks/int8_runtimes.py",
        "machine": machine(),
        "versions": versions() | _peer_versions(work),
        "commit": commit(),
        "rounds": arguments.rounds,
        "data": "GLUE SST-2, dev, 872 sentences (no licence stated; Stanford Sentiment Treebank in GLUE, research use)",
        "model": "MiniLM-L6 fine-tuned, seed 13",
        "macs": macs,
        "integer_peak_gops": peak,
        "subjects": list(rows.values()),
        "bars": _bars(rows),
    }
    _tell(content)
    write_whole(RESULT, json.dumps(content, indent=1) + "\n")
    print(f"written: {RESULT}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a folder with a float classifier of SST-2")
    parser.add_argument("--quantized", required=True, help="the same after quantize_aware")
    parser.add_argument("--data-dir", default=os.environ.get("BERT_COMPRESS_DATA"), help="a folder with sst2/train.tsv")
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir()) / "int8_runtimes"), help="environments and files")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    return parser.parse_args()


def _subjects(arguments: argparse.Namespace, work: Path, model: Any, task: Any) -> list[Subject]:
    tools = ["torch", "transformers", "onnxruntime", "openvino", "nncf", "torchao", "safetensors"]
    peers = environment(work / "peers", tools)
    optimum = environment(work / "optimum", ["torch==2.13.*", "optimum-onnx[onnxruntime]==0.1.*"], pinned=False)
    source = cp.save(model, work / "model") if not (work / "model").exists() else work / "model"
    stock = work / "stock"
    if not (stock / "model_quantized.onnx").exists():
        run([optimum, str(PEERS), "stock", str(source), str(stock)])
    calibration = task.encode(task.calibration.take(CALIBRATION), model.tokenizer)
    write_batches(work / "calibration.npz", [calibration.batch([index]) for index in range(len(calibration))])
    run([peers, str(PEERS), "nncf", str(stock / "model.onnx"), str(work / "calibration.npz"), str(work / "nncf.xml")])
    ours = {}
    for name, target, given, options in (
        ("ours-fp32", "onnxruntime-cpu", model, {}),
        ("ours-dynamic", "onnxruntime-cpu-int8", model, {"activations": "dynamic"}),
        ("ours-static", "onnxruntime-cpu-int8", model, {"activations": "static"}),
        ("ours-openvino", "openvino-cpu", model, {}),
        ("ours-openvino-int8", "openvino-cpu-int8", model, {}),
        ("ours-tensorrt", "tensorrt-int8", model, {}),
        ("ours-fp16", "onnxruntime-cuda-fp16", model, {}),
        ("ours-static-q8bert", "onnxruntime-cpu-int8", cp.load(arguments.quantized), {"activations": "static"}),
        ("ours-openvino-int8-q8bert", "openvino-cpu-int8", cp.load(arguments.quantized), {}),
    ):
        if not (work / name).exists():
            cp.export(given, work / name, target=target, task=task, **options)
        ours[name] = work / name / "model.onnx"
    return [
        Subject("torch float32", "torch", source, python=peers),
        Subject("torch bfloat16", "torch", source, "bfloat16", peers),
        Subject("torchao int8", "torch", source, "torchao int8", peers),
        Subject("onnxruntime float32 (optimum)", "onnxruntime", stock / "model.onnx"),
        Subject("onnxruntime dynamic int8 (optimum, avx512_vnni)", "onnxruntime", stock / "model_quantized.onnx"),
        Subject("OpenVINO float32", "openvino", stock / "model.onnx", "f32"),
        Subject("OpenVINO bfloat16", "openvino", stock / "model.onnx", "bf16"),
        Subject("OpenVINO int8 (NNCF)", "openvino", work / "nncf.xml", python=peers),
        Subject("onnxruntime-cpu", "onnxruntime", ours["ours-fp32"]),
        Subject("onnxruntime-cpu-int8, dynamic", "onnxruntime", ours["ours-dynamic"]),
        Subject("onnxruntime-cpu-int8, static", "onnxruntime", ours["ours-static"]),
        Subject("onnxruntime-cpu-int8, static, quantize_aware", "onnxruntime", ours["ours-static-q8bert"]),
        Subject("openvino-cpu", "openvino", ours["ours-openvino"]),
        Subject("openvino-cpu-int8", "openvino", ours["ours-openvino-int8"]),
        Subject("openvino-cpu-int8, quantize_aware", "openvino", ours["ours-openvino-int8-q8bert"]),
        Subject("tensorrt-int8 (run by onnxruntime)", "onnxruntime", ours["ours-tensorrt"], is_timed=False),
        Subject("onnxruntime-cuda-fp16 (run on the CPU)", "onnxruntime", ours["ours-fp16"], is_timed=False),
    ]


def _asked(subject: Subject, threads: int, request: dict[str, Any]) -> dict[str, Any]:
    return asked(
        subject.python, threads, {"runtime": subject.runtime, "path": str(subject.path), "how": subject.how, **request}
    )


def _accuracy(subject: Subject, task: Any, model: Any, work: Path) -> dict[str, Any]:
    """The answers to every sentence alone, and what changes when it stands in a padded batch."""
    encoded = task.encode(task.evaluation.require("evaluation"), model.tokenizer)
    count, longest = len(encoded), int(max(encoded.lengths))
    logits = []
    for name, batches in (
        ("alone", [encoded.batch([index]) for index in range(count)]),
        (
            "padded",
            [encoded.batch(list(range(start, min(start + BATCH, count))), pad_to=longest) for start in range(0, count, BATCH)],
        ),
    ):
        write_batches(work / f"{name}.npz", batches)
        _asked(subject, 2, {"batches": str(work / f"{name}.npz"), "answers": str(work / "answers.npz")})
        logits.append(np.concatenate(read_answers(work / "answers.npz")))
    right = logits[0].argmax(1) == encoded.labels
    files = [subject.path] if subject.path.is_file() else sorted(subject.path.glob("*.safetensors"))
    files += [subject.path.with_suffix(".bin")] if subject.path.suffix == ".xml" else []
    print(f"{subject.name}: {right.mean():.4f}", flush=True)
    return {
        "name": subject.name,
        "accuracy": float(right.mean()),
        "ci95": list(wilson_interval(int(right.sum()), count)),
        "right": right.tolist(),
        "size_bytes": sum(file.stat().st_size for file in files),
        "invariance_flips": int((logits[0].argmax(1) != logits[1].argmax(1)).sum()),
        "largest_change": float(np.abs(logits[0] - logits[1]).max()),
    }


def _compare(rows: dict[str, dict[str, Any]]) -> None:
    baseline = np.array(rows["torch float32"]["right"])
    for row in rows.values():
        lost, won, total = paired_counts(baseline, np.array(row.pop("right")))
        row["drop"] = {"value": (lost - won) / total, "ci95": list(paired_drop_interval(lost, won, total))}


def _peak_gops() -> float:
    """Integer operations a second of one thread in a large product (billions; a multiply-add is two)."""
    import time

    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    size = 1024
    weight = numpy_helper.from_array(np.random.default_rng(0).integers(-127, 127, (size, size)).astype(np.int8), "w")
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [size, size])
    output = helper.make_tensor_value_info("y", TensorProto.INT32, [size, size])
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "peak", [given], [output], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(proto)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = np.random.default_rng(1).integers(0, 255, (size, size)).astype(np.uint8)
    taken = []
    for _ in range(15):
        start = time.perf_counter()
        session.run(None, {"x": values})
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / min(taken) / 1e9


def _peer_versions(work: Path) -> dict[str, str]:
    code = "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in %r}))"
    installed = {}
    for folder, names in (("peers", ["nncf", "torchao"]), ("optimum", ["optimum", "optimum-onnx"])):
        installed |= json.loads(run([str(work / folder / "bin" / "python"), "-c", code % names]))
    return installed


def _middle(row: dict[str, Any], threads: int) -> dict[tuple[int, int], float]:
    return {(timing["batch"], timing["length"]): timing["p50_ms"] for timing in row["latency"] if timing["threads"] == threads}


def _bars(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What was asked for, at one thread."""
    times = {name: _middle(row, 1) for name, row in rows.items() if "latency" in row}
    float32, stock = times["onnxruntime float32 (optimum)"], times["onnxruntime dynamic int8 (optimum, avx512_vnni)"]
    peer, own = times["OpenVINO int8 (NNCF)"], times["openvino-cpu-int8"]
    int8 = [name for name in times if "-cpu-int8" in name]
    best = {shape: max(float32[shape] / times[name][shape] for name in int8) for shape in SHAPES}
    kernels = {name: min(stock[shape] / times[name][shape] for shape in SHAPES) for name in int8 if name.startswith("onnx")}
    most = max(stock[shape] / times[name][shape] for name in kernels for shape in SHAPES)
    beside = min(peer[shape] / own[shape] for shape in SHAPES)
    gain = rows["openvino-cpu-int8"]["accuracy"] - rows["OpenVINO int8 (NNCF)"]["accuracy"]
    size = max(rows[name]["size_bytes"] for name in int8) / rows["onnxruntime-cpu"]["size_bytes"]
    flips = max(rows[name]["invariance_flips"] for name in int8 if "dynamic" not in name)
    limits = [
        ("openvino-cpu-int8 beside NNCF's file, slowest shape", beside, 0.98, True),
        ("openvino-cpu-int8's accuracy less NNCF's", gain, 0.0, True),
        ("fastest file beside onnxruntime float32, 1 x 16", best[1, 16], 2.0, True),
        ("fastest file beside onnxruntime float32, 1 x 128", best[1, 128], 2.8, True),
        ("fastest file beside onnxruntime float32, 8 x 128", best[8, 128], 2.8, True),
        ("onnxruntime-cpu-int8 beside the stock preset, slowest shape and form", min(kernels.values()), 1.0, True),
        ("onnxruntime-cpu-int8 beside the stock preset, best shape", most, 1.2, True),
        ("largest int8 file beside float32", size, 0.27, False),
        ("labels of static files that change in a padded batch", flips, 0, False),
    ]
    return [
        {"name": name, "value": value, "limit": limit, "reached": bool(value >= limit if is_least else value <= limit)}
        for name, value, limit, is_least in limits
    ]


def _tell(content: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in content["subjects"]}
    base = _middle(rows["onnxruntime float32 (optimum)"], 1)
    shapes = " ".join(f"{f'{batch} x {length}':>9}" for batch, length in SHAPES)
    print(f"{'times the speed of onnxruntime float32, 1 thread':52} {shapes}   accuracy  drop   MB  flips")
    for name, row in rows.items():
        own = _middle(row, 1) if "latency" in row else {}
        cells = " ".join(f"{base[shape] / own[shape]:8.2f}x" if own else f"{'-':>9}" for shape in SHAPES)
        print(
            f"{name:52} {cells}   {row['accuracy']:.4f}  {100 * row['drop']['value']:+.2f}  {row['size_bytes'] / 1e6:.1f}  "
            f"{row['invariance_flips']}"
        )
    peak = content["integer_peak_gops"]
    for name in ("onnxruntime-cpu-int8, static", "openvino-cpu-int8"):
        own = _middle(rows[name], 1)
        ratios = ", ".join(
            f"{batch} x {length}: {own[batch, length] / (2 * content['macs'][f'{batch}x{length}'] / peak / 1e6):.2f}"
            for batch, length in SHAPES
        )
        print(f"{name}: times the time of its multiply-adds at the measured integer peak ({peak:.0f} GOP/s): {ratios}")
    for bar in content["bars"]:
        print(f"{'reached' if bar['reached'] else 'MISSED'}: {bar['name']}: {bar['value']:.4g}, asked {bar['limit']:g}")


if __name__ == "__main__":
    main()
