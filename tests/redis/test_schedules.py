"""Random schedules of what may happen to a segment, from a seed: what was sent is compared with what came out.

Small, so that it runs every time. A failing seed is a reproduction: ``-k 'seed-17'``.
"""

from __future__ import annotations

from random import Random

import pytest
from redis import Redis

from buffer import Claim, Receipt, Segment, Span
from tests.builders import identities, span
from tests.flow import Flow, dying_after, leftovers, without_ttl

SEEDS = range(150)
STEPS = 40
SETTINGS = {
    "root_timeout": 1,
    "timeout": 2,
    "max_segment_age": 20,
    "task_time_limit": 1,
    "visibility_timeout": 10,
    "max_span_bytes": 600,
    "shards": 2,
    "sweep_idle": 0,
}


class Schedule:
    """``crashes``: processes die between any two steps, messages come twice, leases run out."""

    def __init__(self, redis: Redis, seed: int, *, crashes: bool) -> None:
        self.rng = Random(seed)
        self.crashes = crashes
        limit = self.rng.choice([700, 1500, 10 * 2**20])
        lease = 3 if crashes else 10_000
        self.flow = Flow(redis, **SETTINGS, lease=lease, segment_ttl=86_400, max_segment_bytes=limit)
        self.sent = self._spans()
        self.batches = self._cut(self.sent)
        self.arrived: list[list[Span]] = []
        self.claims: list[list[Claim]] = []
        self.loaded: list[list[Segment]] = []
        self.receipts: list[list[Receipt]] = []

    def _spans(self) -> list[Span]:
        size = self.rng.randint(3, 12)
        spans = [span("s0", self.rng.choice([None, "gone"]))]
        for n in range(1, size):
            parent = f"s{self.rng.randrange(max(0, n - 3), n)}"
            spans.append(
                span(f"s{n}", parent, is_segment=self.rng.random() < 0.15, size=self.rng.choice([0, 300, 590]))
            )
        return self.rng.sample(spans, size)

    def _cut(self, spans: list[Span]) -> list[list[Span]]:
        batches = []
        while spans:
            count = self.rng.randint(1, 4)
            batches.append(spans[:count])
            spans = spans[count:]
        return batches

    def run(self) -> None:
        moves = [self.ingest] * 4 + [self.claim, self.load, self.publish, self.clean_up, self.tick] * 2
        moves += [self.deliver_again]
        if self.crashes:
            moves += [self.ingest_dies, self.clean_up_dies, self.load_dies, self.clean_up_again, self.forget]
        for _ in range(STEPS):
            self.rng.choice(moves)()
        while self.batches:
            self.ingest()
        while self.claims or self.loaded or self.receipts:
            self.load()
            self.publish()
            self.clean_up()
        self.flow.drain()

    def _take(self, waiting: list[list[Claim]] | list[list[Segment]] | list[list[Receipt]]) -> int:
        return self.rng.randrange(len(waiting))

    def tick(self) -> None:
        self.flow.wait(self.rng.choice([0.5, 1, 2, 4]))

    def ingest(self) -> None:
        if self.batches:
            batch = self.batches.pop(self.rng.randrange(len(self.batches)))
            self.flow.append(*batch)
            self.arrived.append(batch)

    def ingest_dies(self) -> None:
        """It is not acknowledged, so it stays among those to come."""
        if self.batches:
            with dying_after(1):
                self.flow.append(*self.rng.choice(self.batches))

    def deliver_again(self) -> None:
        if self.arrived:
            self.flow.append(*self.rng.choice(self.arrived))

    def claim(self) -> None:
        claims = self.flow.claim()
        self.rng.shuffle(claims)
        half = self.rng.randint(0, len(claims))
        self.claims += [chunk for chunk in (claims[:half], claims[half:]) if chunk]

    def load(self) -> None:
        if self.claims:
            self.loaded.append(self.flow.load(self.claims.pop(self._take(self.claims))))

    def load_dies(self) -> None:
        if self.claims:
            with dying_after(self.rng.randint(1, 2)):
                self.flow.load(self.claims.pop(self._take(self.claims)))

    def publish(self) -> None:
        if self.loaded:
            self.receipts.append(self.flow.publish(self.loaded.pop(self._take(self.loaded))))

    def clean_up(self) -> None:
        if self.receipts:
            self.flow.cleanup(self.receipts.pop(self._take(self.receipts)))

    def clean_up_dies(self) -> None:
        if self.receipts:
            with dying_after(1):
                self.flow.cleanup(self.receipts.pop(self._take(self.receipts)))

    def clean_up_again(self) -> None:
        if self.receipts:
            self.flow.cleanup(self.rng.choice(self.receipts))

    def forget(self) -> None:
        """A worker is killed with what it has in hand."""
        for hand in (self.claims, self.loaded, self.receipts):
            if hand and self.rng.random() < 0.5:
                hand.pop()


def published_once(flow: Flow) -> list[Span]:
    """What a consumer has that drops repeats by flush id. Repeats must be what they repeat."""
    first: dict[str, Segment] = {}
    for segment in flow.published:
        known = first.setdefault(segment.flush_id, segment)
        assert known.messages() == segment.messages()
    return [each for segment in first.values() for each in segment.spans]


@pytest.mark.parametrize("seed", SEEDS, ids="seed-{}".format)
def test_with_crashes_nothing_is_lost_and_repeats_share_their_flush_id(redis_client: Redis, seed: int) -> None:
    schedule = Schedule(redis_client, seed, crashes=True)
    sent = list(schedule.sent)

    schedule.run()

    assert identities(published_once(schedule.flow)) == identities(sent)
    assert leftovers(redis_client) == []
    assert without_ttl(redis_client) == []


@pytest.mark.parametrize("seed", SEEDS, ids="seed-{}".format)
def test_without_a_crash_every_span_is_published_once(redis_client: Redis, seed: int) -> None:
    schedule = Schedule(redis_client, seed, crashes=False)
    sent = list(schedule.sent)

    schedule.run()

    assert identities(schedule.flow.spans) == identities(sent)
    assert leftovers(redis_client) == []
    assert schedule.flow.buffer.sweep(now_ms=schedule.flow.now_ms).requeued == 0
