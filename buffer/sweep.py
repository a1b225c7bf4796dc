"""sweep: the safety net. A slow scan for segments that are neither queued nor claimed.

It should find nothing: the order of steps everywhere else sees to that. What it does find is queued and counted, and
that count is an alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from buffer import scripts
from buffer.keys import Keys, member
from buffer.model import Swept
from buffer.scripts import Client, Command
from buffer.settings import Settings

BATCH = 500


def sweep(client: Client, keys: Keys, settings: Settings, shards: Iterable[int], now_ms: int) -> Swept:
    shards = list(shards)
    found = client.scan_iter(match=keys.prefix + b":s:*", count=BATCH)
    seen = requeued = 0
    while batch := list(islice(found, BATCH)):
        seen += len(batch)
        requeued += _requeue(client, keys, settings, shards, list(_idle(client, settings, batch)), now_ms)
    return Swept(seen, requeued)


def _idle(client: Client, settings: Settings, segments: list[bytes]) -> Iterator[bytes]:
    """Leaves out what was touched just now: an append may stand between its data and its queue entry."""
    for segment, idle_s in zip(
        segments, scripts.run(client, [Command(s, ("OBJECT", "IDLETIME", s)) for s in segments]), strict=True
    ):
        if isinstance(idle_s, int) and idle_s >= settings.sweep_idle:
            yield segment


def _requeue(
    client: Client, keys: Keys, settings: Settings, shards: list[int], segments: list[bytes], now_ms: int
) -> int:
    orphans = 0
    for segment in segments:
        try:
            trace, key = keys.parse_segment(segment)
        except ValueError:  # somebody else's
            continue
        entry = member(trace, key)
        zsets = [zset for shard in shards for zset in (keys.queue(shard), keys.claims(shard))]
        own = keys.shard(trace)
        queue_or_claim = [keys.queue(own), keys.claims(own)]
        if any(s is not None for s in scripts.run(client, [Command(z, ("ZSCORE", z, entry)) for z in queue_or_claim])):
            continue
        if any(s is not None for s in scripts.run(client, [Command(z, ("ZSCORE", z, entry)) for z in zsets])):
            continue  # in the queue of another shard count
        requeue = scripts.requeue(keys, own, entry, deadline_ms=now_ms, ttl_ms=settings.queue_ttl_ms)
        orphans += scripts.run(client, [requeue])[0]
    return orphans
