"""Set every recorded student of a task beside the published ones: what it retains of its teacher, and at which cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress import record
from compress.measures import is_less_better
from compress.record import MISSING, finite, part
from tools.front_svg import SHARES, SPEEDUPS, Axis, Mark, draw_front
from tools.published import PUBLISHED, Published
from tools.tables import Run, check_one_machine, mean_of, place_of, read_folder, spread

Ratios = tuple[float | None, ...]
FIGURES = (("front.svg", SHARES, "multiply-adds"), ("front_speed.svg", SPEEDUPS, "speed-up"))


@dataclass(frozen=True)
class Student:
    """A file that a recipe exports, over the recipe's seeds.

    Args:
        recipe: The name of its results file, without .json.
        file: The subject's name.
        is_shipped: Whether it is the last one of the recipe.
        retentions: Accuracy over the teacher's, each seed's; None where one is missing.
        float_retentions: The same of the recipe's float file; empty when there is none beside this one.
        macs_share: What the torch student multiplies over what the torch teacher does, mean, or None.
        size_bytes: Mean, or None.
        speedup: Against the torch teacher at the main setting, mean, or None.
        seeds: As text.
        place: Machine and setting of the speed-up.
    """

    recipe: str
    file: str
    is_shipped: bool
    retentions: Ratios
    float_retentions: Ratios
    macs_share: float | None
    size_bytes: float | None
    speedup: float | None
    seeds: tuple[str, ...]
    place: str


def front_block(folder: Path, link: str) -> tuple[str, dict[str, str]]:
    """Lay out the overview of a folder of results.

    Args:
        folder: Holds results files of one task.
        link: Where the folder lies, as seen from the page.

    Returns:
        The Markdown, and the figures that it shows, SVGs by the names of their files in the folder: what is retained against
        multiply-adds, and against speed-up.

    Raises:
        InputError: The folder holds no results, or a file in it is damaged or tells of several machines or tasks.
    """
    recorded = read_folder(folder)
    runs = [run for group in recorded.values() for run in group]
    students = sorted(
        (student for name, group in recorded.items() for student in students_of(name, group)),
        key=lambda student: (-(student.macs_share or 0), student.recipe, student.file),
    )
    task, metric = str(part(runs[0], "data").get("name") or MISSING), record.metric_of(runs[0])
    papers = sorted(PUBLISHED.get(task, ()), key=lambda paper: -(paper.macs_share or 0))
    examples = {finite(part(part(part(run, "data"), "splits"), "evaluation").get("examples")) for run in runs}
    figures, shown = {}, []
    for name, axis, against in FIGURES:
        title = f"{metric.capitalize()} retained on {task} against {against}"
        shown.append(f"![{record.markdown_text(title)}]({link}/{name})")
        figures[name] = draw_front(_marks(students, papers, axis), title, axis)
    parts = [*shown, students_table(students), _origin(students, task, metric, examples)]
    if papers:
        parts += [published_table(papers), _sources(papers)]
    return "\n\n".join(parts), figures


def students_of(recipe: str, runs: Sequence[Run]) -> list[Student]:
    """One student for each int8 file of a recipe, or its last subject where it exports none.

    Args:
        recipe: Its name.
        runs: Its seeds, at least one; the first subject of each is the teacher.

    Raises:
        InputError: They were measured on several machines.
    """
    check_one_machine(runs)
    setting, shipped = record.main_setting(runs[0]), record.name_of(record.subjects_of(runs[0])[-1])
    exported = {
        record.name_of(subject): str(subject.get("target") or "")
        for run in runs
        for subject in record.subjects_of(run)
        if subject.get("kind") != "torch"
    }
    integer = [name for name, target in exported.items() if "int8" in target]
    floats = [name for name in exported if name not in integer]
    share = mean_of([_macs_share(run) for run in runs])
    students = []
    for name in integer or [shipped]:
        subjects = [_subject(run, name) for run in runs]
        speedups = [
            record.speedup_at(subject, record.subjects_of(run)[0], setting)
            for subject, run in zip(subjects, runs, strict=True)
        ]
        students.append(
            Student(
                recipe,
                name,
                name == shipped,
                tuple(_retention(run, name) for run in runs),
                tuple(_retention(run, floats[0]) for run in runs) if floats and floats[0] != name else (),
                share,
                mean_of([subject.get("size_bytes") for subject in subjects]),
                mean_of(speedups),
                tuple(str(part(run, "recipe").get("seed", MISSING)) for run in runs),
                place_of(runs[0], setting),
            )
        )
    return students


def _subject(run: Run, name: str) -> dict[str, Any]:
    return next((subject for subject in record.subjects_of(run) if record.name_of(subject) == name), {})


def _retention(run: Run, name: str) -> float | None:
    metric = record.metric_of(run)
    own, teacher = (
        finite(part(subject, "metrics").get(metric)) for subject in (_subject(run, name), record.subjects_of(run)[0])
    )
    if own is None or not teacher:
        return None
    return teacher / own if is_less_better(metric) else own / teacher


def _macs_share(run: Run) -> float | None:
    """The last torch model's over the teacher's: both count every layer whole, which the exported file need not compute."""
    subjects = record.subjects_of(run)
    last = [subject for subject in subjects if subject.get("kind") == "torch"][-1:]
    own, teacher = (finite(subject.get("macs")) for subject in (*(last or [{}]), subjects[0]))
    return None if own is None or not teacher else own / teacher


def students_table(students: Sequence[Student]) -> str:
    """One row for each file."""
    head = ["recipe", "file", "MACs, % of teacher's", "retention, %", "float file's, %", "MB", "speed-up", "seeds"]
    return record.markdown_table(
        head,
        [
            [
                student.recipe,
                student.file,
                share_text(student.macs_share),
                spread(student.retentions),
                spread(student.float_retentions),
                MISSING if student.size_bytes is None else record.number(student.size_bytes / 1e6, 1),
                record.times(student.speedup),
                ", ".join(student.seeds) + (" only" if len(student.seeds) == 1 else ""),
            ]
            for student in students
        ],
    )


def published_table(papers: Sequence[Published]) -> str:
    """One row for each published student."""
    head = ["published student", "arXiv", "GLUE", "MACs, % of teacher's", "retention, %", "accuracy, %", "speed-up"]
    return record.markdown_table(
        head,
        [
            [
                paper.name,
                paper.source,
                paper.split,
                share_text(paper.macs_share) + (" ({:g} of {:g} {})".format(*paper.work) if paper.work else ""),
                record.points(paper.retention),
                f"{paper.accuracy:.1f} of {paper.teacher}'s {paper.teacher_accuracy:.1f}",
                record.times(paper.speedup),
            ]
            for paper in papers
        ],
    )


def share_text(share: float | None) -> str:
    """A share in percent to three digits, without trailing zeros: "50", "5.33", "0.0021"."""
    if not share:
        return MISSING if share is None else "0"
    digits = max(0, 2 - math.floor(math.log10(share * 100)))
    text = f"{share * 100:.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def _origin(students: Sequence[Student], task: str, metric: str, examples: set[float | None]) -> str:
    """What the numbers are, and where they were measured."""
    places: dict[str, list[str]] = {}
    for student in students:
        if student.speedup is not None and student.recipe not in places.setdefault(student.place, []):
            places[student.place].append(student.recipe)
    machines = [place + (f" ({', '.join(names)})" if len(places) > 1 else "") for place, names in places.items()]
    is_known = len(examples) == 1 and None not in examples
    size = f", {record.number(next(iter(examples)), 0)} examples" if is_known else ""
    text = (
        f"Retention: the file's {metric} over that of its fine-tuned torch teacher in the same run, on the evaluation data of "
        f"{task}{size}; means over the seeds, in brackets the lowest and the highest. MACs: the torch student's over the "
        "teacher's, every layer counted whole."
    )
    text += f" Speed-up: the file against the torch teacher on {'; '.join(machines)}." if machines else ""
    return record.markdown_text(text)


def _sources(papers: Sequence[Published]) -> str:
    """What a reader of the published figures must know."""
    notes: dict[str, list[str]] = {}
    for paper in papers:
        if paper.note:
            notes.setdefault(paper.note, []).append(paper.name)
    text = (
        "Not measured here: each is as its source states it, of another teacher than ours, and dev does not compare with "
        "test; speed-ups are against BERT-base, each on its paper's device."
    )
    text += "".join(f" {' and '.join(names)}: {note}." for note, names in notes.items())
    return record.markdown_text(text)


def _marks(students: Sequence[Student], papers: Sequence[Published], axis: Axis) -> list[Mark]:
    """What a figure draws: of each recipe the file that it ships, and the papers that state what the axis shows."""
    marks = []
    for student in students:
        middle, at = mean_of(student.retentions), student.speedup if axis is SPEEDUPS else _percent(student.macs_share)
        if student.is_shipped and middle is not None and at is not None:
            ends = [value for value in student.retentions if value is not None]
            tip = f"{student.recipe}, {student.file}: {spread(student.retentions)} %"
            marks.append(Mark(student.recipe, "ours", at, middle * 100, min(ends) * 100, max(ends) * 100, tip))
    for paper in papers:
        at = paper.speedup if axis is SPEEDUPS else _percent(paper.macs_share)
        if at is not None:
            tip = f"{paper.name}, arXiv {paper.source}, {paper.split}: {record.points(paper.retention)} %"
            marks.append(Mark(paper.name, paper.split, at, paper.retention * 100, None, None, tip))
    return marks


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100
