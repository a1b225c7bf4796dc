"""lag: how far the ingest queue is behind, measured by probes that wait in it like any batch.

While spans wait in the broker a segment looks quiet that is not. So the flush clock stands behind by this lag. A probe
leaves with every flush; when none arrives the lag grows, so an intake that has stopped stops the clock, for
``max_segment_age`` at the most. A probe that is lost does no harm: a later one tells the same.
"""

from __future__ import annotations

from buffer import scripts
from buffer.keys import Keys
from buffer.scripts import Client, Command
from buffer.settings import Settings


def lag_ms(client: Client, keys: Keys, settings: Settings, now_ms: int) -> int:
    """As long as no probe has ever arrived nobody knows, and the lag is the largest there is."""
    key = keys.probe()
    seen_ms, last_ms = scripts.run(client, [Command(key, ("HMGET", key, "sent", "lag"))])[0]
    if seen_ms is None:
        return settings.max_segment_age_ms
    silent_ms = now_ms - int(seen_ms)
    overdue = silent_ms > int(last_ms) + settings.probe_patience_ms
    return min(silent_ms if overdue else int(last_ms), settings.max_segment_age_ms)


def probe_seen(client: Client, keys: Keys, settings: Settings, sent_ms: int, now_ms: int) -> None:
    """Of probes that overtook each other, or came again, the youngest counts."""
    key = keys.probe()
    if int(scripts.run(client, [Command(key, ("HGET", key, "sent"))])[0] or 0) > sent_ms:
        return
    seen = ("HSET", key, "sent", sent_ms, "lag", max(0, now_ms - sent_ms))
    scripts.run(client, [Command(key, seen), Command(key, ("PEXPIRE", key, settings.queue_ttl_ms))])
