"""Let a trained BERT read long texts: attention whose time and memory grow with the length alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import fits_together, within_range
from compress.errors import InputError
from compress.models.attention.hashing import recall
from compress.models.attention.long_attention import DEFAULTS, Reformer, attention_kind, swap
from compress.models.families import first_position, longest_text, why_not
from compress.models.heads import check_reads_whole
from compress.models.layout import encoder_layers, head_count
from compress.models.states import StateKind, recorded
from compress.models.surgery import copy_of
from compress.models.traits import why_too_late
from compress.models.vocabulary import extend_positions
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

TEXTS, TOKENS, RECALLED = 4, 1024, 8
"""How many texts, tokens of each, and tokens that a query attends to most, are looked at for what hashing finds."""
ENDS: tuple[StateKind, StateKind] = ("query", "key")


def _wrong(
    kind: str,
    window: int | None,
    global_tokens: int | None,
    chunk: int | None,
    buckets: int | None,
    rounds: int | None,
    shared: bool | None,
    segment: int | None,
) -> list[str]:
    given = {
        "window": window,
        "global_tokens": global_tokens,
        "chunk": chunk,
        "buckets": buckets,
        "rounds": rounds,
        "shared": shared,
        "segment": segment,
    }
    idle = [name for name, value in given.items() if value is not None and name not in DEFAULTS[kind]]
    problems = [f"{name} plays no part in {kind}; remove it, or use another kind." for name in idle]
    problems += [
        f"{name} is {value}; an even number is needed: use {value + 1}."
        for name, value in (("window", window), ("buckets", buckets))
        if value is not None and value % 2
    ]
    window = window or int(DEFAULTS["longformer"]["window"])
    if global_tokens is not None and global_tokens > window // 2:
        problems.append(
            f"global_tokens is {global_tokens}, more than half of the window of {window}; use {window // 2} at most."
        )
    return problems


@within_range
@fits_together(_wrong)
def swap_attention(
    model: PreTrainedModel,
    *,
    task: Task,
    kind: Literal["longformer", "reformer", "transformer_xl", "chunk_and_pool"],
    window: Annotated[
        int | None, Field(ge=2, le=1 << 16, description="longformer: neighbours that a token sees, half a side; null: 256")
    ] = None,
    global_tokens: Annotated[
        int | None, Field(ge=0, le=1 << 15, description="longformer: first tokens that see and are seen by all; null: 1")
    ] = None,
    chunk: Annotated[int | None, Field(ge=1, le=1 << 16, description="reformer: tokens of a sorted chunk; null: 64")] = None,
    buckets: Annotated[int | None, Field(ge=2, le=1 << 16, description="reformer: that tokens fall into; null: 64")] = None,
    rounds: Annotated[int | None, Field(ge=1, le=64, description="reformer: of hashing; null: 2")] = None,
    shared: Annotated[bool | None, Field(description="reformer: keys are the queries; null: false")] = None,
    segment: Annotated[
        int | None, Field(ge=4, le=1 << 16, description="transformer_xl, chunk_and_pool: tokens read at once; null: 512")
    ] = None,
    max_length: Annotated[
        int | None, Field(ge=4, le=1 << 20, description="tokens that the model is to read; null: as many as it does")
    ] = None,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Let every layer attend to a part of the tokens, so that time and memory grow with a text's length, not with its square.

    longformer: a window of neighbours, and first tokens that see and are seen by all, with projections of their own. reformer:
    the tokens whose queries and keys fall into the same buckets. transformer_xl: segments, each of which sees the one before
    too, so that a text of any length is read in constant memory (`SegmentReader`). chunk_and_pool: the same without memory,
    the plain way that the others have to beat. Positions beyond those that the model has repeat them; in segments they start
    anew. It answers nearly as before where texts are no longer than a window; let `distill` or `fine_tune` on long texts
    follow. For MiniLM on a CPU full attention is the faster one below 540 to 3,600 tokens, by kind and runtime; on an
    H200, in the flash kernel, below about 22,000.

    Source: Beltagy et al. 2020, Longformer, arXiv 2004.05150; Kitaev et al. 2020, Reformer, arXiv 2001.04451; Dai et al. 2019,
    Transformer-XL, arXiv 1901.02860.
    Differs: Reformer's reversible layers are left out, which compute something else than a trained BERT does; its queries and
    keys stay apart unless `shared`; see `compress.models.attention.hashing`. Of Transformer-XL see
    `compress.models.attention.segments`.

    Args:
        model: A BERT or DistilBERT; stays as it is. Prune or share its layers before.
        task: Tells how long its texts are.
        kind: See above.
        window: Of longformer; even. Larger ones cost time in proportion.
        global_tokens: Of longformer, the first of a text; half of the window at most. 1 is [CLS], which a classifier reads;
            as many as the question has where a text is read for a question.
        chunk: Of reformer: a token sees its own chunk, the one before and the one behind.
        buckets: Of reformer; even. About the length over the chunk.
        rounds: Of reformer: each finds other tokens, and costs as much.
        shared: Of reformer: keys are the normalized queries, as in the paper; that breaks a trained BERT until it is trained.
        segment: Of transformer_xl and chunk_and_pool, [CLS] included, which every segment begins with; no more than the model
            has positions.
        max_length: Tokens that it is to read; no less than the task's max_length.
        run: Its seed draws the buckets' directions.

    Returns:
        The copy. structure.json tells its attention, and `compress.load` loads it.

    Raises:
        InputError: An option is not the kind's or does not fit the texts, or the model is of another family, quantizes, or has
            swapped its attention already.
    """
    run = run or StepContext()
    positions = longest_text(model.config) if max_length is None else max_length
    if kind in ("transformer_xl", "chunk_and_pool"):
        check_reads_whole(f"swap_attention of kind {kind}", model)
        if first_position(model):
            raise InputError(
                f"swap_attention: a {model.config.model_type} counts positions from its padding on, and cannot repeat those "
                f"of a segment as {kind} does; use longformer or reformer, or start from a bert or a distilbert."
            )
    _check(model, task, positions, {"window": window, "segment": segment}, is_trial=run.tiny)
    if segment is None and "segment" in DEFAULTS[kind]:
        segment = min(int(DEFAULTS[kind]["segment"]), longest_text(model.config))
    given = {
        "window": window,
        "global_tokens": global_tokens,
        "chunk": chunk,
        "buckets": buckets,
        "rounds": rounds,
        "shared": shared,
        "segment": segment,
    }
    options = {name: value for name, value in given.items() if value is not None}
    attention = {"kind": kind, **DEFAULTS[kind], **options, **({"seed": run.seed} if kind == "reformer" else {})}
    student = extend_positions(model, positions) if positions > longest_text(model.config) else copy_of(model)
    states = _seen(student, task) if kind == "reformer" and not run.is_rehearsal else []
    swap(student, attention)
    run.facts["attention"] = {**attention, "positions": positions}
    if states:
        shares = run.facts["attention"]["recall"] = _recalled(student, states)
        logger.info(
            "of the %d tokens that full attention weighs most, buckets find %s, layer by layer",
            RECALLED,
            ", ".join(f"{share:.0%}" for share in shares),
        )
    logger.info(
        "attention is %s now, over up to %d tokens",
        ", ".join(f"{name} {value}" for name, value in attention.items()),
        positions,
    )
    return student.eval()


