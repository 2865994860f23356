"""Text out of bytes: which encoding, and where a file is not what it should be."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from compress.errors import InputError
from compress.tasks.data.packing import refuse_other_kind, unpacked_name

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_LOOKED_AT = 1 << 16
_SEVERAL_BYTES = ("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr")


def decoded(path: Path, content: bytes) -> str:
    """A file's text, without a byte order mark: UTF-8, or UTF-16 or UTF-32 with such a mark.

    Raises:
        InputError: It has another encoding, which is named as far as the bytes tell it, or is no text.
    """
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    if not mark:
        refuse_other_kind(str(path), content)
    try:
        text = content[len(mark) :].decode(encoding) if mark else content.decode("utf-8")
    except UnicodeDecodeError as err:
        raise _no_text(path, content[len(mark) :], err, encoding) from err
    if "\0" in text:
        at = text.index("\0")
        wide = None if mark else wide_encoding(content)
        what = (
            f"a zero byte, and the file looks like {wide.upper()} without a byte order mark; convert it "
            f"({_conversion(path, wide)})"
            if wide
            else "a NUL character, which no text has; the file is damaged or no text, so write it again"
        )
        raise InputError(f"{path}, line {1 if wide else text.count(chr(10), 0, at) + 1}: there is {what}.")
    return text


def text_lines(text: str) -> list[str]:
    """The lines of a text, which end in a line feed, or where there is none in a carriage return (old Macs); those stay off.

    Other characters that Unicode counts as line ends may stand in a text.
    """
    if "\n" not in text and "\r" in text:
        return text.split("\r")
    return text.split("\n")


def wide_encoding(content: bytes) -> str | None:
    """The encoding of two or four bytes a character that bytes without a mark look like; None where they look like none."""
    head = content[:_LOOKED_AT]
    for encoding, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        try:
            text = head[: len(head) // width * width].decode(encoding)
        except UnicodeDecodeError as err:
            if err.start < len(head) - 2 * width:  # not a character that the cut at the end halved
                continue
            text = head[: err.start].decode(encoding)
        fine = sum(character.isprintable() or character in "\t\r\n" for character in text)
        plain = sum(character in "\t\r\n ,;" or (character.isascii() and character.isalnum()) for character in text)
        if text and fine >= 0.95 * len(text) and plain >= 0.05 * len(text):
            return encoding
    return None


def _no_text(path: Path, content: bytes, err: UnicodeDecodeError, encoding: str) -> InputError:
    if encoding != "utf-8":
        return InputError(
            f"{path} begins with the mark of {encoding.upper()}, but is none from byte {err.start:,} on; it is damaged or cut "
            "off, so write it again, as UTF-8."
        )
    line = _line_of(content, err.start)
    said = f"{path}, line {line}: byte 0x{content[err.start]:02x} is no UTF-8"
    if err.start >= len(content) - 3 and err.reason == "unexpected end of data":
        return InputError(f"{said}, as the file ends within a character; it was cut off, so fetch or write it again.")
    if wide := wide_encoding(content):
        return InputError(
            f"{said}; the file looks like {wide.upper()} without a byte order mark; convert it ({_conversion(path, wide)})."
        )
    if _is_mostly_utf8(content):
        return InputError(f"{said}, though the rest of the file is; mend that line by hand, or write the file again as UTF-8.")
    fitting = fitting_encodings(content)
    if len(fitting) == 1:
        return InputError(f"{said}; the file fits {fitting[0]}: convert it ({_conversion(path, fitting[0])}).")
    return InputError(
        f"{said}; the bytes fit {', '.join(fitting)}: find out which of them it is, and convert the file "
        f"({_conversion(path, fitting[0])}, or with the other name)."
    )


def _line_of(content: bytes, at: int) -> int:
    end = b"\n" if b"\n" in content else b"\r"
    return content.count(end, 0, at) + 1


def _is_mostly_utf8(content: bytes) -> bool:
    """Whether most characters beyond ASCII are well-formed, so that one place was damaged or pasted in."""
    text = content.decode("utf-8", errors="replace")
    good = sum(1 for character in re.findall(r"[^\x00-\x7f]", text) if character != "\ufffd")
    return good > 2 * text.count("\ufffd")


def fitting_encodings(content: bytes) -> list[str]:
    """Names of encodings that bytes which are no UTF-8 may have, the likeliest first.

    Western text has single letters beyond ASCII among others: with bytes 0x80 to 0x9f (curly quotation marks, the euro sign)
    it is cp1252, without them it is latin1 as well. Where such bytes follow one another, it is a language that writes with
    them alone, and only trials tell.
    """
    content = content[: 16 * _LOOKED_AT].rpartition(b"\n")[0] if len(content) > 16 * _LOOKED_AT else content
    high = [match.end() - match.start() for match in re.finditer(rb"[\x80-\xff]+", content)]
    together = sum(length for length in high if length > 1)
    western = "cp1252" if re.search(rb"[\x80-\x9f]", content) else "latin1"
    if western == "cp1252" and re.search(rb"[\x81\x8d\x8f\x90\x9d]", content):
        western = ""
    if western and together <= 0.5 * sum(high):
        return [western]
    fitting = [name for name in _SEVERAL_BYTES if _decodes(content, name)]
    cyrillic = [name for name in ("cp1251", "koi8_r") if _decodes(content, name)]
    named = [*fitting, *cyrillic, *([western] if western else [])]
    return named or ["cp437"]


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _conversion(path: Path, encoding: str) -> str:
    name = unpacked_name(path.name)
    written = encoding if encoding in _WIDE else encoding.replace("_", "-")
    return f"iconv -f {written} -t utf-8 {name} > fixed{Path(name).suffix}"
