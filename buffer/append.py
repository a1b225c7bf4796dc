"""append: the first step of a span's way in the buffer. Spans go into segments, then their segments into due queues.

Invariant: the queue entry is written after the data, and ``append`` returns only after both, so a caller that crashes
or gets an error does the same call again; parts that are already there are recognised by content. An entry is taken
out here only of a segment that has joined another, and only together with setting that one's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from redis.cluster import RedisCluster

from buffer import scripts
from buffer.codec import Codec
from buffer.grouping import group
from buffer.keys import Keys, member
from buffer.model import Appended, Outcome, Outcomes, Part, Span, Trace
from buffer.scripts import Client, Command
from buffer.settings import Settings

MAX_CALL_SPANS, MAX_CALL_TRACES = 250, 100
"""What one script call takes, or one part: bounds how long Redis serves nobody else. A trace costs like some spans."""
WAITING, ROOTED, FULL, JOINED = 0, 1, 2, 3

_Call = list[tuple[Trace, list[Part]]]


def append(
    client: Client, keys: Keys, settings: Settings, codec: Codec, spans: Iterable[Span], now_ms: int
) -> Appended:
    traces, outcomes = group(spans, settings.max_span_bytes, codec)
    one_slot = isinstance(client, RedisCluster)
    calls = list(_calls(traces, one_slot=one_slot))
    replies = [
        scripts.append_reply(reply)
        for reply in scripts.run(
            client,
            [
                scripts.append(
                    keys,
                    call,
                    now_ms=now_ms,
                    segment_ttl_ms=settings.segment_ttl_ms,
                    index_ttl_ms=settings.index_ttl_ms,
                    max_segment_bytes=settings.max_segment_bytes,
                    max_index_entries=settings.max_index_entries,
                )
                for call in calls
            ],
            replicas=settings.ack_replicas,
        )
    ]
    scripts.run(
        client,
        _queue(keys, settings, zip(calls, replies, strict=True), now_ms, one_slot=one_slot),
        replicas=settings.ack_replicas,
    )
    for reply in replies:
        outcomes += _outcomes(reply)
    return Appended(
        spans=sum(reply.taken for reply in replies),
        parts=sum(len(parts) for parts in traces.values()),
        merges=sum(reply.merges for reply in replies),
        overflows=sum(reply.overflows for reply in replies),
        outcomes=outcomes,
    )


def _calls(traces: dict[Trace, list[Part]], *, one_slot: bool) -> Iterator[_Call]:
    """The parts of a trace stay in order; many traces share a call where they may."""
    call: _Call = []
    spans = 0
    for trace, parts in traces.items():
        if len(call) == (1 if one_slot else MAX_CALL_TRACES):
            yield call
            call, spans = [], 0
        for part in parts:
            if call and spans + part.count > MAX_CALL_SPANS:
                yield call
                call, spans = [], 0
            if not call or call[-1][0] is not trace:
                call.append((trace, []))
            call[-1][1].append(part)
            spans += part.count
    if call:
        yield call


def _queue(
    keys: Keys,
    settings: Settings,
    replies: Iterable[tuple[_Call, scripts.AppendReply]],
    now_ms: int,
    *,
    one_slot: bool,
) -> list[Command]:
    """Of two deadlines for one segment the later call's counts: it saw more."""
    shards: dict[int, tuple[dict[bytes, int], set[bytes]]] = {}
    rooted_ms, waiting_ms = now_ms + settings.root_timeout_ms, now_ms + settings.timeout_ms
    for call, reply in replies:
        for number, key, state, first_seen_ms in reply.segments:
            trace = call[number][0]
            entries, joined = shards.setdefault(keys.shard(trace), ({}, set()))
            name = member(trace, key)
            if state == JOINED:
                entries.pop(name, None)
                joined.add(name)
            elif state == FULL:
                entries[name] = now_ms
            else:
                quiet_ms = rooted_ms if state == ROOTED else waiting_ms
                entries[name] = min(quiet_ms, first_seen_ms + settings.max_segment_age_ms)
    # An index may be forgotten late_grace after it was used; only then can a segment come to be where a link was.
    latest_ms = now_ms + min(settings.timeout_ms, settings.late_grace_ms)
    calls = [{shard: one} for shard, one in shards.items()] if one_slot else [shards]
    return [scripts.enqueue(keys, call, ttl_ms=settings.queue_ttl_ms, latest_ms=latest_ms) for call in calls if call]


def _outcomes(reply: scripts.AppendReply) -> Outcomes:
    return Counter(
        {
            f"{Outcome.DUPLICATE}.buffered": reply.duplicates,
            f"{Outcome.DUPLICATE}.flushed": reply.flushed_duplicates,
            f"{Outcome.EXPIRED}.segment_ttl": reply.expired,
        }
    )
