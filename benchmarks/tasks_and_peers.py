"""What do files of every kind of task answer, take and weigh, beside what other tools make of the same models?

    python benchmarks/tasks_and_peers.py prepare --run embeddings=runs/stsb_embedder_half_depth_int8 --run tokens=...
    python benchmarks/tasks_and_peers.py measure [--only embeddings]

A group is a finished run folder of a recipe: `embeddings` (recipes/stsb_embedder/half_depth_int8.yaml), `static`
(recipes/stsb_embedder/static.yaml), `tokens`, `questions`, `sequences` and `reranking` (any of the kind). The same teacher and
student are given to sentence-transformers, model2vec, transformers' exporters and optimum-onnx, each in an environment of its
own under --work. `prepare` makes all files, lets each answer the evaluation part, and scores the answers by the task's own
metric; it goes on where it was stopped, and a file that a tool cannot make is a row that says why (--again tries anew).
`measure` times all files of a group in turn, round after round, each in a fresh process, and needs a quiet machine; it writes
the group into benchmarks/results/tasks_and_peers.json, whose tables `python -m tools.docs` writes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peer_environments import PeerFailed, asked, environment, run
from peer_process import TEXT_RUNTIMES, read_answers
from task_groups import ENVIRONMENTS, GROUPS, SEED, Group, Job

from compress.benchmark.machine import commit, machine, versions
from compress.benchmark.subjects import CONFIG, read_json
from compress.record import write_whole
from compress.statistics import percentile
from compress.tasks.encoding import Gathered

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "tasks_and_peers.json"
PEERS = HERE / "task_peers.py"
SCHEMA, SAMPLES, SECONDS = 1, 40, 0.8
TOOL_ROUNDS = 2
"""In which a file is timed through its tool too, whose process takes long to begin."""
LETTERS = 200
"""Of an error that a row tells."""
Row = dict[str, Any]


def main() -> None:
    """Prepare or measure groups."""
    arguments = _arguments()
    work = Path(arguments.work)
    if arguments.stage == "prepare":
        for given in arguments.run:
            name, _, folder = given.partition("=")
            if name not in GROUPS or not folder:
                raise SystemExit(f"--run is {given!r}; allowed: GROUP=FOLDER with one of {', '.join(GROUPS)}.")
            prepare(Group(name, Path(folder), work / name, arguments.examples), work / "environments", again=arguments.again)
        return
    prepared = [name for name in GROUPS if (work / name / "prepared.json").is_file()]
    for name in arguments.only or prepared:
        measure(read_json(work / name / "prepared.json"), work / "environments", arguments.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stage", choices=["prepare", "measure"])
    parser.add_argument("--run", action="append", default=[], metavar="GROUP=FOLDER", help="a finished run to prepare")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), help="groups to measure; all that are prepared if left out")
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir()) / "tasks_and_peers"), help="environments and files")
    parser.add_argument("--examples", type=int, default=1500, help="measured on at most, of each evaluation part")
    parser.add_argument("--again", action="store_true", help="try again what a tool could not make")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def prepare(group: Group, environments: Path, *, again: bool) -> None:
    """Make every file of a group, let it answer, and write the rows to prepared.json."""
    group.write_inputs()
    rows: list[Row] = []
    theirs: dict[str, dict[str, str]] = {}
    for job in group.jobs():
        made = _made(job, group.work, environments, again)
        scored = Scored(group.work / f"{job.key}-{group.examples}.scores.json")
        if job.environment and made["versions"]:
            theirs[job.environment] = made["versions"]
        for form in made["forms"]:
            if "runtime" in form or "error" in form:
                row = {"model": job.model, "who": job.who, "environment": job.environment, **form}
                row["name"] += job.note
                row |= scored.of(row["name"], lambda row=row: _answered(row, group, environments, is_first=not rows))
                rows.append(row)
                print(f"{group.name}: {_told(row)}", flush=True)
    content = {
        "group": group.name,
        "kind": GROUPS[group.name],
        "recipe": group.record["name"],
        "run": {name: group.record[name] for name in ("commit", "started")} | {"seed": group.record["recipe"]["seed"]},
        "data": group.task.name,
        "examples": len(group.task.evaluation),
        "metric": group.task.metric,
        "batch": group.shape[0],
        "length": group.shape[1],
        "vocabulary": read_json(group.teacher / CONFIG)["vocab_size"],
        "versions": versions(),
        "environments": theirs,
        "rows": rows,
    }
    write_whole(group.work / "prepared.json", json.dumps(content, indent=1) + "\n")


def _made(job: Job, work: Path, environments: Path, again: bool) -> dict[str, Any]:
    """What a job's process answers, or answered before; where it failed as a whole, that is its one form."""
    kept = work / f"{job.key}.json"
    if kept.is_file() and not (again and any("error" in form for form in read_json(kept)["forms"])):
        return read_json(kept)
    print(f"{job.request['make']} of {job.who}, {job.model}", flush=True)
    try:
        made: dict[str, Any] = json.loads(run([_python(job.environment, environments), str(PEERS)], dict(job.request)))
    except PeerFailed as err:
        made = {"versions": {}, "forms": [{"name": job.request["make"].replace("_", " "), "error": last_words(err)}]}
    write_whole(kept, json.dumps(made))
    return made


def _python(name: str, environments: Path) -> str:
    return environment(environments / name, ENVIRONMENTS[name], pinned=False, on_top=True) if name else sys.executable


