"""load: the content of claimed segments, as it will be published.

Invariant: what a flush publishes is fixed in a flush record before it is read, so a flush that is tried again has the
same content under the same id. A claim whose segment has moved or gone is given back here; its duty goes along.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from buffer import scripts
from buffer.codec import Codec
from buffer.errors import DamagedPart
from buffer.keys import Keys, member
from buffer.model import Claim, FlushReason, Outcome, Outcomes, Receipt, Span
from buffer.scripts import Client, Command
from buffer.segment import Segment
from buffer.settings import Settings

REASONS = {
    1: FlushReason.MAX_SEGMENT_AGE,
    2: FlushReason.MAX_SEGMENT_BYTES,
    3: FlushReason.ROOT_TIMEOUT,
    4: FlushReason.TIMEOUT,
}


class Loaded(list[Segment]):
    """The segments of one ``load``, and what else it found."""

    def __init__(self) -> None:
        self.moved = 0
        """Claims whose segment had joined another; that one is queued."""
        self.gone = 0
        """Claims of segments that an earlier flush had emptied."""
        self.busy = 0
        """Claims of segments that another flush is publishing: a merge brought them here. Queued until it is done."""
        self.lost_leases = 0
        """Claims that another flush has taken over."""
        self.damaged = 0
        """Flush records with a part that cannot be read, and foreign fields; they stay in Redis."""
        self.outcomes: Outcomes = Counter()

    def count_empty(self, found: scripts.LoadReply) -> None:
        self.busy += bool(found.busy_until_ms)
        self.moved += not found.busy_until_ms and found.left is not None
        self.gone += found.left is None


def load(client: Client, keys: Keys, settings: Settings, codec: Codec, claims: Sequence[Claim], now_ms: int) -> Loaded:
    loaded = Loaded()
    ours = _still_ours(client, keys, claims)
    loaded.lost_leases = len(claims) - len(ours)
    given_back: list[scripts.Ended] = []
    for claim, found in _found(client, keys, settings, ours, now_ms):
        if found is None:
            loaded.damaged += 1
            continue
        loaded.outcomes[f"{Outcome.EXPIRED}.segment_ttl"] += found.expired
        if found.fields:
            loaded += _segments(claim, found.fields, settings, codec, loaded)
        else:
            loaded.count_empty(found)
            given_back.append(_given_back(claim, found, now_ms + settings.root_timeout_ms))
    scripts.run(client, scripts.cleanup_queue(keys, given_back, ttl_ms=settings.queue_ttl_ms))
    return loaded


def _still_ours(client: Client, keys: Keys, claims: Sequence[Claim]) -> list[Claim]:
    """Saves a repeat; correctness does not rest on it."""
    shards: dict[int, list[Claim]] = {}
    for claim in claims:
        shards.setdefault(claim.shard, []).append(claim)
    zsets = {keys.claims(shard): members for shard, members in shards.items()}
    scores = scripts.run(
        client, [Command(z, ("ZMSCORE", z, *(member(c.trace, c.key) for c in cs))) for z, cs in zsets.items()]
    )
    return [
        claim
        for members, leases in zip(zsets.values(), scores, strict=True)
        for claim, lease in zip(members, leases, strict=True)
        if lease is not None and int(float(lease)) == claim.lease_us
    ]


def _found(
    client: Client, keys: Keys, settings: Settings, claims: Sequence[Claim], now_ms: int
) -> Iterator[tuple[Claim, scripts.LoadReply | None]]:
    """What is stored of each claim; None where somebody else has put something there."""
    calls = scripts.in_calls(client, claims)
    while calls:
        replies = scripts.run(
            client,
            [
                scripts.load(
                    keys,
                    call,
                    now_ms=now_ms,
                    max_age_ms=settings.max_segment_age_ms,
                    segment_ttl_ms=settings.segment_ttl_ms,
                    index_ttl_ms=settings.index_ttl_ms,
                    late_grace_ms=settings.late_grace_ms,
                )
                for call in calls
            ],
            foreign_types=True,
            replicas=settings.ack_replicas,  # or a failover forgets a record, and the spans go under another id, too
        )
        again: list[Sequence[Claim]] = []
        for call, reply in zip(calls, replies, strict=True):
            if reply is not None:
                yield from zip(call, map(scripts.load_reply, reply), strict=False)
                again += [call[len(reply) :]] if len(reply) < len(call) else []
            elif len(call) > 1:
                again += [[claim] for claim in call]
            else:
                yield call[0], None
        calls = again


def _given_back(claim: Claim, found: scripts.LoadReply, deadline_ms: int) -> scripts.Ended:
    deadline_ms = found.busy_until_ms or deadline_ms
    return scripts.Ended(claim.trace, claim.key, claim.shard, claim.lease_us, found.left, deadline_ms)


def _segments(
    claim: Claim, fields: dict[bytes, bytes], settings: Settings, codec: Codec, loaded: Loaded
) -> Iterator[Segment]:
    records, foreign = scripts.records(fields)
    loaded.damaged += foreign
    for record in records:
        try:
            parts = [codec.unpack(claim.trace, digest, fields[digest]) for digest in record.digests]
            reason = REASONS[record.reason]
        except (DamagedPart, KeyError):
            loaded.damaged += 1
            continue
        spans, repeats = _distinct([span for part in parts for span in part])
        loaded.outcomes[f"{Outcome.DUPLICATE}.same_content"] += repeats
        yield Segment(
            claim.trace,
            record.segment_id.hex(),
            spans,
            record.flush_id.hex(),
            reason,
            record.late,
            Receipt(claim.trace, claim.key, claim.shard, claim.lease_us, record.flush_id),
            settings.max_message_bytes,
        )


def _distinct(spans: list[Span]) -> tuple[list[Span], int]:
    """The spans without byte-identical repeats, in order, and how many repeats there were."""
    if len({span.span_id for span in spans}) == len(spans):
        return spans, 0  # hashing whole spans costs 1.5 us each
    kept = list(dict.fromkeys(spans))
    return kept, len(spans) - len(kept)
