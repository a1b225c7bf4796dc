"""The faulty functions that `controls.py` puts in the place of the library's own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from buffer import Claim, Receipt, Settings, Span, scripts
from buffer.append import JOINED, append
from buffer.cleanup import cleanup
from buffer.codec import Codec
from buffer.grouping import group
from buffer.keys import Keys, member
from buffer.load import Loaded, load
from buffer.model import Appended, Cleaned, SegmentKey
from buffer.scripts import Client, Command, LoadReply

COUNT = """
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value or #value < 19 then return end
local _, spans = struct.unpack('>BI4', value)
redis.call('HSET', KEYS[1], 'k' .. ARGV[2], spans)
"""


def load_then_count(
    client: Client, keys: Keys, settings: Settings, codec: Codec, claims: Sequence[Claim], now_ms: int
) -> Loaded:
    loaded = load(client, keys, settings, codec, claims, now_ms)
    receipts = [segment.receipt for segment in loaded]
    indexes = [keys.index(receipt.trace) for receipt in receipts]
    counts = [("EVAL", COUNT, 1, i, r.key, r.flush_id) for i, r in zip(indexes, receipts, strict=True)]
    scripts.run(client, [Command(i, words) for i, words in zip(indexes, counts, strict=True)])
    return loaded


def queue_then_segment(
    client: Client, keys: Keys, settings: Settings, receipts: Iterable[Receipt], now_ms: int
) -> Cleaned:
    receipts = list(receipts)
    ends = [scripts.Ended(r.trace, r.key, r.shard, r.lease_us, None, now_ms) for r in receipts]
    scripts.run(client, scripts.cleanup_queue(keys, ends, ttl_ms=settings.queue_ttl_ms))
    return cleanup(client, keys, settings, receipts, now_ms)


def queue_then_append(
    client: Client, keys: Keys, settings: Settings, codec: Codec, spans: Iterable[Span], now_ms: int
) -> Appended:
    spans = list(spans)
    before: list[Command] = []
    for trace, parts in group(spans, settings.max_span_bytes, codec)[0].items():
        queue = keys.queue(keys.shard(trace))
        for part in parts:
            before.append(Command(queue, ("ZADD", queue, now_ms + settings.timeout_ms, member(trace, part.parent))))
        before.append(Command(queue, ("PEXPIRE", queue, settings.queue_ttl_ms)))
    scripts.run(client, before)
    return append(client, keys, settings, codec, spans, now_ms)


def append_then_zrem(
    client: Client, keys: Keys, settings: Settings, codec: Codec, spans: Iterable[Span], now_ms: int
) -> Appended:
    spans = list(spans)
    appended = append(client, keys, settings, codec, spans, now_ms)
    after: list[Command] = []
    for trace, parts in group(spans, settings.max_span_bytes, codec)[0].items():
        queue = keys.queue(keys.shard(trace))
        ids = {part.span_ids[at : at + 8] for part in parts for at in range(0, len(part.span_ids), 8)}
        for key in ids - {part.parent for part in parts}:
            after.append(Command(queue, ("ZREM", queue, member(trace, SegmentKey(key)))))
    scripts.run(client, after)
    return appended


def nothing_to_queue(
    keys: Keys, settings: Settings, replies: Iterable[tuple[Any, scripts.AppendReply]], now_ms: int, *, one_slot: bool
) -> list[Command]:
    """In the place of what queues after an append; the replies are taken all the same."""
    return []


_queue = sys.modules["buffer.append"].__dict__["_queue"]


def take_out_first(
    keys: Keys, settings: Settings, replies: Iterable[tuple[Any, scripts.AppendReply]], now_ms: int, *, one_slot: bool
) -> list[Command]:
    replies = list(replies)
    first: list[Command] = []
    for call, reply in replies:
        for number, key, state, _ in reply.segments:
            trace = call[number][0]
            queue = keys.queue(keys.shard(trace))
            if state == JOINED:
                first.append(Command(queue, ("ZREM", queue, member(trace, key))))
    return [*first, *_queue(keys, settings, replies, now_ms, one_slot=one_slot)]


def ours_in_seconds(client: Client, keys: Keys, claims: Sequence[Claim]) -> list[Claim]:
    zsets = [keys.claims(claim.shard) for claim in claims]
    commands = [Command(z, ("ZSCORE", z, member(c.trace, c.key))) for z, c in zip(zsets, claims, strict=True)]
    scores = scripts.run(client, commands)
    return [c for c, s in zip(claims, scores, strict=True) if s is not None and round(float(s) * 1e6) == c.lease_us]


_load_reply = scripts.load_reply


def forget_where(reply: list[Any]) -> LoadReply:
    found = _load_reply(reply)
    return found if found.fields or found.busy_until_ms else found._replace(left=None)
