"""Write the model card of a run: what was made, how good it is, how it was made, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import record
from compress.facts import FACTS, MANIFEST
from compress.measures import is_less_better
from compress.record import MISSING, finite, interval, part
from compress.reporting.card_example import example_text
from compress.reporting.leaving import early_sentence
from compress.reporting.reading import rules_of
from compress.runtimes.runtime import Runtime
from compress.runtimes.table import RUNTIMES, is_exported, load_runtime

CARD = "README.md"
TAGS = ("bert", "model-compression", "knowledge-distillation", "quantization")
COLUMNS = ("model", "drop, points", "95 % interval", "size", "p50", "speed-up")
LABEL_SCORES = ("precision", "recall", "f1")
MOST_CLASSES = 40
TORCH_EXAMPLE = """\
```python
import compress

model = compress.load({folder!r})
inputs = model.tokenizer(["the first sentence", "and a second one"], padding=True, return_tensors="pt")
print(model(**inputs).logits)
```"""


def write_card(run: Mapping[str, Any], folder: Path) -> Path:
    """Write `folder`/README.md whole or not at all.

    Args:
        run: The content of run.json, schema 1; keys that are missing leave their lines out or show as a dash.
        folder: An existing folder.

    Raises:
        CompressError: The disk is full, or may not be written to.
    """
    path, shipped = folder / CARD, folder / _place(run)
    known = not shipped.is_dir() or (shipped / MANIFEST).is_file()
    record.write_whole(path, card_text(run, known_to_transformers=known))
    return path


def card_text(run: Mapping[str, Any], *, known_to_transformers: bool = True) -> str:
    """The model card of a run as Markdown, with the header that the hub reads.

    Args:
        run: The content of run.json.
        known_to_transformers: Whether what is deployed is of a family that transformers has a class for.
    """
    name = str(run.get("name") or "run")
    parts = [
        f"---\n{_header(run, name)}\n---\n\n# {record.markdown_text(name)}",
        _what(run),
        _results(run),
        making_text(run),
        data_text(run),
        _usage(run, known_to_transformers),
        _limits(run),
    ]
    return "\n\n".join(text for text in parts if text) + "\n"


def _header(run: Mapping[str, Any], name: str) -> str:
    from huggingface_hub import ModelCardData

    rules = rules_of(run)
    runtime = _runtime(_shipped(run))
    tags = [*tags_of(run), *([runtime.tag] if runtime is not None and runtime.tag else [])]
    results = eval_results(run, part(_shipped(run), "metrics"))
    header = ModelCardData(
        library_name="onnx" if _is_exported(run) else "transformers",
        pipeline_tag=rules.pipeline_tag,
        tags=tags,
        model_name=name,
        eval_results=results or None,
    )
    return str(header.to_yaml())


def tags_of(run: Mapping[str, Any]) -> list[str]:
    """What the hub finds a model by: its task, and what was done to it."""
    always = ("bert", "model-compression")
    return [rules_of(run).pipeline_tag, *(tag for tag in TAGS if tag in always or _says(run, tag))]


def _says(run: Mapping[str, Any], tag: str) -> bool:
    """Whether the run did what a tag claims."""
    methods = {step.get("method") for step in run.get("steps") or []}
    shipped = _shipped(run)
    claims = {
        "knowledge-distillation": "distill" in methods,
        "quantization": bool(finite(shipped.get("integer_ops"))),
    }
    return claims[tag]


def eval_results(run: Mapping[str, Any], scores: Mapping[str, Any]) -> list[Any]:
    """Scores on the run's data, as the hub reads them from a card's header."""
    from huggingface_hub import EvalResult

    data = str(part(run, "data").get("name") or "")
    if not data:
        return []
    return [
        EvalResult(
            task_type=rules_of(run).pipeline_tag,
            dataset_type=data,
            dataset_name=data,
            metric_type=metric,
            metric_value=round(value, 5),
        )
        for metric, score in scores.items()
        if (value := finite(score)) is not None
    ]


def _shipped(run: Mapping[str, Any]) -> dict[str, Any]:
    subjects = record.subjects_of(run)
    return subjects[-1] if subjects else {}


def _is_exported(run: Mapping[str, Any]) -> bool:
    return is_exported(_shipped(run).get("kind"))


def _what(run: Mapping[str, Any]) -> str:
    shipped, labels = _shipped(run), part(run, "data").get("labels") or []
    model = part(run, "recipe").get("model")
    sentence = f"A small {rules_of(run).sentence(labels)}"
    if model:
        sentence += f", made from {_code(model)} with bert-compress"
    size = record.megabytes(shipped.get("size_bytes"))
    if size != MISSING:
        sentence += f". What is deployed, {_code(record.name_of(shipped))}, takes {size}"
    return sentence + "."


def _code(text: Any) -> str:
    """A text as code on one line."""
    return f"`{' '.join(str(text).split()).replace('`', chr(39))}`"


def _results(run: Mapping[str, Any]) -> str:
    subjects = record.subjects_of(run)
    if not subjects:
        return ""
    metric, setting = record.metric_of(run), record.main_setting(run)
    rows = []
    for index, subject in enumerate(subjects):
        drop = part(subject, "drop")
        ends = interval(drop.get("ci95"))
        rows.append(
            [
                record.name_of(subject),
                record.score(metric, part(subject, "metrics").get(metric)),
                record.points(drop.get("value")) if index else MISSING,
                f"{record.points(ends[0])} to {record.points(ends[1])}" if ends and index else MISSING,
                record.megabytes(subject.get("size_bytes")),
                record.milliseconds(record.latency_at(subject, setting).get("p50_ms")),
                record.times(record.speedup_at(subject, subjects[0], setting)),
            ]
        )
    what = f"the percentage by which {metric} is higher than" if is_less_better(metric) else f"the loss of {metric} against"
    text = f"The drop is {what} {_code(record.name_of(subjects[0]))} on the same examples."
    if setting is not None:
        cpu = part(run, "machine").get("gpu" if setting[0].startswith("cuda") else "cpu") or "an unknown machine"
        text += f" Latency is for {record.setting_words(setting)}, on {record.markdown_text(cpu)}."
    shipped = subjects[-1]
    claim = record.within(metric, part(shipped, "drop").get("ci95")) if len(subjects) > 1 else ""
    text += f" {_code(record.name_of(shipped))} is {claim}." if claim else ""
    text += _other_scores(shipped, metric) + _further(subjects, metric) + _by_label(shipped) + _reliability(shipped)
    text += early_sentence(shipped)
    return f"## Results\n\n{record.markdown_table([COLUMNS[0], metric, *COLUMNS[1:]], rows)}\n\n{text}"


def _further(subjects: Sequence[dict[str, Any]], metric: str) -> str:
    """What is deployed on the rows that were kept apart of the training data, where the task has them."""
    further = part(subjects[-1], "further")
    if not further:
        return ""
    ends = interval(part(further, "metrics_ci95").get(metric))
    text = (
        f"\n\nOn {record.number(further.get('examples'), 0)} further rows, kept apart of the training data with all rows that "
        f"contain one of them, stand in one or nearly copy one, {_code(record.name_of(subjects[-1]))} reaches "
        f"{record.score(metric, part(further, 'metrics').get(metric))} {metric}"
    )
    text += f" (95 % interval {record.between(metric, ends)}{record.unit_of(metric)})" if ends else ""
    if len(subjects) > 1:
        text += f"; the drop there is {record.points(part(further, 'drop').get('value'))} points"
    return text + "."


def _by_label(shipped: Mapping[str, Any]) -> str:
    """Each label's own scores, of what is deployed."""
    by_label = part(shipped, "by_label")
    if not by_label or len(by_label) > MOST_CLASSES:
        return ""
    rows = [
        [name, record.number(scores.get("support"), 0), *(record.percent(scores.get(key)) for key in LABEL_SCORES)]
        for name, scores in by_label.items()
    ]
    return (
        f"\n\nBy label, {_code(record.name_of(shipped))}:\n\n{record.markdown_table(['label', 'there', *LABEL_SCORES], rows)}"
    )


