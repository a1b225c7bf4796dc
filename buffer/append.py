"""append: the first step of a span's way in the buffer. Spans go into segments, then their segments into due queues.

Invariant: the queue entry is written after the data, and ``append`` returns only after both, so a caller that crashes
or gets an error does the same call again; parts that are already there are recognised by content. No entry is ever
removed here.
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

MAX_CALL_SPANS = 250
"""Spans that one script call takes: bounds how long Redis serves nobody else."""
WAITING, ROOTED, FULL = 0, 1, 2

_Call = list[tuple[Trace, list[Part]]]


def append(
    client: Client, keys: Keys, settings: Settings, codec: Codec, spans: Iterable[Span], now_ms: int
) -> Appended:
    traces, outcomes = group(spans, settings.max_span_bytes, codec)
    calls = list(_calls(traces, one_slot=isinstance(client, RedisCluster)))
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
        client, _queue(keys, settings, zip(calls, replies, strict=True), now_ms), replicas=settings.ack_replicas
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
        if call and one_slot:
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
    keys: Keys, settings: Settings, replies: Iterable[tuple[_Call, scripts.AppendReply]], now_ms: int
) -> list[Command]:
    """One ZADD a shard. Of two deadlines for one segment the later call's counts: it saw more."""
    shards: dict[int, dict[bytes, int]] = {}
    for call, reply in replies:
        for number, key, state, first_seen_ms in reply.segments:
            trace = call[number][0]
            quiet_ms = settings.root_timeout_ms if state == ROOTED else settings.timeout_ms
            deadline_ms = min(now_ms + quiet_ms, first_seen_ms + settings.max_segment_age_ms)
            entries = shards.setdefault(keys.shard(trace), {})
            entries[member(trace, key)] = now_ms if state == FULL else deadline_ms
    commands: list[Command] = []
    for shard, entries in shards.items():
        queue = keys.queue(shard)
        commands.append(Command(queue, ("ZADD", queue, *(word for m, ms in entries.items() for word in (ms, m)))))
        commands.append(Command(queue, ("PEXPIRE", queue, settings.queue_ttl_ms)))
    return commands


def _outcomes(reply: scripts.AppendReply) -> Outcomes:
    return Counter(
        {
            f"{Outcome.DUPLICATE}.buffered": reply.duplicates,
            f"{Outcome.DUPLICATE}.flushed": reply.flushed_duplicates,
            f"{Outcome.EXPIRED}.segment_ttl": reply.expired,
        }
    )