@torch.no_grad()
def _seen(model: PreTrainedModel, task: Task) -> list[list[tuple[torch.Tensor, ...]]]:
    """Queries and keys of each layer with heads, (1, heads, length, head size), for some texts."""
    encoded = task.read_by(model).encode(task.train.require("train").take(TEXTS), model.tokenizer)
    layers = [(number, head_count(layer)) for number, layer in enumerate(encoder_layers(model), 1) if head_count(layer)]
    recordings = []
    for index in range(len(encoded)):
        batch = {name: torch.from_numpy(values[:, :TOKENS]) for name, values in encoded.batch([index]).items()}
        with recorded(model, [(end, number) for number, _ in layers for end in ENDS]) as states:
            model(**batch)
        recordings.append(
            [
                tuple(torch.unflatten(states[end, number], -1, (heads, -1)).transpose(1, 2) for end in ENDS)
                for number, heads in layers
            ]
        )
    return recordings


def _recalled(student: PreTrainedModel, texts: list[list[tuple[torch.Tensor, ...]]]) -> list[float]:
    """For each layer, which share of the tokens that full attention would weigh most the buckets hold."""
    layers = [module for module in student.modules() if isinstance(module, Reformer)]
    recalls: list[list[float]] = [[] for _ in layers]
    for text in texts:
        for shares, layer, (query, key) in zip(recalls, layers, text, strict=True):
            mask = torch.ones((1, query.shape[2]), dtype=torch.bool)
            shares.append(recall(query * layer.scaling, key, mask, layer.turns, chunk=layer.chunk, top=RECALLED))
    return [sum(shares) / len(shares) for shares in recalls]


def _check(model: PreTrainedModel, task: Task, positions: int, sizes: Mapping[str, int | None], *, is_trial: bool) -> None:
    other = why_not(model, "attend_far")
    if other:
        raise InputError(f"swap_attention: {other}")
    kind = attention_kind(model)
    if kind is not None:
        raise InputError(f"swap_attention: the model's attention is {kind} already; start from the model before that step.")
    why = why_too_late(model, "swap its attention", "quantize_aware", "early_exit")
    if why:
        raise InputError(f"swap_attention: {why}")
    if positions < task.max_length:
        raise InputError(
            f"swap_attention: the task's texts have up to {task.max_length} tokens, but the model would read "
            f"{positions}; give max_length: {task.max_length}."
        )
    for name, size in sizes.items():
        if size is not None and size > task.max_length and not is_trial:
            raise InputError(
                f"swap_attention.{name} is {size}, more than the {task.max_length} tokens of the task's texts, so that "
                "nothing would be saved; use a smaller one, or a larger max_length of the task."
            )
    most, segment = longest_text(model.config), sizes["segment"] or 0
    if segment > most:
        raise InputError(f"swap_attention.segment is {segment}, but the model has {most} positions; use at most so many.")
