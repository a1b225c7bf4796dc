"""cleanup: the last step of a span's way. Deletes what receipts name, then gives the claims back.

Invariant: data before queue entry, in this order, so no crash in between leaves data that no entry points to. Running
twice, late, or after a merge deletes nothing that was not published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from buffer import scripts
from buffer.keys import Keys
from buffer.model import Cleaned, LeaseUs, Outcome, Receipt, SegmentKey, Trace
from buffer.scripts import Client
from buffer.settings import Settings

_Claim = tuple[Trace, SegmentKey, int, LeaseUs]


def cleanup(client: Client, keys: Keys, settings: Settings, receipts: Iterable[Receipt], now_ms: int) -> Cleaned:
    calls = scripts.in_calls(client, list(receipts))
    receipts = [receipt for call in calls for receipt in call]
    found = scripts.run(
        client,
        [
            scripts.cleanup_segment(
                keys,
                call,
                now_ms=now_ms,
                late_grace_ms=settings.late_grace_ms,
                max_index_entries=settings.max_index_entries,
            )
            for call in calls
        ],
    )
    replies = [reply for each in found for reply in scripts.cleanup_segment_reply(each)]
    claims: dict[_Claim, scripts.CleanupSegmentReply] = {}
    for r, reply in zip(receipts, replies, strict=True):
        claims[r.trace, r.key, r.shard, r.lease_us] = reply  # the last one knows what is left
    deadline_ms = now_ms + settings.root_timeout_ms
    ends = [scripts.Ended(*c, reply.where if reply.left else None, deadline_ms) for c, reply in claims.items()]
    ended = scripts.run(client, scripts.cleanup_queue(keys, ends, ttl_ms=settings.queue_ttl_ms))
    return Cleaned(
        segments=sum(not reply.left for reply in claims.values()),
        parts=sum(reply.removed for reply in replies),
        stale=sum(not reply.removed for reply in replies),
        requeued=sum(queued for _, queued in ended),
        outcomes=Counter(
            {
                f"{Outcome.EXPIRED}.segment_ttl": sum(reply.expired for reply in replies),
                f"{Outcome.DUPLICATE}.same_content": sum(reply.repeated for reply in replies),
            }
        ),
    )
