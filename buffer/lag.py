"""lag: how far the ingest queue is behind, measured by probes that wait in it like any batch.

While spans wait in the broker a segment looks quiet that is not. So the flush clock shows when the youngest probe that
has come through was sent: whatever was sent before it has come through, too. Probes that are lost, repeated or
overtaken do no harm. The clock stands behind by ``max_segment_age`` at the most.
"""

from __future__ import annotations

from buffer import scripts
from buffer.keys import Keys
from buffer.scripts import Client, Command
from buffer.settings import Settings

_SENT = "sent"


def lag_ms(client: Client, keys: Keys, settings: Settings, now_ms: int) -> int:
    """As long as no probe has ever arrived nobody knows, and the lag is the largest there is."""
    key = keys.probe()
    sent_ms = scripts.run(client, [Command(key, ("ZSCORE", key, _SENT))])[0]
    behind_ms = settings.max_segment_age_ms if sent_ms is None else max(0, now_ms - int(float(sent_ms)))
    return min(behind_ms, settings.max_segment_age_ms)


def probe_seen(client: Client, keys: Keys, settings: Settings, sent_ms: int) -> None:
    """Of probes that overtook each other, or came again, the youngest counts."""
    key = keys.probe()
    seen = ("ZADD", key, "GT", sent_ms, _SENT)
    scripts.run(client, [Command(key, seen), Command(key, ("PEXPIRE", key, settings.queue_ttl_ms))])
