"""Part bytes <-> spans. A part is one subsegment, or a slice of one, packed once and never changed.

Layout: version (1 byte, 2), dictionary id (4, 0 is none), spans (2), payload bytes (4), then a zstd frame of the
content. The scripts read these first eleven bytes. The content is in columns, and depends on nothing but the spans:

    spans (2), columns of ids (1), flags (1 a span), span ids, parents, segments (8 a span), payloads, NUL between them

The ids of a span stand in its payload, too, as digits that hardly compress; there a mark takes their place, which saves
38 bytes of 120 a span for a microsecond. The digest is over the content, so the same spans have the same name however
they were compressed; two traces, which may have equal contents, share no register.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from hashlib import blake2b

import zstandard

from buffer.dictionary import NO_DICTIONARY, Dictionary
from buffer.errors import DamagedPart, DictionaryMissing
from buffer.model import Digest, Part, SegmentKey, Span, Trace

VERSION = 2
HEADER = struct.Struct(">BIHI")
MAX_PART_BYTES = 2**20
"""Payload of a part of more than one span."""

SHAPE = struct.Struct(">HB")
NO_ID = "0" * 16
HAS_PARENT, HAS_SEGMENT, IS_SEGMENT = 1, 2, 4
TRACE, OWN, PARENT, SEGMENT, ESCAPE = b"\1", b"\2", b"\3", b"\4", b"\5"
"""Marks, which no JSON text contains. What is no JSON text is escaped first, NULs included: those part the payloads."""


class Codec:
    """Packs with ``dictionary``, which may change between two parts; unpacks with whichever a part names."""

    def __init__(
        self, max_bytes: int = MAX_PART_BYTES, dictionary_of: Callable[[int], Dictionary] | None = None
    ) -> None:
        self.dictionary = NO_DICTIONARY
        self._max_bytes = max(max_bytes, MAX_PART_BYTES)
        self._dictionary_of = dictionary_of

    def pack(self, parent: SegmentKey, has_root: bool, spans: Sequence[Span]) -> Part:
        content, raw_bytes = _content(spans)
        dictionary = self.dictionary
        blob = HEADER.pack(VERSION, dictionary.id, len(spans), raw_bytes) + dictionary.compress(content)
        ids = SHAPE.size + len(spans)
        digest = Digest(blake2b(content, digest_size=16).digest())
        return Part(parent, has_root, content[ids : ids + 8 * len(spans)], digest, blob, raw_bytes)

    def unpack(self, trace: Trace, digest: Digest, blob: bytes) -> list[Span]:
        """The spans of one part. Raises DamagedPart for bytes that are not what the digest names."""
        content, count, raw_bytes = self.content(digest, blob)
        try:
            return _spans(trace, content, count, raw_bytes)
        except (struct.error, ValueError) as error:
            raise DamagedPart(f"part cannot be read: {error}") from None

    def content(self, digest: Digest, blob: bytes) -> tuple[bytes, int, int]:
        """What was compressed, the spans, the payload bytes. Raises DamagedPart."""
        try:
            version, dictionary_id, count, raw_bytes = HEADER.unpack_from(blob)
            if version != VERSION:
                raise DamagedPart(f"part version {version} is not known here")
            if raw_bytes > self._max_bytes:
                raise DamagedPart(f"part says it has {raw_bytes} bytes; max_segment_bytes is {self._max_bytes}")
            dictionary = self._named(dictionary_id) if dictionary_id else NO_DICTIONARY
            limit = SHAPE.size + 26 * count + 2 * raw_bytes  # an escaped payload takes twice its bytes at the most
            content = dictionary.decompress(blob[HEADER.size :], limit)
        except (struct.error, zstandard.ZstdError, ValueError) as error:
            raise DamagedPart(f"part cannot be read: {error}") from None
        if blake2b(content, digest_size=16).digest() != digest:
            raise DamagedPart("part is not what its digest names")
        return content, count, raw_bytes

    def _named(self, dictionary_id: int) -> Dictionary:
        if self._dictionary_of is None:
            raise DictionaryMissing(f"dictionary {dictionary_id:08x}: there is no Redis to ask for it")
        return self._dictionary_of(dictionary_id)


def _escape(text: bytes) -> bytes:
    """The letters are no hex digits, so an id is not found across them."""
    return re.sub(rb"[\x00-\x05]", lambda found: ESCAPE + bytes([found[0][0] + ord("g")]), text)


def _unescape(text: bytes) -> bytes:
    return re.sub(rb"\x05([g-l])", lambda found: bytes([found[1][0] - ord("g")]), text)


def _content(spans: Sequence[Span]) -> tuple[bytes, int]:
    """The content, and how many bytes the payloads have."""
    flags, ids, parents, segments, texts = [], [], [], [], []
    columns = 1
    raw_bytes = 0
    trace_id = spans[0].trace_id.encode()
    for span in spans:
        span_id, parent, segment, text = span.span_id, span.parent_span_id, span.segment_id, span.payload
        flag = IS_SEGMENT if span.is_segment else 0
        raw_bytes += len(text)
        if 0 in text or 1 in text or 2 in text or 3 in text or 4 in text or 5 in text:  # 0.02 us each
            text = _escape(text)
        text = _marked(_marked(text, trace_id, TRACE), span_id.encode(), OWN)
        if parent:
            flag |= HAS_PARENT
            columns = columns if columns > 1 else 2
            text = _marked(text, parent.encode(), PARENT)
        if segment:
            flag |= HAS_SEGMENT
            columns = 3
            text = _marked(text, segment.encode(), SEGMENT)
        flags.append(flag)
        ids.append(span_id)
        parents.append(parent or NO_ID)
        segments.append(segment or NO_ID)
        texts.append(text)
    digits = "".join(ids + parents + segments if columns == 3 else ids + parents if columns == 2 else ids)
    head = SHAPE.pack(len(spans), columns)
    return b"".join((head, bytes(flags), bytes.fromhex(digits), b"\0".join(texts))), raw_bytes


def _marked(text: bytes, digits: bytes, mark: bytes) -> bytes:
    """Once is enough. From behind, for that costs a third where the ids come last, and no more where they do not."""
    before, found, after = text.rpartition(digits)
    return mark.join((before, after)) if found else text


def _spans(trace: Trace, content: bytes, count: int, raw_bytes: int) -> list[Span]:
    """Raises ValueError for a content that has other spans, or other bytes, than the header says."""
    project_id, trace_id = trace.project_id, trace.trace_id
    trace_digits = trace_id.encode()
    spans_here, columns = SHAPE.unpack_from(content)
    ids = SHAPE.size + count
    payloads = ids + 8 * count * columns
    digits = content[ids:payloads].hex()
    texts = content[payloads:].split(b"\0")
    if spans_here != count or len(texts) != count:
        raise ValueError("it has not as many spans as it says")
    spans = []
    for i, marked in enumerate(texts):
        flag = content[SHAPE.size + i]
        at = 16 * i
        span_id, parent, segment = digits[at : at + 16], None, None
        text = marked.replace(TRACE, trace_digits).replace(OWN, span_id.encode())
        if flag & HAS_PARENT:
            at += 16 * count
            parent = digits[at : at + 16]
            text = text.replace(PARENT, parent.encode())
        if flag & HAS_SEGMENT:
            at = 16 * (i + 2 * count)
            segment = digits[at : at + 16]
            text = text.replace(SEGMENT, segment.encode())
        if 5 in text:
            text = _unescape(text)
        raw_bytes -= len(text)
        spans.append(Span(project_id, trace_id, span_id, parent, flag & IS_SEGMENT != 0, segment, text))
    if raw_bytes:
        raise ValueError("its payloads have other lengths than it says")
    return spans
