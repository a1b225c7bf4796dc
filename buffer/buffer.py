"""SpanBuffer: the verbs on one Redis. Holds no spans and no state that a crash could lose.

append -> claim -> load -> (publish) -> cleanup is the way of a span; sweep watches over it, train makes it smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import time_ns

from buffer import scripts
from buffer.append import append
from buffer.claim import claim, former_shards
from buffer.cleanup import cleanup
from buffer.codec import Codec
from buffer.deliveries import count_delivery, forget_deliveries
from buffer.dictionaries import Dictionaries
from buffer.errors import BufferUnavailable, SettingsError
from buffer.keys import Keys
from buffer.lag import lag_ms, probe_seen
from buffer.load import Loaded, load
from buffer.memory import memory_used, refuse_eviction
from buffer.model import Appended, Claim, Cleaned, Outcomes, Receipt, Span, Swept
from buffer.scripts import Client, Command
from buffer.settings import Settings
from buffer.sweep import sweep
from buffer.training import Training, train

FORMER_SHARDS_EVERY_MS = 60_000
OUTCOME_DAYS = 8


def now() -> int:
    return time_ns() // 1_000_000


class SpanBuffer:
    """``client`` is a redis.Redis or redis.cluster.RedisCluster that does not decode responses."""

    def __init__(self, client: Client, settings: Settings | None = None) -> None:
        if client.get_encoder().decode_responses:
            raise SettingsError("the buffer stores bytes: connect with decode_responses=False")
        self.client = client
        self.settings = settings or Settings()
        self.keys = Keys.of(self.settings)
        self.dictionaries = Dictionaries(client, self.keys, self.settings)
        self.codec = Codec(self.settings.max_segment_bytes, self.dictionaries.get)
        self._former_shards: list[int] = []
        self._former_shards_at_ms: int | None = None

    def append(self, spans: Iterable[Span], *, now_ms: int | None = None) -> Appended:
        """Put spans into their segments. When it returns they are stored and queued; when it raises, call it again."""
        now_ms = now() if now_ms is None else now_ms
        if self.settings.train_interval:
            self.codec.dictionary = self.dictionaries.at(now_ms).in_use()
        try:
            return append(self.client, self.keys, self.settings, self.codec, spans, now_ms)
        except BufferUnavailable:
            self.dictionaries.doubt()
            raise

    def claim(self, *, now_ms: int | None = None, limit: int | None = None, lag_ms: int = 0) -> list[Claim]:
        """Take due segments of every shard, each for one lease. Due is what was due ``lag_ms`` ago."""
        now_ms = now() if now_ms is None else now_ms
        shards = self.shards(now_ms)
        first = now_ms // 1000 % len(shards)  # no shard is always last
        limit = self.settings.flush_limit if limit is None else limit
        return claim(
            self.client, self.keys, self.settings, shards[first:] + shards[:first], now_ms, now_ms - lag_ms, limit
        )

    def load(self, claims: Sequence[Claim], *, now_ms: int | None = None) -> Loaded:
        """Read claimed segments as they will be published; ``now_ms`` is the time of the claim when not given."""
        if now_ms is None and claims:
            now_ms = claims[0].lease_us // 1000 - self.settings.lease_ms
        self.dictionaries.at(now_ms or 0)
        return load(self.client, self.keys, self.settings, self.codec, claims, now_ms or 0)

    def cleanup(self, receipts: Iterable[Receipt], *, now_ms: int | None = None) -> Cleaned:
        """Delete what was published; newcomers stay and are queued."""
        return cleanup(self.client, self.keys, self.settings, receipts, now() if now_ms is None else now_ms)

    def sweep(self, *, now_ms: int | None = None) -> Swept:
        """Queue segments that are neither queued nor claimed. There should be none."""
        now_ms = now() if now_ms is None else now_ms
        return sweep(self.client, self.keys, self.settings, self.shards(now_ms), now_ms)

    def train(self, *, now_ms: int | None = None, progress: Callable[[int], object] = lambda spans: None) -> Training:
        """Learn a dictionary from what is in the buffer, and pack with it from now on if it is worth it."""
        self.dictionaries.at(now() if now_ms is None else now_ms)
        return train(self.client, self.keys, self.codec, self.dictionaries, progress)

    def shards(self, now_ms: int) -> list[int]:
        """Today's shards, and those of older settings until they are empty."""
        looked_at = self._former_shards_at_ms
        if looked_at is None or not 0 <= now_ms - looked_at < FORMER_SHARDS_EVERY_MS:
            self._former_shards = former_shards(self.client, self.keys)
            self._former_shards_at_ms = now_ms
        return [*range(self.keys.shards), *self._former_shards]

    def lag_ms(self, *, now_ms: int) -> int:
        """How far the intake is behind, by the probes that came through it."""
        return lag_ms(self.client, self.keys, self.settings, now_ms)

    def probe_seen(self, sent_ms: int) -> None:
        """A probe has come through the intake."""
        probe_seen(self.client, self.keys, self.settings, sent_ms)

    def count_delivery(self, message_id: str) -> int:
        """Deliveries of an ingest message after the first, this one included."""
        return count_delivery(self.client, self.keys, self.settings, message_id)

    def forget_deliveries(self, message_id: str) -> None:
        """It was handed back for a reason that is not its own."""
        forget_deliveries(self.client, self.keys, message_id)

    def memory_used(self) -> float:
        """Share of ``maxmemory`` in use on the fullest node; 0 where there is no limit."""
        return memory_used(self.client)

    def refuse_eviction(self) -> None:
        """Raises SettingsError when Redis may evict keys."""
        refuse_eviction(self.client)

    def depth(self, *, now_ms: int | None = None) -> int:
        """Segments that are queued or claimed."""
        shards = self.shards(now() if now_ms is None else now_ms)
        zsets = [zset for shard in shards for zset in (self.keys.queue(shard), self.keys.claims(shard))]
        return sum(scripts.run(self.client, [Command(zset, ("ZCARD", zset)) for zset in zsets]))

    def claimed(self, *, now_ms: int | None = None) -> int:
        """Segments that are being flushed: claimed, and the lease has not ended."""
        now_ms = now() if now_ms is None else now_ms
        zsets = [self.keys.claims(shard) for shard in self.shards(now_ms)]
        live = [Command(zset, ("ZCOUNT", zset, now_ms * 1000, "+inf")) for zset in zsets]
        return sum(scripts.run(self.client, live))

    def overdue_ms(self, *, now_ms: int | None = None) -> int:
        """How long the oldest due segment has been waiting for a claim; 0 when none is due."""
        now_ms = now() if now_ms is None else now_ms
        queues = [self.keys.queue(shard) for shard in self.shards(now_ms)]
        first = scripts.run(self.client, [Command(q, ("ZRANGE", q, 0, 0, "WITHSCORES")) for q in queues])
        deadlines = [flat[1] for flat in map(scripts.flat, first) if flat]
        return max([0, *(now_ms - int(float(deadline)) for deadline in deadlines)])

    def count_outcomes(self, outcomes: Mapping[str, int], *, now_ms: int | None = None) -> None:
        """Add to the durable counters of the day, kept for eight days."""
        at = datetime.fromtimestamp((now() if now_ms is None else now_ms) / 1000, UTC)
        counts = {name: spans for name, spans in outcomes.items() if spans}
        if counts:
            key = self.keys.outcomes(f"{at:%Y%m%d}")
            ttl_ms = timedelta(days=OUTCOME_DAYS) // timedelta(milliseconds=1)
            scripts.run(self.client, [scripts.count_outcomes(key, counts, ttl_ms)])

    def outcomes(self, *, now_ms: int | None = None) -> Outcomes:
        """The counters of the days that are kept, added up."""
        today = datetime.fromtimestamp((now() if now_ms is None else now_ms) / 1000, UTC)
        keys = [self.keys.outcomes(f"{today - timedelta(days=n):%Y%m%d}") for n in range(OUTCOME_DAYS)]
        total: Outcomes = Outcomes()
        for day in scripts.run(self.client, [Command(key, ("HGETALL", key)) for key in keys]):
            words = scripts.flat(day)
            total.update({name.decode(): int(n) for name, n in zip(words[::2], words[1::2], strict=True)})
        return total
