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
    replies = scripts.run(
        client,
        [
            scripts.load(
                keys,
                c.trace,
                c.key,
                now_ms=now_ms,
                max_age_ms=settings.max_segment_age_ms,
                lease_us=c.lease_us,
                segment_ttl_ms=settings.segment_ttl_ms,
                index_ttl_ms=settings.index_ttl_ms,
                late_grace_ms=settings.late_grace_ms,
            )
            for c in ours
        ],
        foreign_types=True,
        replicas=settings.ack_replicas,  # a record that a failover forgets would let the same spans go under another id
    )
    given_back: list[Command] = []
    for claim, reply in zip(ours, replies, strict=True):
        if reply is None:
            loaded.damaged += 1
            continue
        found = scripts.load_reply(reply)
        loaded.outcomes[f"{Outcome.EXPIRED}.segment_ttl"] += found.expired
        if found.fields:
            loaded += _segments(claim, found.fields, settings, codec, loaded)
        else:
            loaded.count_empty(found)
            given_back.append(_give_back(keys, settings, claim, found, now_ms))
    scripts.run(client, given_back)
    return loaded


def _still_ours(client: Client, keys: Keys, claims: Sequence[Claim]) -> list[Claim]:
    """Saves a repeat; correctness does not rest on it."""
    zsets = [keys.claims(claim.shard) for claim in claims]
    commands = [Command(z, ("ZSCORE", z, member(c.trace, c.key))) for z, c in zip(zsets, claims, strict=True)]
    scores = scripts.run(client, commands)
    return [c for c, score in zip(claims, scores, strict=True) if score is not None and int(float(score)) == c.lease_us]


def _give_back(keys: Keys, settings: Settings, claim: Claim, found: scripts.LoadReply, now_ms: int) -> Command:
    return scripts.cleanup_queue(
        keys,
        claim.shard,
        claim.trace,
        claim.key,
        claim.lease_us,
        left=found.left,
        deadline_ms=found.busy_until_ms or now_ms + settings.root_timeout_ms,
        ttl_ms=settings.queue_ttl_ms,
    )


def _segments(
    claim: Claim, fields: dict[bytes, bytes], settings: Settings, codec: Codec, loaded: Loaded
) -> Iterator[Segment]:
    records, foreign = scripts.records(fields)
    loaded.damaged += foreign
    for record in records:
        try:
            spans, repeats = _distinct(
                span for digest in record.digests for span in codec.unpack(claim.trace, digest, fields[digest])
            )
            reason = REASONS[record.reason]
        except (DamagedPart, KeyError):
            loaded.damaged += 1
            continue
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


def _distinct(spans: Iterator[Span]) -> tuple[list[Span], int]:
    """The spans without byte-identical repeats, in order, and how many repeats there were."""
    kept: dict[Span, None] = {}
    total = 0
    for span in spans:
        total += 1
        kept[span] = None
    return list(kept), total - len(kept)
