"""`--tiny`: a random model and a handful of steps, so that every recipe can be run in seconds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import BertTokenizer, PreTrainedModel

from compress.methods.build_student import SHAPES
from compress.models.families import WITHOUT_ENCODER, encoder_family
from compress.models.heads import set_names
from compress.recipe.plan import Benchmark, Gates, Plan, Step

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

EXAMPLES = 64
WORDS = 500
POSITIONS = 128


def tiny_plan(plan: Plan) -> Plan:
    """The same steps and exports with the smallest benchmark and no gates, and without adapters that are of another model."""
    benchmark = Benchmark(batch=(1,), length=(8,), threads=(1,), baseline=plan.benchmark.baseline, rounds=1, seconds=0.02)
    exports = [replace(export, options={**export.options, "adapters": None}) for export in plan.exports]
    exports = [new if old.options.get("adapters") else old for new, old in zip(exports, plan.exports, strict=True)]
    return replace(plan, benchmark=benchmark, exports=tuple(exports), gates=Gates(allow_slower=True))


def tiny_model(plan: Plan, task: Task, seed: int) -> PreTrainedModel:
    """A random BERT of two layers, or as large as the steps need, whose words are those of the task."""
    sizes = tiny_sizes(plan)
    tokenizer = _tokenizer(task, sizes["positions"], sizes["width"])
    family = encoder_family("bert")
    config = family.config(
        vocab_size=len(tokenizer),
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["intermediate"],
        max_position_embeddings=sizes["positions"],
    )
    set_names(config, task.labels, task.rules.head)
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family.classes[task.rules.head.architecture](config)
    model.tokenizer, model.label, model.has_new_head = tokenizer, "tiny", True
    return model.eval()


def tiny_sizes(plan: Plan) -> dict[str, int]:
    """Two layers of width 32, or as much as the steps ask for: layers that they keep, students that they cut from it."""
    demands = [{"layers": 2, "width": 32, "intermediate": 64, "heads": 4, "positions": POSITIONS}]
    demands += [_named_sizes(step) for step in plan.steps]
    sizes = {key: max(demand.get(key, 0) for demand in demands) for key in demands[0]}
    heads = [demand["heads"] for demand in demands if "heads" in demand]
    splits = [step.arguments.get("relation_heads") or 1 for step in plan.steps]
    modules = [step.arguments.get("modules") or 1 for step in plan.steps]
    return sizes | {
        "width": _multiple(sizes["width"], *heads, *splits),
        "layers": _multiple(max(sizes["layers"], max(modules, default=1) + 1), *modules),
    }


def _multiple(least: int, *numbers: int) -> int:
    """The smallest number from `least` on that all of these divide."""
    multiple = math.lcm(*numbers)
    return -(-least // multiple) * multiple


def _named_sizes(step: Step) -> dict[str, int]:
    """What a step's arguments ask of the model that it is given."""
    arguments = step.arguments
    keep = arguments.get("keep")
    kept = [index + 1 for index in keep if isinstance(index, int)] if isinstance(keep, list) else []
    if step.method == "early_exit" and isinstance(arguments.get("layers"), list):
        return {"layers": max(arguments["layers"], default=0) + 2}
    if step.method == "swap_attention":
        return {"positions": arguments.get("segment") or 0}
    if step.method != "build_student":
        width, left = arguments.get("width"), arguments.get("layers")  # of prune_width and drop_layers, which leave less
        deeper = left + 1 if isinstance(left, int) else 0
        shared = arguments.get("group") or sum(arguments.get("groups") or [])
        return {"layers": max([*kept, deeper, shared]), "width": width + 1 if isinstance(width, int) else 0}
    if arguments["kind"] in WITHOUT_ENCODER:
        return {"width": 0 if arguments.get("vectors") else arguments.get("embedding") or 0}
    student = encoder_family(arguments["kind"]).student
    if student is not None and student.takes == "nothing":  # its sizes ask nothing of the teacher
        return {"layers": max(kept, default=0)}
    sizes = SHAPES.get(arguments.get("shape") or "", {}) | {key: size for key, size in arguments.items() if size is not None}
    return {
        "layers": max([*kept, sizes.get("layers", 0) + 1, sizes.get("groups", 0)]),  # a student that is not the teacher again
        "width": max(sizes.get("width", 0), sizes.get("embedding", 0)),
        **{key: sizes[key] for key in ("intermediate", "heads") if key in sizes},
    }


def _tokenizer(task: Task, longest: int, least: int) -> Any:
    """A tokenizer of a task's words, of so many pieces at least: vectors of pieces have no more components than there are."""
    words = sorted({word for text in task.train.texts for word in text.lower().split() if word.isalnum()})[:WORDS]
    letters = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for prefix in ("", "##")]
    tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *words])
    tokens |= dict.fromkeys(f"[unused{number}]" for number in range(least - len(tokens)))
    return BertTokenizer(vocab={token: index for index, token in enumerate(tokens)}, model_max_length=longest)
