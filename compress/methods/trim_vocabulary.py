"""Leave the pieces that a task's text does not use out of the vocabulary."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.dependencies import InputFile
from compress.errors import InputError, NoEffect
from compress.models.families import family_of, longest_text
from compress.models.heads import head_of
from compress.models.vocabulary import Characters, keep_pieces, keep_positions, needed_pieces, refuse_vocabulary
from compress.tasks.labelled import Task
from compress.tasks.unlabelled import read_unlabelled
from compress.tasks.words import counted, texts_of
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

REHEARSED = 10_000  # texts at most that a rehearsal reads
SHOWN = 20  # of the pieces that are missed most


@within_range
def trim_vocabulary(
    model: PreTrainedModel,
    *,
    task: Task,
    min_count: Annotated[int, Field(ge=1, description="times that a piece must occur in the texts to stay")] = 1,
    text: Annotated[InputFile | None, Field(description="file of more texts, one a line, whose pieces stay")] = None,
    characters: Annotated[Characters, Field(description="that stay: all with a piece, or those of the texts")] = "all",
    max_length: Annotated[int | None, Field(ge=4, description="positions that stay; null: all")] = None,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Leave word pieces out that the task's text does not use: rows of the word table, and the tokenizer's entries for them.

    The table of words is more than half of a small BERT, and most of its rows stand for pieces that one task never reads.
    Texts whose pieces all stay are cut as before, and the model answers the same. Words that need a piece which is gone are
    spelled with shorter ones; special tokens always stay, what BPE merges a piece from stays with it, and single characters
    stay unless `characters` says otherwise, so that no word becomes unknown that was not.

    Source: Abdaoui et al. 2020, "Load what you need", arXiv 2010.05609, section 3.
    Differs: what a vocabulary misses is counted on texts that it was not made of; BPE and Unigram besides WordPiece.

    Args:
        model: Any with an encoder and a tokenizer of WordPiece, BPE or Unigram; it stays as it is, its tokenizer too.
        task: The pieces of its training part stay; those of its selection part tell what is missed. The evaluation split is
            not touched.
        min_count: Fewer occurrences, and the piece goes.
        text: For words that are to be expected besides: plain text, a text on each line.
        characters: "used" leaves characters out that the texts do not have, as of other scripts, of which a vocabulary of a
            hundred languages has thousands; words with them become unknown.
        max_length: Cuts the table of positions, so that the model reads so many tokens at most; no less than the task's
            max_length. Not of a family without such a table.
        run: Its facts take up the report.

    Returns:
        The copy with a smaller vocabulary and its own tokenizer. Distil into it on answers, or trim its teacher as well, since
        objectives that compare token by token need one vocabulary.

    Raises:
        InputError: The tokenizer is of another kind, the model quantizes, or the text cannot be read.
        NoEffect: All pieces stay, and all positions.
    """
    run = run or StepContext()
    if head_of(model).of_pieces:
        raise InputError(
            "trim_vocabulary: a model of masked-words answers with its vocabulary, and of a smaller one its scores mean "
            "another thing; trim it in a recipe of the task that comes after it."
        )
    try:
        refuse_vocabulary(model)
    except InputError as err:
        raise InputError(f"trim_vocabulary: {err}") from err
    _check_length(model, task, max_length)
    texts = texts_of(task.train.require("train"))
    if text is not None:
        texts += texts_of(read_unlabelled(text, joined=task.joined).split)
    before = model.config.vocab_size
    if run.is_rehearsal:
        keep = _guessed(model, texts, min_count, characters, run)
    else:
        keep = _kept(model, texts, min_count, characters)
    if len(keep) == before and max_length in (None, longest_text(model.config)) and not run.tiny:
        raise NoEffect(f"trim_vocabulary: all {before} pieces stay; raise min_count, or remove the step.")
    trimmed = keep_pieces(model, keep)
    if max_length is not None:
        trimmed = keep_positions(trimmed, max_length)
    if run.is_rehearsal:
        return trimmed
    _tell(run, model, trimmed, set(keep), texts_of(task.selection.require("selection")))
    return trimmed


def _kept(model: PreTrainedModel, texts: Sequence[str], min_count: int, characters: Characters) -> list[int]:
    """The ids, rising, of the pieces that occur so often, and of those that stay in any case."""
    used = {piece for piece, count in counted(model.tokenizer, texts).items() if count >= min_count}
    return needed_pieces(model.tokenizer, used, characters=characters)


def _guessed(
    model: PreTrainedModel, texts: Sequence[str], min_count: int, characters: Characters, run: StepContext
) -> list[int]:
    """The same for a rehearsal, which does not read many texts: those of the first ones, or nearly all pieces."""
    if len(texts) <= REHEARSED:
        return _kept(model, texts, min_count, characters)
    least = _kept(model, texts[:REHEARSED], 1, characters)
    others = sorted(set(range(model.config.vocab_size)) - set(least))
    return sorted([*least, *others[1:]]) if run.guess.among(2) else least


def _check_length(model: PreTrainedModel, task: Task, max_length: int | None) -> None:
    if max_length is not None and family_of(model).positions != "absolute":
        raise InputError(
            f"trim_vocabulary.max_length is {max_length}, but a {model.config.model_type} has no table of positions that "
            "could be cut; leave it out."
        )
    most = longest_text(model.config)
    if max_length is not None and not task.max_length <= max_length <= most:
        raise InputError(
            f"trim_vocabulary.max_length is {max_length}, but the task reads {task.max_length} tokens and the model has "
            f"{most} positions; use {task.max_length} to {most}."
        )


def _tell(run: StepContext, model: PreTrainedModel, trimmed: PreTrainedModel, keep: set[int], held_out: Sequence[str]) -> None:
    """How much of texts that the vocabulary was not made of is cut as before, and what is missed."""
    wanted, got = counted(model.tokenizer, held_out), counted(trimmed.tokenizer, held_out)
    total, missed = wanted.total(), {piece: count for piece, count in wanted.items() if piece not in keep}
    tokens = model.tokenizer.convert_ids_to_tokens([piece for piece, _ in Counter(missed).most_common(SHOWN)])
    coverage = 1 - sum(missed.values()) / total if total else 1.0
    unknown = [counts[network.tokenizer.unk_token_id] for counts, network in ((wanted, model), (got, trimmed))]
    run.facts["vocabulary"] = {
        "before": model.config.vocab_size,
        "pieces": len(keep),
        "coverage": coverage,
        "missed": tokens,
        "longer_by": got.total() / total - 1 if total else 0.0,
        "unknown_before": unknown[0],
        "unknown": unknown[1],
    }
    logger.info(
        "%d of %d pieces stay; of held-out text %.2f %% is cut as before, and it has %.2f %% more pieces; missed: %s",
        len(keep),
        model.config.vocab_size,
        100 * coverage,
        100 * run.facts["vocabulary"]["longer_by"],
        ", ".join(tokens) or "none",
    )
