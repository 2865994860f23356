"""Pictures of characters, drawn by Pillow, for networks that read scripts whose words are pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError, first_line, shown

NO_CHARACTER = "\U0010fffe"  # stands for none, so that a font draws what it draws for all that it lacks
MOST_MISSING = 0.1
SHOWN = 10


class Font:
    """A font at a size.

    Args:
        path: A file that FreeType reads: .ttf, .otf, .ttc, .woff.
        size: Pixels of a picture's side.

    Raises:
        InputError: Pillow is not installed, or the file is no font.
    """

    def __init__(self, path: Path, size: int) -> None:
        try:
            from PIL import ImageFont
        except ImportError as err:
            raise InputError(
                "pictures of characters are drawn by Pillow, which is not installed; pip install pillow."
            ) from err
        self.path, self.size = path, size
        try:
            self.font: Any = ImageFont.truetype(str(path), size=size - 2)
        except OSError as err:
            raise InputError(
                f"font {path} cannot be read as one ({first_line(err)}); give a .ttf, .otf or .ttc of the vocabulary's script."
            ) from err
        self.none = self.drawn(NO_CHARACTER).tobytes()

    def drawn(self, character: str) -> np.ndarray:
        """A character in the middle of its picture, 0 to 1, (size, size)."""
        from PIL import Image, ImageDraw

        picture = Image.new("L", (self.size, self.size))
        ImageDraw.Draw(picture).text((self.size / 2, self.size / 2), character, fill=255, font=self.font, anchor="mm")
        return np.asarray(picture, dtype=np.float32) / 255

    def pictures(self, characters: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
        """The pictures of those characters that the font has, and those that it lacks.

        Raises:
            InputError: It lacks more than a tenth.
        """
        drawn = {character: self.drawn(character) for character in characters}
        missing = [character for character, picture in drawn.items() if picture.tobytes() == self.none]
        if len(missing) > MOST_MISSING * len(drawn):
            raise InputError(
                f"font {self.path} has no picture of {len(missing)} of the vocabulary's {len(drawn)} characters, such as "
                f"{shown(''.join(missing[:SHOWN]))}; at most a tenth may be missing: give a font of this script."
            )
        return {character: picture for character, picture in drawn.items() if character not in set(missing)}, missing
