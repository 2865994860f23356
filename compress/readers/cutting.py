"""Texts as tokens, at most so many of them."""

from __future__ import annotations

from pathlib import Path

from compress.errors import InputError
from compress.readers.reader import Cut, Item, Piece, piece_of
from compress.runtimes.tokenizer_file import read_tokenizer, unreadable

CHARACTERS = 250
"""Of a token at most: what stands further in a text than so many for each token is not looked at, as Text Embeddings Inference
has it (MAX_CHAR_MULTIPLIER)."""
MOST_CHARACTERS = 1 << 18
"""Of a text that is read in windows, however many these are: as long as a novel's fifth part."""


class TextTooLong(InputError):
    """A text has more tokens than the model reads, and may not be cut."""


class Cutter:
    """Cuts texts, and pairs of texts, into tokens.

    Args:
        path: tokenizer.json.
        longest: Tokens of a text, special ones included.

    `whole` is the tokenizer that cuts nothing, and `cut` holds those that do, by the side.

    Raises:
        InputError: The file is damaged, or so few tokens hold nothing.
    """

    def __init__(self, path: Path, longest: int) -> None:
        self.longest, self.whole = longest, read_tokenizer(path)
        self.cut = {"right": read_tokenizer(path), "left": read_tokenizer(path)}
        for side, tokenizer in self.cut.items():
            try:
                tokenizer.enable_truncation(longest, direction=side)
            except Exception as err:  # tokenizers raises Exception itself
                raise unreadable(path, err) from err

    def piece(self, item: Item, cut: Cut, *, keep: bool = False) -> Piece:
        """The tokens of an item; `keep` as in `piece_of`.

        Raises:
            TextTooLong: It has too many, and may not be cut.
        """
        texts = [text if text is None else self._near(text, cut) for text in (item.text.strip(), _stripped(item.pair))]
        encoding = self.whole.encode(*texts)
        if len(encoding) <= self.longest:
            return piece_of(encoding, keep=keep)
        if not cut.allowed:
            raise TextTooLong(f"`inputs` must have less than {self.longest} tokens. Given: {len(encoding)}")
        return piece_of(self.cut[cut.side].encode(*texts), keep=keep)

    def _near(self, text: str, cut: Cut) -> str:
        """As much of a text as may be read."""
        most = self.longest * CHARACTERS
        if len(text) <= most:
            return text
        if not cut.allowed:
            raise TextTooLong(f"`inputs` must have less than {most} characters. Given: {len(text)}")
        return text[:most] if cut.side == "right" else text[-most:]


def refuse_endless(text: str) -> None:
    """Raise TextTooLong for a text that is too long even for windows."""
    if len(text) > MOST_CHARACTERS:
        raise TextTooLong(f"`inputs` must have less than {MOST_CHARACTERS} characters. Given: {len(text)}")


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()
