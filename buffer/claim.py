"""claim: due segments leave their queue for the claims, in one step, until the lease ends.

Invariant: a segment is in the queue or claimed, never in neither. A claim whose flush died is due again when its lease
ends; one that is alive is left alone. Claiming reads no content.
"""

from __future__ import annotations

from collections.abc import Iterable
from secrets import randbelow

from buffer import scripts
from buffer.keys import Keys, parse_member
from buffer.model import Claim, LeaseUs
from buffer.scripts import Client, Command
from buffer.settings import MAX_SHARDS, Settings


def claim(
    client: Client, keys: Keys, settings: Settings, shards: Iterable[int], now_ms: int, limit: int
) -> list[Claim]:
    """At most ``limit`` claims, spread over the shards, so that one shard's backlog cannot starve the others."""
    lease_us = LeaseUs((now_ms + settings.lease_ms) * 1000 + randbelow(1000))
    claims: list[Claim] = []
    asking = list(shards)
    while asking and (room := limit - len(claims)) > 0:
        share = max(1, room // len(asking))
        asking, rest = asking[:room], asking[room:]
        replies = scripts.run(
            client,
            [
                scripts.claim(keys, shard, now_ms=now_ms, lease_us=lease_us, limit=share, ttl_ms=settings.queue_ttl_ms)
                for shard in asking
            ],
        )
        taken = {shard: scripts.claim_reply(reply) for shard, reply in zip(asking, replies, strict=True)}
        foreign: list[Command] = []
        for shard, entries in taken.items():
            for entry, deadline_ms in entries:
                try:
                    claims.append(Claim(*parse_member(entry), shard, lease_us, deadline_ms))
                except ValueError:  # names no segment, so nothing can be lost with it
                    foreign.append(Command(keys.claims(shard), ("ZREM", keys.claims(shard), entry)))
        scripts.run(client, foreign)
        asking = rest + [shard for shard, entries in taken.items() if len(entries) == share]
    return claims


def former_shards(client: Client, keys: Keys) -> list[int]:
    """Shards beyond today's count that still hold entries from older settings."""
    beyond = range(keys.shards, MAX_SHARDS)
    zsets = [zset for shard in beyond for zset in (keys.queue(shard), keys.claims(shard))]
    found = scripts.run(client, [Command(zset, ("EXISTS", zset)) for zset in zsets])
    return [shard for i, shard in enumerate(beyond) if found[2 * i] or found[2 * i + 1]]
