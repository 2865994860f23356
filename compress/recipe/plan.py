"""What a checked recipe says: plain frozen data that the pipeline reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic_core import to_jsonable_python

INPUT_MODEL = "model"
"""How a recipe names the model that it starts from: `teacher: model`, `baseline: model`."""

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Step:
    """One change of the model: a method and its arguments.

    method: a key of METHODS.
    arguments: the method's keyword arguments; with defaults filled in when the signatures were checked.
    name: unique in the recipe; the `as` of the recipe, else the method.
    line: where it stands in the file, counted from 1; 0 when an override gave it.
    index: where it stands in the recipe's list, counted from 0.
    """

    method: str
    arguments: dict[str, Any]
    name: str
    line: int = field(default=0, compare=False)
    index: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Export:
    """One deployed folder: a key of TARGETS and the target's options."""

    target: str
    options: dict[str, Any]
    line: int = field(default=0, compare=False)
    index: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Benchmark:
    """What is timed: every combination of the lists.

    batch: examples in one call.
    length: tokens of each example, padding included.
    threads: threads that the runtime may use inside an operator.
    device: cpu, cuda, cuda:N or mps.
    baseline: the step whose model speed-up and drop are measured against, or 'model' for the input model;
        left out, it is the first trained step.
    rounds: how often every subject is timed, in turn with the others.
    seconds: time spent on one combination of one subject in one round.
    tight: go on with further rounds until every median's 95 % interval ends within this share of it; 0.02 is 2 %.
    most_rounds: where that ends, tight or not; left out, it is four times `rounds`.
    lengths: with `data`, batches of texts as long as those of the evaluation part are timed too, each padded to its longest.
    """

    batch: Counts = (1, 8)
    length: Counts = (32, 128)
    threads: Counts = (1,)
    device: Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:[0-9]+)?)$")] = "cpu"
    baseline: str | None = None
    rounds: Annotated[int, Field(ge=1)] = 5
    seconds: Annotated[float, Field(gt=0)] = 0.5
    tight: Annotated[float, Field(gt=0, lt=1)] | None = None
    most_rounds: Annotated[int, Field(ge=1)] | None = None
    lengths: Literal["data"] | None = None


@dataclass(frozen=True)
class Gates:
    """Limits that every deployed file has to keep; a missed one ends the run with exit code 3.

    max_drop: how much of the task's metric may be lost against the baseline, as a fraction; 0.02 means two points,
        and of a perplexity that it may be a fiftieth higher.
    min_speedup: how many times faster than the baseline the file must be.
    max_p95_ms: 95th percentile of the latency, in milliseconds.
    max_size_bytes: bytes of the deployed model file.
    min_accuracy: the accuracy itself, as a fraction; 0.9 means 90 %.
    min_recall: for labels or types of entities, by name, how much of what is there has to be found; {EMAIL: 0.98} means 98 %.
    allow_slower: let an int8 file pass that is slower on this machine than float32.
    """

    max_drop: Fraction | None = None
    min_speedup: Annotated[float, Field(gt=0)] | None = None
    max_p95_ms: Annotated[float, Field(gt=0)] | None = None
    max_size_bytes: Annotated[int, Field(ge=1)] | None = None
    min_accuracy: Fraction | None = None
    min_recall: Annotated[dict[str, Fraction], Field(min_length=1)] | None = None
    allow_slower: bool = False


@dataclass(frozen=True)
class Plan:
    """A recipe that passed its checks.

    name: safe as a folder name.
    seed: of every random choice.
    model: hub name, folder or `package:NAME`.
    task: a mapping with at least `kind` and `data`.
    path: the file it was read from; None for a text.
    """

    name: str
    seed: int
    model: str
    task: dict[str, Any]
    steps: tuple[Step, ...]
    exports: tuple[Export, ...]
    benchmark: Benchmark = Benchmark()
    gates: Gates = Gates()
    path: Path | None = field(default=None, compare=False)

    def resolved(self) -> dict[str, Any]:
        """Return the recipe as it is run, as plain data that can be read as a recipe again."""
        benchmark = {key: value for key, value in asdict(self.benchmark).items() if value is not None}
        plain = {
            "name": self.name,
            "seed": self.seed,
            "model": self.model,
            "task": self.task,
            "steps": [{step.method: step.arguments, "as": step.name} for step in self.steps],
            "export": [{export.target: export.options} for export in self.exports],
            "benchmark": benchmark,
            "gates": {key: value for key, value in asdict(self.gates).items() if value is not None},
        }
        return to_jsonable_python(plain)
