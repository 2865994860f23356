"""The tokenizer of what a model writes: that of what it reads, or one of its own, which is learned from the texts to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from compress.errors import InputError

PADDING, BEGIN, END = SPECIAL = ("[PAD]", "[CLS]", "[SEP]")
FEWEST = 256 + len(SPECIAL)
"""A token for each byte, and the special ones: with fewer, there would be texts that cannot be written."""


def writer_of(tokenizer: Any) -> Any:
    """The tokenizer of what is written, of a model's tokenizer."""
    return getattr(tokenizer, "writer", None) or tokenizer


def ends_of(tokenizer: Any) -> tuple[int, int, int]:
    """The ids of the token that texts to write begin behind, of the one that ends them, and of the padding.

    Raises:
        InputError: The tokenizer has no such tokens.
    """
    begin = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    end = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if begin is None or end is None or tokenizer.pad_token_id is None:
        raise InputError(
            "the tokenizer of the texts to write needs a token to begin with (cls_token or bos_token), one to end with "
            "(sep_token or eos_token) and a pad_token; set them in tokenizer_config.json, or let build_decoder learn a "
            "vocabulary."
        )
    return begin, end, tokenizer.pad_token_id


def learned_tokenizer(texts: Sequence[str], size: int, longest: int) -> Any:
    """Learn pairs of bytes that stand next to each other: a tokenizer that knows every text, and gives it back as it was.

    Source: Sennrich et al. 2016, byte-pair encoding, arXiv 1508.07909, section 3.2; of bytes: Radford et al. 2019, GPT-2,
    section 2.2.

    Args:
        texts: To be written; of the training part alone.
        size: Tokens at most; few or short texts have fewer pairs.
        longest: Tokens of a text at most.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=sorted(alphabet), show_progress=False, min_frequency=2
    )
    backend.train_from_iterator((text.strip() for text in texts), trainer)
    return wrapped(backend, longest)


def wrapped(backend: Any, longest: int) -> Any:
    """A tokenizer of the `tokenizers` library as transformers knows them, with the special tokens that it has."""
    vocabulary = backend.get_vocab()
    names = {"pad_token": PADDING, "cls_token": BEGIN, "sep_token": END, "unk_token": "[UNK]", "mask_token": "[MASK]"}
    known = {name: token for name, token in names.items() if token in vocabulary}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=longest, **known)
