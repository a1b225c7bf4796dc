"""claim: due segments leave their queue for the claims, in one step, until the lease ends.

Invariant: a segment is in the queue or claimed, never in neither. A claim whose flush died is due again when its lease
ends; one that is alive is left alone. Claiming reads no content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from secrets import randbelow

from buffer import scripts
from buffer.keys import Keys, parse_member
from buffer.model import Claim, LeaseUs
from buffer.scripts import Client, Command
from buffer.settings import MAX_SHARDS, Settings

MAX_CALL_CLAIMS = 500
"""Entries that one script call takes: bounds how long Redis serves nobody else; 10,000 took 32 ms."""


def claim(
    client: Client, keys: Keys, settings: Settings, shards: Iterable[int], now_ms: int, due_ms: int, limit: int
) -> list[Claim]:
    """At most ``limit`` claims, spread over the shards, so that one shard's backlog cannot starve the others.

    Due is what was due at ``due_ms``; leases are compared with ``now_ms``.
    """
    drawn = randbelow(1000)
    claims: list[Claim] = []
    asking = list(shards)
    while asking and (room := limit - len(claims)) > 0:
        share = min(MAX_CALL_CLAIMS, max(1, room // len(asking)))
        asking, rest = asking[:room], asking[room:]
        leases = {shard: _lease(settings, now_ms, drawn, shard) for shard in asking}
        replies = scripts.run(
            client,
            [
                scripts.claim(
                    keys,
                    shard,
                    due_ms=due_ms,
                    now_ms=now_ms,
                    lease_us=lease_us,
                    limit=share,
                    ttl_ms=settings.queue_ttl_ms,
                )
                for shard, lease_us in leases.items()
            ],
            foreign_types=True,
        )
        taken = dict(zip(leases.items(), (scripts.claim_reply(reply or []) for reply in replies), strict=True))
        for (shard, lease_us), entries in taken.items():
            claims += _claims(client, keys, shard, lease_us, entries)
        asking = rest + [shard for (shard, _), entries in taken.items() if len(entries) == share]
    return claims


def _lease(settings: Settings, now_ms: int, drawn: int, shard: int) -> LeaseUs:
    """Differs between the shards of one call: a segment may be queued in two while the shard count changes."""
    return LeaseUs((now_ms + settings.lease_ms + shard // 1000) * 1000 + (drawn + shard) % 1000)


def _claims(
    client: Client, keys: Keys, shard: int, lease_us: LeaseUs, entries: list[tuple[bytes, int]]
) -> Iterator[Claim]:
    for entry, deadline_ms in entries:
        try:
            yield Claim(*parse_member(entry), shard, lease_us, deadline_ms)
        except ValueError:  # names no segment, so nothing can be lost with it
            zset = keys.claims(shard)
            scripts.run(client, [Command(zset, ("ZREM", zset, entry))])


def former_shards(client: Client, keys: Keys) -> list[int]:
    """Shards beyond today's count that still hold entries from older settings."""
    beyond = range(keys.shards, MAX_SHARDS)
    zsets = [zset for shard in beyond for zset in (keys.queue(shard), keys.claims(shard))]
    found = scripts.run(client, [Command(zset, ("EXISTS", zset)) for zset in zsets])
    return [shard for i, shard in enumerate(beyond) if found[2 * i] or found[2 * i + 1]]
