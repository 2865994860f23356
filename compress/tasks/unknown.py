"""How much of a task's text a tokenizer does not know: a model that reads [UNK] for most words has learned nothing of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.models.writer_tokenizer import writer_of
from compress.tasks.split import Split
from compress.tasks.words import texts_of

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

LOOKED_AT = 1000  # texts, evenly spread
MOST_UNKNOWN = 1 / 3


def unknown_share(split: Split, tokenizer: Any) -> float:
    """The share of unknown tokens among the tokens of a part's texts, special ones left out; 0 where every byte has a token.

    Args:
        split: At most about 1,000 of its examples are read, evenly spread.
        tokenizer: The model's.
    """
    unknown = tokenizer.unk_token_id
    texts = [text for text in texts_of(split.take(LOOKED_AT)) if text.strip()]
    if unknown is None or not texts:
        return 0.0
    rows = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=512, verbose=False)["input_ids"]
    count = sum(len(row) for row in rows)
    return sum(row.count(unknown) for row in rows) / count if count else 0.0


def check_known(split: Split, tokenizer: Any, who: str, *, allow_unknown: bool = False) -> float:
    """Measure the share of unknown tokens, and refuse a tokenizer of another language.

    Args:
        split: What is to be read.
        tokenizer: The model's.
        who: Begins messages, such as "the model".
        allow_unknown: Go on all the same.

    Raises:
        InputError: More than a third of the tokens are unknown.
    """
    share = unknown_share(split, tokenizer)
    if share > MOST_UNKNOWN and not allow_unknown:
        raise InputError(
            f"{share:.1%} of the tokens of the {split.role} texts are unknown ({tokenizer.unk_token}) to the tokenizer "
            f"of {who}; at most {MOST_UNKNOWN:.0%} may be. Use a model whose vocabulary has the texts' language and script, "
            "check that the tokenizer's files are those that the model was trained with, or set task.allow_unknown: true."
        )
    return share


def check_writes(task: Task, split: Split, tokenizer: Any, who: str) -> None:
    """Refuse a tokenizer that cannot write the texts of a task whose models write.

    Raises:
        InputError: More than a third of their tokens are unknown.
    """
    if task.rules.head.writes:
        texts = replace(split, texts=tuple(split.labels), pairs=None)
        check_known(texts, writer_of(tokenizer), f"{who} for what is written", allow_unknown=task.allow_unknown)
