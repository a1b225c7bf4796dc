"""Every Redis key of the buffer: pattern, type, TTL, slot. The only place that builds one.

A segment's list and the index of its trace share the slot of ``{project:trace}``; a due queue and its claims share the
slot of the shard. Ids in keys are checked before they come here: decimal digits, hex digits, raw span id bytes.

| key                              | type | holds                                                  | TTL        |
| -------------------------------- | ---- | ------------------------------------------------------ | ---------- |
| span-buf:s:{project:trace}:KEY   | list | digest, part, ...; "f" + flush id, flush record, ...   | segment    |
| span-buf:l:{project:trace}       | hash | links, heads, the register of parts, count of segments | index      |
| span-buf:q:{SHARD}               | zset | due queue: member -> deadline in ms                    | queue      |
| span-buf:c:{SHARD}               | zset | claims: member -> end of lease in us                   | queue      |
| span-buf:o:DAY                   | hash | outcomes of one UTC day: category.reason -> spans      | eight days |
| span-buf:p                       | zset | when the youngest lag probe that arrived was sent, ms  | queue      |
| span-buf:d:DIGEST                | int  | deliveries of one ingest message after the first       | late_grace |
| span-buf:z:{COPY}:ID             | str  | a dictionary that parts are packed with                | queue      |
| span-buf:z:{COPY}                | str  | ID of the dictionary in use, eight hex digits          | queue      |
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from buffer.model import SegmentKey, Trace
from buffer.settings import Settings

COPIES = (b"a", b"b", b"c")
"""Of dictionaries. Their slots are in the first, the second and the last third of all."""


@dataclass(frozen=True, slots=True)
class Keys:
    prefix: bytes
    shards: int

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        return cls(settings.key_prefix.encode(), settings.shards)

    def index(self, trace: Trace) -> bytes:
        return b"%b:l:{%d:%b}" % (self.prefix, trace.project_id, trace.trace_id.encode())

    def segments(self, trace: Trace) -> bytes:
        """The prefix of the trace's segments; a script appends the segment key, which only it may know."""
        return b"%b:s:{%d:%b}:" % (self.prefix, trace.project_id, trace.trace_id.encode())

    def queue(self, shard: int) -> bytes:
        return b"%b:q:{%d}" % (self.prefix, shard)

    def claims(self, shard: int) -> bytes:
        return b"%b:c:{%d}" % (self.prefix, shard)

    def outcomes(self, day: str) -> bytes:
        return b"%b:o:%b" % (self.prefix, day.encode())

    def probe(self) -> bytes:
        return b"%b:p" % self.prefix

    def deliveries(self, message: str) -> bytes:
        return b"%b:d:%b" % (self.prefix, message.encode())

    def dictionaries(self, dictionary_id: int) -> list[bytes]:
        """Every copy of one."""
        return [b"%b:z:{%b}:%08x" % (self.prefix, copy, dictionary_id) for copy in COPIES]

    def dictionary_names(self) -> list[bytes]:
        """Every copy of the name of the one in use."""
        return [b"%b:z:{%b}" % (self.prefix, copy) for copy in COPIES]

    def shard(self, trace: Trace) -> int:
        """Stable across processes and releases: entries of live segments depend on it."""
        return crc32(b"%d:%b" % (trace.project_id, trace.trace_id.encode())) % self.shards

    def parse_segment(self, key: bytes) -> tuple[Trace, SegmentKey]:
        """The reverse of ``segments(trace) + key``. Raises ValueError for a key that is not one."""
        tag, segment = key[len(self.prefix) + 4 :].split(b"}:", 1)
        project, trace_id = tag.split(b":")
        return Trace(*_checked(project, trace_id, segment)), SegmentKey(segment)


def member(trace: Trace, key: SegmentKey) -> bytes:
    """A segment as it stands in queues and claims: ``project:trace:`` and the raw segment key."""
    return b"%d:%b:%b" % (trace.project_id, trace.trace_id.encode(), key)


def parse_member(entry: bytes) -> tuple[Trace, SegmentKey]:
    """The reverse of ``member``. Raises ValueError for an entry that is not one."""
    project, trace_id, key = entry.split(b":", 2)
    return Trace(*_checked(project, trace_id, key)), SegmentKey(key)


def _checked(project: bytes, trace_id: bytes, key: bytes) -> tuple[int, str]:
    if not (project.isdigit() and len(bytes.fromhex(trace_id.decode())) == 16 and len(key) in {8, 12}):
        raise ValueError("names no segment of the buffer")
    return int(project), trace_id.decode()


def segment_id(key: SegmentKey) -> str:
    """The span id a segment is published under when nothing links it elsewhere."""
    return key[:8].hex()