@dataclass(frozen=True)
class Scored:
    """What was scored of a job's files before; errors are not kept.

    Args:
        path: Where it is written.
    """

    path: Path

    def of(self, name: str, score: Callable[[], Row]) -> Row:
        """What a file's row says besides, as it was scored before or is now."""
        kept = read_json(self.path) if self.path.is_file() else {}
        if name in kept:
            return dict(kept[name])
        row = score()
        if "quality" in row:
            write_whole(self.path, json.dumps(kept | {name: row}))
        return row


def _answered(row: Row, group: Group, environments: Path, *, is_first: bool) -> Row:
    """Score what a row's file answers, and compare it with what the first row's answered."""
    if "error" in row:
        return {}
    rules, targets, metric = group.task.rules, group.encoded.labels, group.task.metric
    try:
        answers = _answers(row, group, environments)
    except PeerFailed as err:
        if is_first:
            raise
        return {"error": last_words(err)}
    if is_first:
        np.save(group.work / "answers.npy", answers)
    quality = rules.judge(answers, targets, metric)
    drop = rules.compare(np.load(group.work / "answers.npy"), answers, targets, metric)["drop"]
    size = sum(Path(file).stat().st_size for file in row["files"])
    return {"size_bytes": size, "quality": {**quality, "drop": drop}}


def _answers(row: Row, group: Group, environments: Path) -> np.ndarray:
    """Let a file answer the evaluation part: through its tool where only that says what its outputs mean."""
    serving = row.get("answers", row)
    answers = group.work / "answers.npz"
    request = {"runtime": serving["runtime"], "path": serving["path"], "how": serving.get("how", ""), "answers": str(answers)}
    of_texts = serving["runtime"] in TEXT_RUNTIMES
    request |= {"texts": str(group.work / "texts.json")} if of_texts else {"batches": str(group.work / "evaluation.npz")}
    asked(_python(row["environment"], environments), 1, request)
    parts = read_answers(answers)
    if of_texts:
        return parts[0]
    gathered = Gathered(group.encoded)
    for batch, outputs in zip(group.batches, parts, strict=True):
        gathered.put(batch, outputs)
    assert gathered.rows is not None
    return gathered.rows


def measure(prepared: dict[str, Any], environments: Path, rounds: int) -> None:
    """Time the files of a group in turn, and write the group into the result."""
    rows = [row for row in prepared["rows"] if "error" not in row]
    subjects = [(row, "p50_ms", "samples", row) for row in rows]
    subjects += [(row, "tool_p50_ms", "tool_samples", row["tool"]) for row in rows if "tool" in row]
    for row, _, samples, _ in subjects:
        row[samples] = []
    for round_ in range(rounds):
        turn = round_ % len(subjects)
        for row, _, samples, serving in subjects[turn:] + subjects[:turn]:
            if samples == "samples" or round_ < TOOL_ROUNDS:
                row[samples] += _timed(row, serving, prepared, environments)
        print(f"{prepared['group']}: round {round_ + 1} of {rounds} is done", flush=True)
    for row, middle, samples, _ in subjects:
        row[middle] = percentile(row[samples], 50)
    content = {name: value for name, value in prepared.items() if name not in ("rows", "group", "vocabulary")}
    measured = {"machine": machine(), "commit": commit(), "rounds": rounds, "threads": 1, "seed": SEED}
    write_group(RESULT, prepared["group"], {**content, **measured, "rows": published(prepared["rows"])})


def _timed(row: Row, serving: Mapping[str, Any], prepared: Mapping[str, Any], environments: Path) -> list[float]:
    request = {
        "runtime": serving["runtime"],
        "path": serving["path"],
        "how": serving.get("how", ""),
        "vocabulary": row.get("vocabulary", prepared["vocabulary"]),
        "shapes": [[prepared["batch"], prepared["length"]]],
        "samples": SAMPLES,
        "seconds": SECONDS,
        "seed": SEED,
    }
    samples: list[float] = asked(_python(row["environment"], environments), 1, request)["samples"][0]
    return samples


def published(rows: list[Row]) -> list[Row]:
    """Rows as the result tells them, without the places of files; the first is what speeds and sizes are told against."""
    kept = ("model", "who", "name", "error", "parameters", "quality", "size_bytes", "p50_ms", "tool_p50_ms")
    entries = []
    for row in rows:
        entry = {name: row[name] for name in kept if name in row}
        if "error" in row:
            entry = {name: value for name, value in entry.items() if name not in ("quality", "size_bytes")}
        if "p50_ms" in row:
            entry["speedup"] = rows[0]["p50_ms"] / row["p50_ms"]
            entry["size_fraction"] = row["size_bytes"] / rows[0]["size_bytes"]
        entries.append(entry | {name: row[name] for name in ("samples", "tool_samples") if name in row})
    return entries


def write_group(path: Path, name: str, group: dict[str, Any]) -> None:
    """Put a group into the result, in the place of what was measured of it before; the others stay as they are."""
    groups = read_json(path)["groups"] if path.is_file() else {}
    groups[name] = group
    content = {
        "schema": SCHEMA,
        "script": "benchmarks/tasks_and_peers.py",
        **{key: group[key] for key in ("machine", "versions", "commit")},
        "groups": {name: groups[name] for name in GROUPS if name in groups},
    }
    write_whole(path, json.dumps(content, indent=1) + "\n")
    print(f"written: {path}, {name}")


def last_words(err: BaseException) -> str:
    """The last line of what a process said before it ended, which names its error."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[-1][:LETTERS] if lines else "it ended without a word"


def _told(row: Row) -> str:
    metric, value = next(iter(row["quality"]["metrics"].items())) if "quality" in row else ("", 0.0)
    said = row.get("error") or f"{metric} {value:.4f}, {row['size_bytes'] / 1e6:.1f} MB"
    return f"{row['model']}, {row['who']}, {row['name']}: {said}"


if __name__ == "__main__":
    main()
