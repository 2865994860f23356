"""`--tiny`: a random model and a handful of steps, so that every recipe can be run in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, PreTrainedModel

from compress.recipe.plan import Benchmark, Gates, Plan

if TYPE_CHECKING:
    from compress.tasks.text_classification import Task

EXAMPLES = 64
STEPS = 3
WORDS = 500


def tiny_plan(plan: Plan) -> Plan:
    """The same steps and exports with the smallest benchmark and no gates."""
    benchmark = Benchmark(batch=(1,), length=(8,), threads=(1,), baseline=plan.benchmark.baseline, rounds=1, seconds=0.02)
    return replace(plan, benchmark=benchmark, gates=Gates(allow_slower=True))


def tiny_model(plan: Plan, task: Task, seed: int) -> PreTrainedModel:
    """A random BERT of two layers, or as many as the steps name, whose words are those of the task."""
    tokenizer = _tokenizer(task)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=tiny_layers(plan),
        num_attention_heads=4, intermediate_size=64, max_position_embeddings=128,
        id2label=dict(enumerate(task.labels)), label2id={name: index for index, name in enumerate(task.labels)},
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    model.tokenizer, model.label, model.has_new_head = tokenizer, "tiny", True
    return model.eval()


def tiny_layers(plan: Plan) -> int:
    """Two layers, or as many as the steps name."""
    return max([2, *(index + 1 for step in plan.steps for index in _layer_indices(step.arguments))])


def _layer_indices(arguments: dict[str, Any]) -> list[int]:
    keep = arguments.get("keep")
    return [index for index in keep if isinstance(index, int)] if isinstance(keep, list) else []


def _tokenizer(task: Task) -> Any:
    words = sorted({word for text in task.train.texts for word in text.lower().split() if word.isalnum()})[:WORDS]
    letters = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789" for prefix in ("", "##")]
    pieces = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *words])
    return BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, model_max_length=128)
