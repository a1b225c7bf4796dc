"""Part bytes <-> spans. A part is one subsegment, or a slice of one, packed once and never changed.

Layout: version (1 byte, 2), dictionary id (4, 0 is none), spans (2), payload bytes (4), then a zstd frame of: 49 bytes
of ids a span, 4 bytes of length a span, the payloads. The scripts read the first eleven bytes. The digest is over the
unpacked content, so the
same spans have the same name however they were compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate, pairwise
from threading import local

import zstandard

from buffer.errors import DamagedPart
from buffer.model import Digest, Part, SegmentKey, Span, Trace

VERSION = 2
HEADER = struct.Struct(">BIHI")
IDS_BYTES = 49
NO_ID = " " * 16
LEVEL = 1

_zstd = local()  # a (de)compressor serves one thread at a time


def pack(parent: SegmentKey, has_root: bool, spans: Sequence[Span], span_ids: bytes) -> Part:
    payloads = [span.payload for span in spans]
    ids = "".join(
        [f"{s.span_id}{s.parent_span_id or NO_ID}{s.segment_id or NO_ID}{'1' if s.is_segment else '0'}" for s in spans]
    )
    lengths = struct.pack(f"<{len(spans)}I", *map(len, payloads))
    content = b"".join([ids.encode(), lengths, *payloads])
    raw_bytes = len(content) - (IDS_BYTES + 4) * len(spans)
    if not hasattr(_zstd, "compressor"):
        _zstd.compressor = zstandard.ZstdCompressor(level=LEVEL)
    blob = HEADER.pack(VERSION, 0, len(spans), raw_bytes) + _zstd.compressor.compress(content)
    return Part(parent, has_root, span_ids, Digest(blake2b(content, digest_size=16).digest()), blob, raw_bytes)


def unpack(trace: Trace, digest: Digest, blob: bytes) -> list[Span]:
    """The spans of one part. Raises DamagedPart for bytes that are not what the digest names."""
    try:
        version, _, count, raw_bytes = HEADER.unpack_from(blob)
        if version != VERSION:
            raise DamagedPart(f"part version {version} is not known here")
        size = (IDS_BYTES + 4) * count + raw_bytes
        if not hasattr(_zstd, "decompressor"):
            _zstd.decompressor = zstandard.ZstdDecompressor()
        if zstandard.frame_content_size(blob[HEADER.size :]) != size:
            raise DamagedPart("part and frame differ in size")
        content = _zstd.decompressor.decompress(blob[HEADER.size :], max_output_size=size)
        if blake2b(content, digest_size=16).digest() != digest:
            raise DamagedPart("part is not what its digest names")
        lengths = struct.unpack_from(f"<{count}I", content, IDS_BYTES * count)
        ids = content[: IDS_BYTES * count].decode("ascii")
    except (struct.error, zstandard.ZstdError, UnicodeDecodeError) as error:
        raise DamagedPart(f"part cannot be read: {error}") from None
    bounds = accumulate(lengths, initial=(IDS_BYTES + 4) * count)
    return [
        _span(trace, ids[i * IDS_BYTES : (i + 1) * IDS_BYTES], content[a:b])
        for i, (a, b) in enumerate(pairwise(bounds))
    ]


def _span(trace: Trace, ids: str, payload: bytes) -> Span:
    parent, segment = ids[16:32], ids[32:48]
    return Span(
        trace.project_id,
        trace.trace_id,
        ids[:16],
        None if parent == NO_ID else parent,
        ids[48] == "1",
        None if segment == NO_ID else segment,
        payload,
    )
