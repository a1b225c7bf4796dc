"""lag: how far the ingest queue is behind, measured by a probe that waits in it like any batch.

While spans wait in the broker a segment looks quiet that is not. So the flush clock stands behind by this lag. One
probe is under way at a time; until it arrives the lag grows with its age, so an intake that has stopped stops the
clock, for ``max_segment_age`` at the most.
"""

from __future__ import annotations

from buffer import scripts
from buffer.keys import Keys
from buffer.scripts import Client, Command
from buffer.settings import Settings


def lag_ms(client: Client, keys: Keys, settings: Settings, now_ms: int) -> tuple[int, bool]:
    """The lag, and whether it is time to send a probe; then the caller does, with ``now_ms``."""
    key = keys.probe()
    sent_ms, seen_ms, last_ms = (
        int(value or 0) for value in scripts.run(client, [Command(key, ("HMGET", key, "sent", "seen", "lag"))])[0]
    )
    waiting_ms = now_ms - sent_ms if sent_ms > seen_ms else 0
    lost = waiting_ms > settings.max_segment_age_ms
    due = sent_ms <= seen_ms or lost
    if due:
        ttl = Command(key, ("PEXPIRE", key, settings.queue_ttl_ms))
        scripts.run(client, [Command(key, ("HSET", key, "sent", now_ms)), ttl])
    return min(max(last_ms, waiting_ms), settings.max_segment_age_ms), due


def probe_seen(client: Client, keys: Keys, settings: Settings, sent_ms: int, now_ms: int) -> None:
    key = keys.probe()
    seen = ("HSET", key, "seen", sent_ms, "lag", max(0, now_ms - sent_ms))
    scripts.run(client, [Command(key, seen), Command(key, ("PEXPIRE", key, settings.queue_ttl_ms))])
