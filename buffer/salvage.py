"""Splits the text of a batch into the texts of its items, also when the text is broken.

On a span's way: first step of `decode` for bytes. A well-formed array is split by msgspec; a broken one here, by
its brackets alone and without recursion, so that one bad item (NaN, a thousand levels, a stray byte) keeps its
neighbours. Invariant: every whole item is returned, and `cut` says that text without a whole item was left over.
It does not parse the items: whether one is JSON is decided by `span_json`.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import zstandard

from buffer.invalid import Invalid

_WINDOW_BYTES: Final = 2**27
"""What every decoder of zstd must be ready to hold; a frame that asks for more is refused."""
_BLANK: Final = b" \t\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# A line break ends a string: JSON allows none inside, so its quote was not closed.
# Possessive (`*+`): going back would cost memory on hostile text.
_TOKEN: Final = re.compile(rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"?|[\[\]{},]', re.DOTALL)
_QUOTE: Final = ord('"')
_OPENER: Final = {"]": "[", "}": "{"}
_SPLIT_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_SPLIT_ONE: Final = msgspec.json.Decoder(msgspec.Raw)


class Split(NamedTuple):
    """The item texts of one batch; `cut`: something after the last of them was not a whole item."""

    items: list[bytes]
    cut: bool = False


def unpacked(text: bytes, *, max_bytes: int) -> bytes:
    """What a zstd frame holds; other text as it is. The frame says its size before any memory is taken for it."""
    if not text.startswith(zstandard.FRAME_HEADER):
        return text
    try:
        if zstandard.frame_content_size(text) > max_bytes:
            raise Invalid("batch_too_large")
        unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        return unpacker.decompress(text, max_output_size=max_bytes, allow_extra_data=False)
    except (zstandard.ZstdError, ValueError):
        raise Invalid("not_zstd") from None


def trimmed(text: bytes) -> bytes:
    """Without a byte order mark, and without blanks around it."""
    return text.removeprefix(_BYTE_ORDER_MARK).strip(_BLANK)


def split(text: bytes, *, max_salvage_bytes: int) -> Split:
    """The items of a trimmed text, array or lines; only the first max_salvage_bytes of a broken array are searched."""
    if not text.startswith(b"["):
        return Split(_lines(text))
    try:
        return Split([bytes(item) for item in _SPLIT_ARRAY.decode(text)])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _salvage(text[:max_salvage_bytes])


def depth(text: bytes) -> int:
    """How deep the brackets of a JSON text are nested."""
    deepest = level = 0
    for _, sign in _structure(text, 0):
        if sign in "[{":
            level += 1
            deepest = max(deepest, level)
        elif sign in "]}":
            level -= 1
    return deepest


def _lines(text: bytes) -> list[bytes]:
    items = [line for line in (line.strip(_BLANK) for line in text.split(b"\n")) if line]
    if len(items) > 1 and not items[0].endswith(b"}") and _is_one_value(text):
        return [text]  # one object that was printed over several lines
    return items


def _is_one_value(text: bytes) -> bool:
    try:
        _SPLIT_ONE.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _salvage(text: bytes) -> Split:
    """A bracket that closes something further out closes what is open inside, so a broken item ends where it can."""
    items: list[bytes] = []
    opened: list[str] = []
    waiting = {"[": 0, "{": 0}  # how many of each are in `opened`: asking the list itself would be quadratic
    begin = 1
    for position, sign in _structure(text, 1):
        if sign == ",":
            if not opened:
                items.append(text[begin:position].strip(_BLANK))
                begin = position + 1
        elif sign in waiting:
            opened.append(sign)
            waiting[sign] += 1
        elif waiting[_OPENER[sign]]:
            while (closed := opened.pop()) != _OPENER[sign]:
                waiting[closed] -= 1
            waiting[closed] -= 1
        elif sign == "]" and not opened:
            tail = text[begin:position].strip(_BLANK)
            return Split([*items, tail] if tail or items else [], cut=position + 1 < len(text))
    return Split(items, cut=True)


def _structure(text: bytes, start: int) -> Iterator[tuple[int, str]]:
    """Brackets and commas outside strings."""
    for token in _TOKEN.finditer(text, start):
        sign = token[0]
        if sign[0] != _QUOTE:
            yield token.start(), sign.decode()
