"""What is each objective of a recipe worth? Run it whole, and once without each.

    python benchmarks/leave_one_out.py recipes/sst2/tinybert.yaml [KEY=VALUE ...] [--only NAME ...] [--seed 13]

Each run leaves out one objective of a `distill` step with several, or a whole step that is not the last, or the copies of
its texts; `--only` tells which objectives and steps. The teacher and all that a variant does not change come from the cache.
Latency is not of interest here, so the benchmark is the smallest one. Writes
benchmarks/results/leave_one_out_<recipe's name>.json: the accuracy of the torch student and of each file on the evaluation
data, with what each variant loses against the whole recipe. One seed tells little about a loss below two points on 872
sentences: the interval is beside it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.benchmark.machine import commit, machine, versions
from compress.pipeline import RunOptions, run
from compress.recipe import Plan, read_recipe
from compress.recipe.plan import Benchmark, Gates
from compress.record import write_whole

RESULTS = Path(__file__).parent / "results"
WHOLE = "whole recipe"


def main() -> None:
    """Run every variant and write what was found."""
    arguments = _arguments()
    plan = replace(read_recipe(arguments.recipe, arguments.overrides), seed=arguments.seed)
    every = list(variants(plan))
    unknown = set(arguments.only) - {left for left, _, _ in every}
    if unknown:
        raise SystemExit(
            f"--only {' '.join(sorted(unknown))}: {plan.name} has nothing of that name to leave out, but "
            f"{', '.join(dict.fromkeys(left for left, _, _ in every if left)) or 'nothing at all'}."
        )
    results = [
        _measured(name, variant, arguments.cache)
        for left, name, variant in every
        if not left or not arguments.only or left in arguments.only
    ]
    whole = results[0]
    for result in results:
        result["lost"] = {name: whole["accuracy"][name] - value for name, value in result["accuracy"].items()}
        shown = ", ".join(f"{name} {100 * value:.1f} %" for name, value in result["accuracy"].items())
        print(f"{result['name']:48} {shown}", flush=True)
    content = {
        "schema": 1,
        "script": "benchmarks/leave_one_out.py",
        "recipe": plan.resolved(),
        "seed": arguments.seed,
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "variants": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"leave_one_out_{plan.name}.json"
    write_whole(path, json.dumps(content, indent=1) + "\n")
    print(f"written: {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the recipe, as bert-compress run takes them")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=(), help="objectives and steps; all where left out")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--cache", type=Path, default=Path("runs") / ".cache")
    return parser.parse_args()


def variants(plan: Plan) -> Iterator[tuple[str, str, Plan]]:
    """The plan, then the plan without each objective, each step of distillation but the last, and each step's copies: what is
    left out (nothing at first), in words, and the plan."""
    yield "", WHOLE, plan
    for place, step in enumerate(plan.steps):
        objectives = step.arguments.get("objectives") or {}
        for name in objectives if len(objectives) > 1 else ():
            left = {other: weight for other, weight in objectives.items() if other != name}
            yield name, f"without {name} in {step.name}", _with(plan, place, objectives=left)
        if objectives and len(plan.steps) > place + 1:
            yield step.name, f"without {step.name}", replace(plan, steps=(*plan.steps[:place], *plan.steps[place + 1 :]))
        if step.arguments.get("augment"):
            yield "copies", f"without copies in {step.name}", _with(plan, place, augment=None)


def _with(plan: Plan, place: int, **changes: Any) -> Plan:
    steps = list(plan.steps)
    steps[place] = replace(steps[place], arguments={**steps[place].arguments, **changes})
    return replace(plan, steps=tuple(steps))


def _measured(name: str, plan: Plan, cache: Path) -> dict[str, Any]:
    least = Benchmark(batch=(1,), length=(8,), threads=(1,), baseline=plan.benchmark.baseline, rounds=1, seconds=0.02)
    plan = replace(plan, benchmark=least, gates=Gates(allow_slower=True))
    with tempfile.TemporaryDirectory() as folder:
        record = run(plan, RunOptions(Path(folder) / "out", cache=cache))
    subjects = record["subjects"]
    return {
        "name": name,
        "accuracy": {subject["name"]: subject["metrics"]["accuracy"] for subject in subjects},
        "ci95": {subject["name"]: subject["metrics_ci95"]["accuracy"] for subject in subjects},
        "steps": [{key: step[key] for key in ("name", "arguments", "key", "status")} for step in record["steps"]],
    }


if __name__ == "__main__":
    main()
