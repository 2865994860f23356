"""Write a bundle's model card: its files with their figures, what is left out and why, who reads it and how."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import record
from compress.bundles.readers import Reader
from compress.bundles.variants import VARIANTS
from compress.record import MISSING, part
from compress.reporting.card import data_text, eval_results, making_text, tags_of
from compress.reporting.card_example import example_text
from compress.reporting.reading import rules_of
from compress.runtimes.table import load_runtime
from compress.targets import runtime_of

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
MADE_BY = "bert-compress"


def bundle_card(run: Mapping[str, Any], facts: Mapping[str, Any], readers: Sequence[Reader]) -> str:
    """The model card of a bundle as Markdown, with the header that the hub reads.

    Args:
        run: The content of the run's run.json.
        facts: The content of bert_compress.json.
        readers: Who reads it, and who does not.
    """
    name, contents, data = str(run.get("name") or "bundle"), part(facts, "bundle"), part(run, "data")
    if Path(str(data.get("source") or "")).is_absolute():  # which tells of a disk, and not of the data
        run = {**run, "data": {**data, "source": Path(str(data["source"])).name}}
    parts = [
        f"---\n{_header(run, contents, readers, name)}\n---\n\n# {record.markdown_text(name)}",
        _what(run, contents),
        _files(contents),
        _left_out(contents),
        _reading(run, contents, readers),
        making_text(run, "Made with bert-compress."),
        data_text(run),
        _limits(run, facts),
    ]
    return "\n\n".join(text for text in parts if text) + "\n"


def _header(run: Mapping[str, Any], contents: Mapping[str, Any], readers: Sequence[Reader], name: str) -> str:
    from huggingface_hub import ModelCardData

    rules = rules_of(run)
    reads = {reader.name: reader.why_not is None for reader in readers}
    libraries = ("sentence-transformers", "transformers")
    library = next((library for library in libraries if reads[library]), "onnx")
    results = eval_results(run, part(_shown(contents), "metrics"))
    base_model = base_model_of(contents.get("made_from"))
    header = ModelCardData(
        library_name=library,
        pipeline_tag=rules.pipeline_tag,
        tags=[*tags_of(run), *(reader.tag for reader in readers if reader.tag and reads[reader.name])],
        model_name=name,
        eval_results=results or None,
        base_model=base_model,
    )
    return str(header.to_yaml())


def base_model_of(source: Any) -> str | None:
    """The hub's name of the model that a run started from; None where that was a folder or a package."""
    text = str(source or "")
    return text if HUB_NAME.fullmatch(text) and "/" in text else None


def _shown(contents: Mapping[str, Any]) -> Mapping[str, Any]:
    """The variant whose scores the hub shows: the first, which is float32 where that is in the bundle."""
    variants = contents.get("variants") or [{}]
    shown: Mapping[str, Any] = variants[0]
    return shown


def _what(run: Mapping[str, Any], contents: Mapping[str, Any]) -> str:
    labels = part(run, "data").get("labels") or []
    base_model = base_model_of(contents.get("made_from"))
    made = f", made from `{base_model}` with {MADE_BY}" if base_model else f", made with {MADE_BY}"
    return f"A small {rules_of(run).sentence(labels)}{made}, in one folder for all who read it."


def _files(contents: Mapping[str, Any]) -> str:
    metric, torch = str(contents.get("metric")), part(contents, "whole")
    rows = [["torch", *_score(metric, torch), MISSING, MISSING, MISSING, ""]]
    for entry in contents.get("variants") or []:
        rows.append(
            [
                str(entry["file"]),
                *_score(metric, entry),
                record.points(part(entry, "drop").get("value")),
                record.percent(entry.get("agreement")),
                record.megabytes(entry.get("size_bytes")),
                _devices(entry),
            ]
        )
    table = record.markdown_table(["file", metric, "95 % interval", "drop, points", "same answers", "size", "for"], rows)
    return (
        f"## Files\n\n{table}\n\nEach file was written by a target of {MADE_BY}, compared with torch on texts of the "
        "calibration part, and scored on the evaluation part as it lies here. `bert_compress.json` tells every figure, "
        "`SHA256SUMS` the contents (`sha256sum -c SHA256SUMS`)."
    )


def _score(metric: str, entry: Mapping[str, Any]) -> list[str]:
    ends = record.interval(part(entry, "metrics_ci95").get(metric))
    return [record.score(metric, part(entry, "metrics").get(metric)), record.between(metric, ends) if ends else MISSING]


def _devices(entry: Mapping[str, Any]) -> str:
    """What a file is for; of integers where they are right, as they were exported."""
    devices = VARIANTS[str(entry["name"])].devices
    safe = part(entry, "integers").get("safe_on")
    return f"{devices}; right on {safe}" if safe else devices


def _left_out(contents: Mapping[str, Any]) -> str:
    entries = contents.get("left_out") or []
    if not entries:
        return ""
    lines = [f"- `{entry['file']}` ({entry['name']}): {' '.join(str(entry['why']).split())}" for entry in entries]
    return "\n".join(["## Left out", "", *lines])


def _reading(run: Mapping[str, Any], contents: Mapping[str, Any], readers: Sequence[Reader]) -> str:
    parts = ["## Who reads it"]
    files = {str(entry["file"]) for entry in contents.get("variants") or []}
    for reader in readers:
        if reader.why_not is not None:
            continue
        snippet = reader.snippet
        if reader.example and VARIANTS[reader.example].file in files:
            variant = VARIANTS[reader.example]
            example = example_text(run, load_runtime(runtime_of(variant.target)), ".")
            snippet = example.replace("/model.onnx", f"/{variant.file}")
        parts += [f"### {reader.name}", snippet] if snippet else [f"### {reader.name}"]
    others = [f"- {reader.name}: {reader.why_not}." for reader in readers if reader.why_not is not None]
    if others:
        parts += ["### Not read by", "\n".join(others)]
    return "\n\n".join(parts)


def _limits(run: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    data = record.markdown_text(part(run, "data").get("name") or "the data above")
    limits = [
        f"The numbers hold for texts like those of {data}; other texts were not measured.",
        f"Texts are cut to {facts.get('max_length')} tokens.",
        "Take float16, 4 bits or float32 for WebGPU, where wrong answers of int8 are reported "
        "(<https://github.com/huggingface/transformers.js/issues/1512>), and q8 for WebAssembly.",
        "Biases of the first model and of the data are in it; none were looked for.",
    ]
    if part(facts, "abstain"):
        limits.insert(
            1, "It answers none below a threshold, which `bert_compress.json` tells as `settled`; readers do not know it."
        )
    elif facts.get("settled"):
        limits.insert(1, "Its thresholds stand in `bert_compress.json` as `settled`; readers take their own.")
    return "\n".join(["## Limits", "", *(f"- {limit}" for limit in limits)])
