"""What do exits gain over the same student without them, as files?

    python benchmarks/early_exit.py RUN --data-dir FOLDER

RUN is a finished run of recipes/sst2/early_exit_int8.yaml (runs/sst2_early_exit_int8). Its last two steps, the student and the
student with exits, are exported for each target, and both files are measured beside each other: accuracy on the evaluation
part, and the mean time of real texts, one at a time, in fresh processes, round after round. Writes
benchmarks/results/early_exit.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import compress as cp
from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole

RESULT = Path(__file__).parent / "results" / "early_exit.json"
TARGETS = ("onnxruntime-cpu", "onnxruntime-cpu-int8")
KEPT = ("metrics", "metrics_ci95", "drop", "agreement", "size_bytes", "exits", "texts")
"""Of what is measured."""
WITHOUT, WITH = "without exits", "with exits"


def main() -> None:
    """Export, measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder of a run whose last two steps are a student and early_exit")
    parser.add_argument("--data-dir", default=os.environ.get("BERT_COMPRESS_DATA"), help="a folder with sst2/train.tsv")
    parser.add_argument("--rounds", type=int, default=5, help="how often each file gets its turn")
    arguments = parser.parse_args()
    task = cp.task("sst2", data_dir=arguments.data_dir)
    without, with_exits = _last_steps(arguments.run)
    rows = [row for target in TARGETS for row in _rows(without, with_exits, task, target, arguments.rounds)]
    content = {
        "schema": 1,
        "script": "benchmarks/early_exit.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": "MiniLM of three layers, distilled on SST-2",
        "data": "GLUE SST-2 (no licence stated; Stanford Sentiment Treebank in GLUE, research use)",
        "rows": rows,
    }
    write_whole(RESULT, json.dumps(content, indent=1) + "\n")
    print(f"written: {RESULT}")


def _last_steps(run: Path) -> tuple[Path, Path]:
    """The folders of the student and of the student with exits."""
    folders = sorted((run / "steps").iterdir(), key=lambda folder: int(folder.name.partition("-")[0]))
    return folders[-2], folders[-1]


def _rows(without: Path, with_exits: Path, task: Any, target: str, rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as room:
        files = []
        for name, folder in ((WITHOUT, without), (WITH, with_exits)):
            files.append(cp.export(cp.load(folder), Path(room) / name, target=target, task=task))
        measured = cp.measure(files, task=task, batch=[1], length=[32], threads=[1], rounds=rounds, baseline=WITHOUT)
    rows = []
    for subject in measured.subjects:
        kept = {key: subject.get(key) for key in KEPT}
        rows.append({"target": target, "name": subject["name"], **kept})
        row = subject["texts"][0]
        print(
            f"{target}, {subject['name']}: accuracy {subject['metrics']['accuracy']:.4f}, {row['mean_ms']:.3f} ms a text, "
            f"{row['speedup']:.2f} times as fast",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    main()
