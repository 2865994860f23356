"""A tokenizer whose pieces are whole words, for vectors of words: WordPiece, which every runtime's tokenizer library reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import BertTokenizer

from compress.models.pieces import contents_of
from compress.models.vocabulary import renumbered

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
INSIDE = "##"
MOST_LETTERS = 100
"""Of a word; WordPiece reads no longer ones."""


class Words:
    """How texts are cut into words: as a teacher of WordPiece does before it cuts these into pieces, else in small letters, at
    white space and punctuation.

    Args:
        tokenizer: The teacher's; stays as it is.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.is_own = contents_of(tokenizer)["type"] == "WordPiece"
        own = {name: index for index, name in enumerate(SPECIAL)}
        self.base = tokenizer if self.is_own else BertTokenizer(vocab=own, model_max_length=tokenizer.model_max_length)
        self.backend = self.base.backend_tokenizer

    def of(self, text: str) -> list[str]:
        """The words of a text, in order; those that are too long to be read are left out."""
        normalizer, pre_tokenizer = self.backend.normalizer, self.backend.pre_tokenizer
        text = text if normalizer is None else normalizer.normalize_str(text)
        words = text.split() if pre_tokenizer is None else [word for word, _ in pre_tokenizer.pre_tokenize_str(text)]
        return [word for word in words if len(word) <= MOST_LETTERS]

    def parts(self) -> list[str]:
        """The pieces of a teacher of WordPiece that continue a word, by their ids."""
        prefix = contents_of(self.base)["continuing_subword_prefix"]
        ids = self.base.get_vocab() if self.is_own and prefix == INSIDE else {}
        return sorted((piece for piece in ids if piece.startswith(INSIDE) and len(piece) > len(INSIDE)), key=ids.__getitem__)

    def specials(self) -> list[str]:
        """Special and added tokens, which stay, by their ids."""
        ids = self.base.get_vocab()
        return sorted({*self.base.all_special_tokens, *self.base.get_added_vocab()}, key=ids.__getitem__)

    def tokenizer(self, pieces: Sequence[str]) -> Any:
        """A tokenizer of special tokens, then of these words and parts of words, and of tokens that were added last."""
        own = self.backend.get_vocab(with_added_tokens=False)
        first = [token for token in self.specials() if token in own]
        added = [token for token in self.specials() if token not in own]
        ids = {token: number for number, token in enumerate([*first, *pieces, *added])}
        return renumbered(self.base, ids, [piece for piece in pieces if piece not in own])
