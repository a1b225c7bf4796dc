"""What must hold when a schedule has come to its end. Each check gives the faults it found as sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from buffer import Span
from buffer.grouping import group
from buffer.keys import parse_member
from buffer.model import Digest, Outcome, SegmentKey
from prove.decision import Kind
from prove.scenario import FULL_INDEX, letter
from prove.world import World

AUDIT = """
local found = {}
for i, key in ipairs(redis.call('KEYS', '*')) do
  local type = redis.call('TYPE', key).ok
  local content = type == 'hash' and redis.call('HGETALL', key) or type == 'list' and redis.call('LRANGE', key, 0, -1)
    or redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  found[i] = {key, redis.call('PTTL', key), content}
end
return found
"""
LOSE_A_REPLY = (Kind.CRASH, Kind.REPEAT, Kind.REFUSE)
"""An outcome is counted by the caller, from the reply: these may lose the count, not the spans that are there."""
STRAND_A_CLAIM = (Kind.CRASH, Kind.DROP, Kind.REPEAT, Kind.REFUSE)
LINK_BYTES, HEAD_BYTES = 8, (19, 27)


def at_rest(world: World) -> Iterator[str]:
    """Nobody is at work, and what is not acknowledged never will be."""
    yield from custody(world)
    if not any(world.happened[kind] for kind in STRAND_A_CLAIM):
        yield from (f"claimed still, though every flush has ended: {key!r}" for key in claims(world))
    if not may_need_sweep(world):
        yield from watch(world)


def when_drained(world: World) -> Iterator[str]:
    """Nothing is due any more. What was promised is out, without any help of the sweep."""
    yield from published_or_expired(world)
    if may_need_sweep(world):
        world.buffer.sweep(now_ms=world.now_ms)
        world.drain()
    yield from repeats_are_equal(world)
    yield from nothing_twice(world)
    yield from nothing_left(world)


def may_need_sweep(world: World) -> bool:
    """What an ingest left that was given up, or did again elsewhere because nothing knew its parts, is the sweep's."""
    return world.abandoned or forgetful(world)


def watch(world: World) -> Iterator[str]:
    swept = world.buffer.sweep(now_ms=world.now_ms)
    if swept.requeued:
        yield f"sweep found {swept.requeued} of {swept.segments} segments neither queued nor claimed"


def custody(world: World) -> Iterator[str]:
    """A segment with a part of an acknowledged batch is queued, is claimed, or links lead there from one that is."""
    content = {key: dict(zip(flat[::2], flat[1::2], strict=True)) for key, _, flat in audit(world)}
    held: set[bytes] = set()
    for zset in (key for key in content if key.startswith((b"p:q:", b"p:c:"))):
        for entry in content[zset]:
            trace, key = parse_member(entry)
            index = content.get(world.buffer.keys.index(trace), {})
            while len(link := index.get(key, b"")) == LINK_BYTES:
                key = SegmentKey(link)
            held.add(world.buffer.keys.segments(trace) + key)
    segments = [key for key in content if key.startswith(b"p:s:") and key not in held]
    safe = {field for key in held for field in content.get(key, ())}
    for segment in segments:
        trace, _ = world.buffer.keys.parse_segment(segment)
        for field in (content[segment].keys() & promised_parts(world)) - safe:
            spans = world.buffer.codec.unpack(trace, Digest(field), content[segment][field])
            if not (forgetful(world) and world.out.issuperset(spans)):  # then it is a copy that nothing knew for one
                yield f"no queue entry or claim leads to {names(spans)}"


def promised_parts(world: World) -> set[bytes]:
    """The digests of the parts of acknowledged batches."""
    batches = [world.messages[name].batch for name in world.acknowledgements]
    traces = [group(batch, world.settings.max_span_bytes, world.buffer.codec)[0] for batch in batches]
    return {bytes(part.digest) for grouped in traces for parts in grouped.values() for part in parts}


def claims(world: World) -> list[bytes]:
    return [key for key, _, _ in audit(world) if key.startswith(b"p:c:")]


def audit(world: World) -> list[tuple[bytes, int, list[bytes]]]:
    found: list[tuple[bytes, int, list[bytes]]] = world.wire.call(("EVAL", AUDIT, 0))
    return found


def published_or_expired(world: World) -> Iterator[str]:
    missing = world.promised - world.out
    if lost := missing - world.expired:
        yield f"lost: {names(lost)}"
    if strangers := world.out - world.scenario.spans:
        yield f"published but never sent: {names(strangers)}"
    counted = world.outcomes[f"{Outcome.EXPIRED}.segment_ttl"]
    if len(missing) > counted and not any(world.happened[kind] for kind in LOSE_A_REPLY):
        yield f"expired: {names(missing)}, but only {counted} counted as an outcome"


def repeats_are_equal(world: World) -> Iterator[str]:
    contents: dict[str, object] = {}
    for p in world.publications:
        # What the register forgot is flushed anew, under the same id but perhaps for another reason.
        content = set(p.segment.spans) if forgetful(world) else p.messages
        if contents.setdefault(p.segment.flush_id, content) != content:
            yield f"flush {p.segment.flush_id[:6]} was repeated with other content"


def nothing_twice(world: World) -> Iterator[str]:
    if forgetful(world):
        return
    flushes = Counter(p.segment.flush_id for p in world.publications)
    if not world.may_repeat and (twice := [flush_id for flush_id, n in flushes.items() if n > 1]):
        yield f"published twice without a crash or an expired lease: flush {twice[0][:6]}"
    sent = Counter(span for batch in world.scenario.batches for span in set(batch))
    holders: dict[Span, set[str]] = defaultdict(set)
    for p in world.publications:
        for span in p.segment.spans:
            holders[span].add(p.segment.flush_id)
    if again := [span for span, ids in holders.items() if len(ids) > sent[span]]:
        yield f"in more than one flush: {names(again)}"


def forgetful(world: World) -> bool:
    """The register cannot know every part: repeats then come out under a flush id of their own."""
    gone = world.happened[Kind.GRACE] or world.happened[Kind.EXPIRE]
    return bool(gone) or world.scenario.max_index_entries <= FULL_INDEX


def nothing_left(world: World) -> Iterator[str]:
    for key, ttl_ms, content in audit(world):
        if ttl_ms < 0:
            yield f"no TTL: {key!r}"
        if not key.startswith(b"p:l:"):
            yield f"left behind: {key!r}"
        else:
            yield from index_at_rest(world, dict(zip(content[::2], content[1::2], strict=True)), ttl_ms)


def index_at_rest(world: World, index: dict[bytes, Any], ttl_ms: int) -> Iterator[str]:
    if index.get(b"n", b"0") != b"0":
        yield f"the index counts {index[b'n'].decode()} live segments, there is none"
    if any(len(v) in HEAD_BYTES and len(k) in (8, 12) and v[1:5] != bytes(4) for k, v in index.items()):
        yield "a head counts spans, there are none"
    if ttl_ms > world.settings.late_grace_ms:
        yield f"the index stays for {ttl_ms} ms, the late grace is {world.settings.late_grace_ms}"


def names(spans: Any) -> str:
    return ", ".join(sorted(f"{letter(s.span_id)} of trace {int(s.trace_id, 16)}" for s in spans))
