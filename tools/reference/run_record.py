"""The page about run.json: what each key means; a test holds it against every recorded run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tools.reference.prose import cell, page, table

OPEN = {"data.abstain", "recipe", "versions", "steps[].arguments", "steps[].epochs[]", "data.removed", "steps[].metrics"}
"""What holds names that a recipe, a method or a task chooses, so that its keys are not told one by one."""
METRICS = (
    "subjects[].metrics",
    "subjects[].metrics_ci95",
    "subjects[].by_label",
    "subjects[].further.by_label",
    "subjects[].read_back",
    "subjects[].further.metrics",
    "subjects[].further.metrics_ci95",
    "subjects[].baseline_documents",
    "subjects[].further.baseline_documents",
    "data.splits",
)
"""What holds one value for each name: their keys are told as NAME."""

KEYS = {
    "schema": "The version of this record; 1.",
    "name": "Of the recipe.",
    "recipe": "The recipe as it was run, with every default filled in; it can be read as a recipe again.",
    "started": "When, in UTC.",
    "seconds": "That this run took; steps from the cache took none.",
    "commit": "Of the code; a `+` says that files had changed since, null that there is no repository.",
    "data": "What was learned from and measured on.",
    "data.fingerprint": "Of every row; the same rows have the same.",
    "data.kind": "Of the task.",
    "data.name": "Of the data set.",
    "data.source": "Where it comes from.",
    "data.licence": "As its source states it.",
    "data.labels": "Names, in the order of the outputs.",
    "data.judged_on": "Where it was the selection part, in the trials of a sweep, `selection`; otherwise it is left out.",
    "data.joined": "Where texts were joined of several columns: which, in their order.",
    "data.joined.text": "Columns of the text.",
    "data.joined.pair": "Columns of the second text.",
    "data.joined.separator": "Between them.",
    "data.abstain": "When none is answered, as the recipe says it; not there where that is never so.",
    "data.max_length": "Tokens at which texts are cut.",
    "data.removed": "Rows that were left out, counted by reason.",
    "data.splits": "The parts: train, selection, calibration, evaluation, and further where a recipe asks for it.",
    "data.splits.NAME": "One part.",
    "data.splits.NAME.examples": "How many.",
    "data.splits.NAME.fingerprint": "Of every row of it; the same rows have the same.",
    "data.splits.NAME.groups": "How many groups of rows that contain or nearly copy one another; a row may be one of its own.",
    "data.splits.NAME.leak": "Share of its rows that contain a training row, stand in one or nearly copy one; of the training "
    "part none is told.",
    "data.splits.NAME.per_label": "How many of each label.",
    "data.splits.NAME.out_of_scope": "How many of none of the labels, where the recipe says how they are labelled.",
    "data.splits.NAME.mean": "Of the scores, where they are numbers.",
    "data.splits.NAME.deviation": "Of the scores, standard.",
    "data.splits.NAME.answerable": "Questions that have an answer.",
    "data.splits.NAME.passages": "Passages of all queries, where they are ranked.",
    "data.splits.NAME.documents": "Documents that are searched.",
    "data.splits.NAME.relevant": "Relevant passages of a query, on average; of a search relevant documents in all.",
    "data.splits.NAME.words": "Words in all, where each has a tag.",
    "data.splits.NAME.mean_words": "Words in a text, on average.",
    "data.splits.NAME.mean_words_to_write": "Words in a text to write, on average.",
    "machine": "Where it was measured.",
    "machine.cpu": "Its name.",
    "machine.flags": "Instructions that matter to int8 and bfloat16.",
    "machine.cores": "Physical ones.",
    "machine.threads": "Logical ones.",
    "machine.gpu": "Its name, or null.",
    "machine.memory_bytes": "Of the machine.",
    "machine.os": "Its name and version.",
    "versions": "Of Python and of each library that takes part, by name.",
    "steps": "The recipe's steps, in order.",
    "steps[].name": "The `as` of the recipe, else the method.",
    "steps[].method": "See [methods](methods.md).",
    "steps[].arguments": "All of them, with defaults.",
    "steps[].key": "Its key in the cache.",
    "steps[].status": "`computed` or `reused`.",
    "steps[].why": "Why it was computed or reused.",
    "steps[].seconds": "That computing it took, then or now.",
    "steps[].parameters_before": "Of the model that came in.",
    "steps[].parameters": "Of the model that came out.",
    "steps[].metrics": "On the selection part, after the epoch that was kept.",
    "steps[].examples": "That were learned from, epochs counted.",
    "steps[].examples_per_second": "While it learned.",
    "steps[].peak_memory_bytes": "The most that the process held.",
    "steps[].optimizer_steps": "How often the weights were changed.",
    "steps[].best_epoch": "The epoch that was kept.",
    "steps[].epochs": "Each epoch's loss and metrics.",
    "steps[].epochs[]": "One epoch.",
    "steps[].curve": "The loss along the way: pairs of optimizer step and loss.",
    "steps[].precision": "That it was trained in: fp32, bf16 or fp16.",
    "steps[].FACT": "What a method tells of its own, such as `heads`, `neurons`, `latency`, `vocabulary`, `layer_mix` "
    "or `exits` (the layers, their thresholds, and what becomes of the selection part: shares, expected layers, accuracy).",
    "subjects": "What was measured, in the order of the flow: the baseline first, the file that is shipped last.",
    "subjects[].name": "Of the step or the target.",
    "subjects[].kind": "What runs it: torch, onnx (onnxruntime), openvino, or a runtime that another package brings.",
    "subjects[].target": "The target; torch for a model.",
    "subjects[].path": "In the run folder.",
    "subjects[].size_bytes": "Of the file, with what it needs beside it.",
    "subjects[].parameters": "Of the model.",
    "subjects[].macs": "Multiply-adds for one example of mean length; where texts leave early, one that may leave anywhere.",
    "subjects[].metrics": "On the evaluation part; the first one decides.",
    "subjects[].metrics.NAME": "As a fraction of 1.",
    "subjects[].metrics_ci95": "Their 95 % intervals.",
    "subjects[].metrics_ci95.NAME": "Low and high.",
    "subjects[].by_label": "Where the task has labels, each one's own scores.",
    "subjects[].by_label.NAME": "A label, or a type of entity.",
    "subjects[].by_label.NAME.precision": "Share of what was answered that is right; null where nothing was.",
    "subjects[].by_label.NAME.recall": "Share of what is there that was found; null where nothing is.",
    "subjects[].by_label.NAME.f1": "Their harmonic mean.",
    "subjects[].by_label.NAME.ci95": "The three's 95 % bootstrap intervals.",
    "subjects[].by_label.NAME.ci95.precision": "Low and high.",
    "subjects[].by_label.NAME.ci95.recall": "Low and high.",
    "subjects[].by_label.NAME.ci95.f1": "Low and high.",
    "subjects[].by_label.NAME.support": "How often it is true.",
    "subjects[].reliability": "Where outputs are probabilities: how far they are from what happens.",
    "subjects[].reliability.ece": "Expected calibration error over 15 bins of equal width, as a fraction.",
    "subjects[].reliability.nll": "Mean negative logarithm of the probability of what is true.",
    "subjects[].reliability.bins": "The bins with something in them, rising: a reliability diagram.",
    "subjects[].reliability.bins[].stated": "Mean of the probabilities in it.",
    "subjects[].reliability.bins[].happened": "How often what they say is true.",
    "subjects[].reliability.bins[].count": "How many probabilities are in it.",
    "subjects[].drop": "Against the baseline, of the metric that decides; positive is worse.",
    "subjects[].drop.value": "As a fraction: 0.01 is one point.",
    "subjects[].drop.ci95": "Paired, 95 %.",
    "subjects[].drop.p": "Two-sided: McNemar's, exact, for labels, else the paired bootstrap's.",
    "subjects[].drop.p_holm": "The same by Holm's correction over all subjects but the baseline.",
    "subjects[].agreement": "Share of the examples that the baseline answers in the same way.",
    "subjects[].likeness": "Of vectors as wide as the baseline's: the cosine between the two of each text.",
    "subjects[].likeness.mean": "Over all texts.",
    "subjects[].likeness.worst": "Of 1,000 texts, evenly spread.",
    "subjects[].baseline_documents": "Of a search: the subject's queries among the baseline's documents.",
    "subjects[].baseline_documents.NAME": "The metric that decides, as a fraction of 1.",
    "subjects[].further": "On the rows that `task.evaluation: {from_train: N}` keeps apart; not there without it.",
    "subjects[].further.examples": "How many.",
    "subjects[].further.metrics": "As on the evaluation part.",
    "subjects[].further.metrics.NAME": "As a fraction of 1.",
    "subjects[].further.metrics_ci95": "Their 95 % intervals, each row taken for itself.",
    "subjects[].further.metrics_ci95.NAME": "Low and high.",
    "subjects[].further.by_label": "As on the evaluation part.",
    "subjects[].further.by_label.NAME": "A label, or a type of entity.",
    "subjects[].further.by_label.NAME.precision": "Share of what was answered that is right; null where nothing was.",
    "subjects[].further.by_label.NAME.recall": "Share of what is there that was found; null where nothing is.",
    "subjects[].further.by_label.NAME.f1": "Their harmonic mean.",
    "subjects[].further.by_label.NAME.ci95": "The three's 95 % bootstrap intervals.",
    "subjects[].further.by_label.NAME.ci95.precision": "Low and high.",
    "subjects[].further.by_label.NAME.ci95.recall": "Low and high.",
    "subjects[].further.by_label.NAME.ci95.f1": "Low and high.",
    "subjects[].further.by_label.NAME.support": "How often it is true.",
    "subjects[].further.drop": "Against the baseline on the same rows.",
    "subjects[].further.drop.value": "As a fraction.",
    "subjects[].further.drop.ci95": "Paired, 95 %.",
    "subjects[].further.drop.p": "Two-sided: McNemar's, exact, for labels, else the paired bootstrap's.",
    "subjects[].further.drop.p_holm": "The same by Holm's correction over all subjects but the baseline.",
    "subjects[].further.agreement": "Share of the rows that the baseline answers in the same way.",
    "subjects[].further.likeness": "As on the evaluation part.",
    "subjects[].further.likeness.mean": "Over all texts.",
    "subjects[].further.likeness.worst": "Of 1,000 texts, evenly spread.",
    "subjects[].further.baseline_documents": "As on the evaluation part.",
    "subjects[].further.baseline_documents.NAME": "The metric that decides, as a fraction of 1.",
    "subjects[].examples": "What the deciding score is made of, for each example, so that `bert-compress compare` can pair "
    "two runs; see [what is kept](../guides/compare.md#what-is-kept-of-each-example).",
    "subjects[].examples.metric": "The score.",
    "subjects[].examples.count": "In the order of the evaluation part; queries, pairs or questions where these are scored.",
    "subjects[].examples.columns": "Numbers of each.",
    "subjects[].examples.dtype": "Of the numbers, as NumPy spells it.",
    "subjects[].examples.zlib_base64": "The numbers, column by column.",
    "subjects[].parity": "Of an exported file with the torch model that it came from, on real sentences.",
    "subjects[].parity.max_abs_error": "Of the outputs.",
    "subjects[].parity.label_flips": "Share of the examples whose answer changed.",
    "subjects[].parity.batch_invariance_flips": "Answers that change with the batch that they stand in.",
    "subjects[].processors": "Of an int8 file: where it is right and where it is fast.",
    "subjects[].processors.safe_on": "Where sums cannot overflow.",
    "subjects[].processors.fast_on": "Where its kernels use integer instructions.",
    "subjects[].integer_ops": "How many operators run on integers once the runtime has optimized the file.",
    "subjects[].fused_ops": "How many operators the runtime fused.",
    "subjects[].read_back": "Of an exported file: its score, read by the names in its folder alone; equal to `metrics`.",
    "subjects[].read_back.NAME": "The metric that decides, and `examples`, how many were read.",
    "subjects[].unknown_tokens": "Share of the evaluation texts' tokens that its tokenizer does not know.",
    "subjects[].max_length": "Tokens of an example that it was measured at.",
    "subjects[].truncated": "Evaluation texts that were longer than the subject reads.",
    "subjects[].peak_memory_bytes": "The most that the process that timed it held.",
    "subjects[].cold_start": "Of the processes that timed it, medians; a file that was read lately is in memory.",
    "subjects[].cold_start.load_ms": "Importing the runtime and opening the file.",
    "subjects[].cold_start.first_answer_ms": "The first answer after that, at the first batch and length.",
    "subjects[].cold_start.total_ms": "From the start of the process to that answer.",
    "subjects[].latency": "One row for each setting.",
    "subjects[].latency[].device": "cpu, cuda, cuda:N or mps.",
    "subjects[].latency[].batch": "Examples in a call.",
    "subjects[].latency[].length": "Tokens of each, padding included; `data` for lengths as the evaluation part has.",
    "subjects[].latency[].threads": "Inside an operator.",
    "subjects[].latency[].p50_ms": "Median of one call, in milliseconds.",
    "subjects[].latency[].p50_ci95_ms": "Its 95 % interval by how the rounds scatter; null with one round.",
    "subjects[].latency[].p95_ms": "95th percentile.",
    "subjects[].latency[].examples_per_second": "At the median; of lengths of the data at the mean.",
    "subjects[].latency[].samples": "Raw samples, in milliseconds.",
    "subjects[].latency[].rounds_p50_ms": "Median of each round.",
    "subjects[].latency[].speedup": "The baseline's median over this one's.",
    "subjects[].latency[].speedup_ci95": "Its 95 % interval, both compared within each round; null with one round.",
    "subjects[].latency[].tokens": "Of lengths of the data: what they are.",
    "subjects[].latency[].tokens.mean": "Of a text, padding left out.",
    "subjects[].latency[].tokens.p95": "Their 95th percentile.",
    "subjects[].latency[].joules_per_example": "Of the processor's package (RAPL) or the GPU (NVML), whoever uses it; not "
    "there where the machine does not tell.",
    "subjects[].texts": "Where texts leave a subject early: what real texts of the selection part took each subject, one "
    "at a time; a row for each number of threads.",
    "subjects[].texts[].device": "As in `latency`.",
    "subjects[].texts[].threads": "Inside an operator.",
    "subjects[].texts[].count": "How many texts.",
    "subjects[].texts[].mean_tokens": "Of a text, on average.",
    "subjects[].texts[].mean_ms": "Mean over the texts, each one's median over the rounds: what the next is expected to take.",
    "subjects[].texts[].p50_ms": "The median text.",
    "subjects[].texts[].p95_ms": "95th percentile of the texts.",
    "subjects[].texts[].examples_per_second": "At the mean.",
    "subjects[].texts[].samples": "Each text's median over the rounds, in milliseconds.",
    "subjects[].texts[].speedup": "The baseline's mean over this one's.",
    "subjects[].exits": "Of a subject whose texts leave early.",
    "subjects[].exits.layers": "Behind which exits stand, from 0.",
    "subjects[].exits.measure": "What of an answer tells how sure it is.",
    "subjects[].exits.thresholds": "What that has to be above, for each exit.",
    "subjects[].exits.shares": "Of the texts that were timed, the shares that left at each exit, and at the end.",
    "timing": "How the machine behaved while it timed.",
    "timing.rounds": "How often each subject had its turn.",
    "timing.others_busy": "Processors that others kept busy, on average; null where the system does not tell.",
    "timing.moved": "By how much the slowest round was slower than the fastest, all subjects together, as a share.",
    "timing.drift": "By how much the last round was slower than the first, where rounds rose or fell one after the other.",
    "timing.warnings": "What of it deserves attention.",
    "gates": "The limits that the recipe sets.",
    "gates[].name": "See [gates](recipe.md#gates).",
    "gates[].limit": "As the recipe gives it.",
    "gates[].value": "Of the file that came nearest to missing it, or missed it most.",
    "gates[].passed": "Whether it was kept.",
}


def run_record_page() -> str:
    """Tell every key of run.json."""
    return page(
        "run.json",
        "The public record of a run. Keys are stable; `schema` changes when one changes its meaning. `[]` stands for each "
        "item of a list, `NAME` for any name. `recipes/results/` holds `{schema: 1, runs: [...]}`, one such record "
        "for each seed.",
        table(("key", "what it means"), [(f"`{key}`", cell_with_links(text)) for key, text in KEYS.items()]),
    )


def cell_with_links(text: str) -> str:
    """A cell whose links stay links."""
    return text.replace("|", "\\|") if "](" in text else cell(text)


def key_paths(record: Any, path: str = "") -> Iterator[str]:
    """The paths of the keys of a record, names that it chooses itself as NAME."""
    if path in OPEN:
        return
    if isinstance(record, Mapping):
        for key, value in record.items():
            below = f"{path}.{'NAME' if path in METRICS else key}".lstrip(".")
            yield below
            yield from key_paths(value, below)
    elif isinstance(record, list):
        for entry in record:
            yield from key_paths(entry, f"{path}[]")


def unknown_keys(record: Any, facts: frozenset[str]) -> set[str]:
    """The keys of a record that the page does not tell.

    Args:
        record: The content of run.json.
        facts: Names under which methods tell of themselves in a step.
    """
    paths = {path for path in key_paths(record) if not any(path.startswith(f"steps[].{fact}") for fact in facts)}
    return paths - KEYS.keys()