def _other_scores(shipped: Mapping[str, Any], metric: str) -> str:
    """The scores beside the one that decides, of what is deployed."""
    others = [
        f"{record.markdown_text(name)} {record.score(name, score)}"
        for name, score in part(shipped, "metrics").items()
        if name != metric
    ]
    return f"\n\nOther scores of {_code(record.name_of(shipped))}: {', '.join(others)}." if others else ""


def _reliability(shipped: Mapping[str, Any]) -> str:
    """How far the probabilities of what is deployed are from what happens."""
    ece = part(shipped, "reliability").get("ece")
    return (
        f"\n\nProbabilities of {_code(record.name_of(shipped))} are {record.points(ece)} points off on average (expected "
        "calibration error, 15 bins)."
        if finite(ece) is not None
        else ""
    )


def making_text(run: Mapping[str, Any], where: str = "`run.json` holds the whole recipe and every number.") -> str:
    """The steps that made the model; `where` tells where more is told."""
    lines = []
    for number, step in enumerate(run.get("steps") or [], 1):
        arguments = ", ".join(f"{key}={value!r}" for key, value in part(step, "arguments").items())
        before, after = step.get("parameters_before"), step.get("parameters")
        method = step.get("method") or record.name_of(step)
        line = f"{number}. {_code(f'{method}({arguments})')}"
        if finite(after) is not None and before != after:
            line += f": {record.count(before)} to {record.count(after)} parameters"
        lines.append(line)
    seed = part(run, "recipe").get("seed")
    end = f"Seed {seed}. " if seed is not None else ""
    end += where if lines else ""
    return "\n".join(["## How it was made", "", *lines, "", end.strip()]) if lines else ""


