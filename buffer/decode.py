"""What an `ingest` task got -> spans that can be buffered, and counts of those that cannot, by reason.

On a span's way: the first step, before `append`. A batch is a list of objects, or text: a JSON array, or one JSON
object a line, as it is or in one zstd frame. Invariant: every item ends as one span or as one count of one reason,
and a bad item costs none of its neighbours. Pure, and never raises. It does not look for repeats (`append` knows what
was delivered before) nor for circles of parents that span several batches.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final, NamedTuple, TypeVar

from buffer.circle import off_circles
from buffer.invalid import REASONS, Invalid
from buffer.model import Span
from buffer.salvage import split, trimmed, unpacked
from buffer.span_json import is_sound, parse, read_object, read_sound_text, read_text

__all__ = ["REASONS", "Decoded", "decode"]

Item = TypeVar("Item")
_TEXT: Final = (bytes, str, bytearray, memoryview)


class Decoded(NamedTuple):
    """`invalid` counts by reason, with keys from REASONS only."""

    spans: list[Span]
    invalid: Counter[str]


class _Limits(NamedTuple):
    span_bytes: int
    batch_bytes: int
    batch_spans: int


def decode(batch: object, *, max_span_bytes: int, max_batch_bytes: int, max_batch_spans: int) -> Decoded:
    """The first max_batch_spans items, as long as their payloads fit into max_batch_bytes; the rest are counted."""
    limits = _Limits(max_span_bytes, max_batch_bytes, max_batch_spans)
    try:
        if isinstance(batch, _TEXT):
            spans, invalid = _from_text(_as_bytes(batch), limits)
        elif isinstance(batch, list | tuple):
            spans, invalid = _take(batch, read_object, limits)
        else:
            raise Invalid("not_a_list")
    except Invalid as refused:
        return Decoded([], Counter([refused.reason]))
    straight = list(compress(spans, off_circles(spans)))
    if len(straight) < len(spans):
        invalid["parent_cycle"] += len(spans) - len(straight)
    return Decoded(straight, invalid)


def _as_bytes(text: bytes | str | bytearray | memoryview) -> bytes:
    """A lone surrogate becomes bytes that are not UTF-8, so that only its own item is refused for it."""
    return text.encode(errors="surrogatepass") if isinstance(text, str) else bytes(text)


def _from_text(given: bytes, limits: _Limits) -> Decoded:
    text = trimmed(unpacked(given, max_bytes=limits.batch_bytes))
    items, cut = split(text, max_salvage_bytes=limits.batch_bytes)
    if items == [text] and not text.startswith(b"{"):
        parse(text)
        raise Invalid("not_a_list")
    decoded = _take(items, read_sound_text if is_sound(text) else read_text, limits)
    if cut:
        decoded.invalid["batch_too_large" if len(text) > limits.batch_bytes else "not_json"] += 1
    return decoded


def _take(items: Sequence[Item], read: Callable[[Item], Span], limits: _Limits) -> Decoded:
    spans: list[Span] = []
    invalid: Counter[str] = Counter()
    room = limits.batch_bytes
    left_over = len(items)
    for item in items[: limits.batch_spans]:
        try:
            span = _read_within(limits.span_bytes, read, item)
        except Invalid as refused:
            invalid[refused.reason] += 1
        else:
            room -= len(span.payload)
            if room < 0:
                break
            spans.append(span)
        left_over -= 1
    if left_over:
        invalid["batch_too_large"] += left_over
    return Decoded(spans, invalid)


def _read_within(max_span_bytes: int, read: Callable[[Item], Span], item: Item) -> Span:
    if isinstance(item, bytes) and len(item) > max_span_bytes:
        raise Invalid("span_too_large")  # before the work of reading it
    span = read(item)
    if len(span.payload) > max_span_bytes:
        raise Invalid("span_too_large")
    return span
