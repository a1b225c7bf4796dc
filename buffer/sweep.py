"""sweep: the safety net. A slow scan for segments that are neither queued nor claimed.

It should find nothing: the order of steps everywhere else sees to that. What it does find is queued and counted, and
that count is an alarm. So it looks at a suspect a second time: data goes before its entry, and a segment that is still
there after its entry was missing has lost it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from redis.exceptions import RedisClusterException, RedisError

from buffer import scripts
from buffer.errors import BufferUnavailable
from buffer.keys import Keys, member
from buffer.model import Swept
from buffer.scripts import Client, Command
from buffer.settings import Settings

BATCH = 500


@dataclass(frozen=True, slots=True)
class _Segment:
    key: bytes
    shard: int
    member: bytes


def sweep(client: Client, keys: Keys, settings: Settings, shards: Iterable[int], now_ms: int) -> Swept:
    shards = list(shards)
    found = _scanned(client, keys)
    seen = requeued = 0
    while batch := list(islice(found, BATCH)):
        seen += len(batch)
        suspects = _idle(client, settings, _segments(keys, batch))
        suspects = _without_entry(client, keys, [s.shard for s in suspects], suspects)
        for shard in shards if suspects else []:  # the shard count may have changed
            suspects = _without_entry(client, keys, [shard] * len(suspects), suspects)
        orphans = _idle(client, settings, suspects)
        queue = [
            scripts.requeue(keys, s.shard, s.member, deadline_ms=now_ms, ttl_ms=settings.queue_ttl_ms) for s in orphans
        ]
        requeued += sum(scripts.run(client, queue))
    return Swept(seen, requeued)


def _scanned(client: Client, keys: Keys) -> Iterator[bytes]:
    try:
        yield from client.scan_iter(match=keys.prefix + b":s:*", count=BATCH)
    except (RedisError, RedisClusterException) as error:
        raise BufferUnavailable(f"Redis did not answer: {error}. Nothing is lost; do it again.") from error


def _segments(keys: Keys, found: Iterable[bytes]) -> list[_Segment]:
    segments: list[_Segment] = []
    for name in found:
        try:
            trace, key = keys.parse_segment(name)
        except ValueError:  # somebody else's
            continue
        segments.append(_Segment(name, keys.shard(trace), member(trace, key)))
    return segments


def _idle(client: Client, settings: Settings, segments: Sequence[_Segment]) -> list[_Segment]:
    """Those that are there and were not touched just now: an append may stand between its data and its entry."""
    idle_s = scripts.run(client, [Command(s.key, ("OBJECT", "IDLETIME", s.key)) for s in segments])
    return [s for s, idle in zip(segments, idle_s, strict=True) if idle is not None and idle >= settings.sweep_idle]


def _without_entry(client: Client, keys: Keys, shards: Sequence[int], segments: Sequence[_Segment]) -> list[_Segment]:
    """Those that are neither in the queue nor in the claims of the shard beside them."""
    zsets = [zset for shard in shards for zset in (keys.queue(shard), keys.claims(shard))]
    members = [s.member for s in segments for _ in range(2)]
    scores = scripts.run(
        client, [Command(z, ("ZSCORE", z, m)) for z, m in zip(zsets, members, strict=True)], foreign_types=True
    )
    entries = zip(scores[::2], scores[1::2], strict=True)
    return [s for s, (queued, claimed) in zip(segments, entries, strict=True) if queued is None and claimed is None]
