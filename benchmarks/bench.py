"""What every section is given: an empty Redis, the sizes of this run, and somewhere to say how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from redis import Redis

from embedded.redis import RedisServer

BATCHES = (100, 1000)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. The defaults take about ten minutes on two cores."""

    short: bool = False
    spans: int = 100_000
    repeats: int = 3
    training_spans: int = 20_000
    recording_batches: int = 1_000_000
    foreign: bool = True
    buffered: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    flat_spans: int = 20_000
    shards: tuple[int, ...] = (1, 16, 64, 256, 1024)
    segment_sizes: tuple[int, ...] = (1, 10, 100, 1000, 10_000, 100_000)
    chain: int = 10_000
    one_trace: int = 100_000
    workers: tuple[int, ...] = (1, 2, 4, 8)
    steady_rate: int = 2000
    steady_s: float = 16
    """Longer than the timeout and the grace of that run: then the memory is flat."""
    calls_spans: int = 50_000
    balance_rates: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    balance_windows: int = 5
    pipeline_s: float = 20
    brokers: tuple[Literal["redis", "rabbitmq"], ...] = ("redis",)


SHORT = Plan(
    short=True,
    spans=2000,
    repeats=1,
    training_spans=1000,
    recording_batches=10,
    foreign=False,
    buffered=(500, 2000),
    flat_spans=1000,
    shards=(1, 64),
    segment_sizes=(1, 100, 1000),
    chain=200,
    one_trace=2000,
    workers=(1, 2),
    steady_rate=200,
    steady_s=3,
    calls_spans=2000,
    balance_rates=(1000,),
    balance_windows=2,
    brokers=(),  # tests of its own run it
)


class Screen(Protocol):
    def doing(self, what: str) -> None: ...
    def done(self, section: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Bench:
    server: RedisServer
    redis: Redis
    plan: Plan
    screen: Screen

    def doing(self, what: str) -> None:
        self.screen.doing(what)