def data_text(run: Mapping[str, Any]) -> str:
    """The data that it was made and measured on."""
    data = part(run, "data")
    if not data:
        return ""
    source, licence = data.get("source"), data.get("licence")
    lines = [
        f"- name: {record.markdown_text(data.get('name') or MISSING)}",
        f"- source: {record.markdown_text(source) if source else 'not stated'}",
        f"- licence: {record.markdown_text(licence) if licence else 'not stated; ask the source before you redistribute'}",
    ]
    counts = {role: part(part(data, "splits"), role).get("examples") for role in part(data, "splits")}
    examples = ", ".join(f"{role} {record.number(count, 0)}" for role, count in counts.items())
    return "\n".join(["## Data", "", *lines, *([f"- examples: {examples}"] if examples else [])])


def _place(run: Mapping[str, Any]) -> str:
    """Where in the run's folder the exported folder lies."""
    shipped = _shipped(run)
    return f"export/{shipped.get('target') or shipped.get('name')}"


def _usage(run: Mapping[str, Any], known_to_transformers: bool) -> str:
    data, shipped = part(run, "data"), _shipped(run)
    if _is_exported(run):
        runtime = _runtime(shipped)
        text, example = _needs(run, known_to_transformers), "" if runtime is None else example_text(run, runtime, _place(run))
    else:
        steps = run.get("steps") or []
        if not steps or not shipped:
            return ""
        text = "The folder loads with bert-compress."
        example = TORCH_EXAMPLE.format(folder=f"steps/{len(steps)}-{steps[-1].get('method')}")
        if rules_of(run).head.writes:
            text, example = f"{text[:-1]}, and as transformers' `EncoderDecoderModel`.", ""
    return "\n\n".join(["## How to use it", text, *_joining(part(data, "joined")), *([example] if example else [])])


def _joining(joined: Mapping[str, Any]) -> list[str]:
    """How texts are joined of several columns, where they are."""
    between = _code(json.dumps(joined.get("separator"), ensure_ascii=False))
    return [
        f"What it reads as the {what} is joined of {', '.join(map(_code, joined[role]))}, in this order, with {between} "
        "between them; empty ones are left out."
        for role, what in (("text", "text"), ("pair", "second text"))
        if joined.get(role)
    ]


def _runtime(shipped: Mapping[str, Any]) -> Runtime | None:
    """What runs what is shipped; None where that is not installed here."""
    kind = shipped.get("kind")
    return load_runtime(kind) if kind in RUNTIMES else None


def _needs(run: Mapping[str, Any], known_to_transformers: bool) -> str:
    """What an exported folder needs."""
    runtime = _runtime(_shipped(run))
    usage = None if runtime is None else runtime.usage
    text = (
        f"The folder is run by {_shipped(run).get('kind')}"
        if usage is None
        else f"The folder needs {usage.module} and tokenizers alone"
    )
    if usage is not None and usage.loaded_by and known_to_transformers:
        head = rules_of(run).head
        text += f"; {usage.loaded_by.format(head=head.opened_as or head.architecture)} load it too"
    return f"{text}. `{FACTS}` in it tells how the file was made and proved."


def _limits(run: Mapping[str, Any]) -> str:
    data, shipped = part(run, "data"), _shipped(run)
    name = record.markdown_text(data.get("name") or "the data above")
    limits = [f"The numbers hold for texts like those of {name}; other texts were not measured."]
    if finite(data.get("max_length")) is not None:
        limits.append(f"Texts are cut to {data['max_length']} tokens.")
    if record.main_setting(run) is not None:
        limits.append("Latency was measured on one machine; measure it again on yours.")
    processors = part(shipped, "processors")
    if processors:
        limits.append(f"Its integers are right on {processors.get('safe_on')}, and fast on {processors.get('fast_on')}.")
    flips = finite(part(shipped, "parity").get("batch_invariance_flips"))
    if flips:
        limits.append(
            f"In a comparison, {flips:.0f} answer{'' if flips == 1 else 's'} changed with the batch that the text stood in."
        )
    missed = [record.name_of(gate) for gate in run.get("gates") or [] if not gate.get("passed")]
    if missed:
        limits.append(f"It misses limits of its recipe: {', '.join(missed)}.")
    limits.append("Biases of the first model and of the data are in it; none were looked for.")
    return "\n".join(["## Limits", "", *(f"- {limit}" for limit in limits)])
