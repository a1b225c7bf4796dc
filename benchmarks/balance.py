"""How evenly traces spread over the nodes of a cluster: a simulation, no Redis.

A trace is in one slot, so a node is as busy as the traces in its slots are large. Sizes have a heavy tail: Pareto with
exponent 1.2, about 20 spans on average, the largest 100,000. A trace's spans come over a time that grows with it: those
of a window of one second are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

from redis.crc import key_slot

from benchmarks.bench import Bench
from benchmarks.figures import Balance

SLOTS = 16_384
NODES = (3, 6, 12, 25, 50, 100)
HOT_SHARES = (0.0, 0.001, 0.01, 0.05)
EXPONENT, SMALLEST, LARGEST = 1.2, 4, 100_000
MOST_A_SECOND = 2000
"""Spans of one trace: a larger one takes longer. One process does not make more."""


def balance(bench: Bench) -> list[Balance]:
    random = Random(1)
    return [each for rate in bench.plan.balance_rates for each in _at(bench, random, rate)]


def _at(bench: Bench, random: Random, rate: int) -> Iterator[Balance]:
    bench.doing(f"slots: {bench.plan.balance_windows} windows of {rate:,} spans")
    windows = [_window(random, rate) for _ in range(bench.plan.balance_windows)]
    for share in HOT_SHARES:
        for nodes in NODES:
            yield _balance(windows, rate, nodes, share)


def _window(random: Random, rate: int) -> Counter[int]:
    """Spans by slot in one second."""
    slots: Counter[int] = Counter()
    total = 0
    while total < rate:
        size = min(LARGEST, int(SMALLEST * random.paretovariate(EXPONENT)))
        tag = b"{%d:%032x}" % (random.randrange(50), random.getrandbits(128))
        total += min(size, MOST_A_SECOND)
        slots[key_slot(tag)] += min(size, MOST_A_SECOND)
    return slots


def _balance(windows: list[Counter[int]], rate: int, nodes: int, hot_share: float) -> Balance:
    ratios = sorted(_ratio(slots, nodes, hot_share) for slots in windows)
    return Balance(rate, nodes, hot_share, ratios[len(ratios) // 2], ratios[-1])


def _ratio(slots: Counter[int], nodes: int, hot_share: float) -> float:
    """Busiest node against the mean. The hot trace is on the node that is busiest without it: the worst place."""
    loads: Counter[int] = Counter()
    for slot, spans in slots.items():
        loads[slot * nodes // SLOTS] += spans
    total = slots.total()
    busiest = max(loads.values()) * (1 - hot_share) + total * hot_share
    return busiest * nodes / total
