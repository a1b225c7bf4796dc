"""What a rate needs, computed from the figures: worker processes, Redis nodes, memory, network.

docs/scaling.md says how, and shows the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from benchmarks.bench import BATCHES
from benchmarks.figures import Report
from benchmarks.table import Table
from buffer import Settings

RATES = (10_000, 100_000, 1_000_000)
BUSY = 0.6
"""Of a core: above it, queues grow long before it is full."""
GB = 2**30
NODE_GB = 16
"""Memory of one node: more takes long to copy to a new replica."""


@dataclass(frozen=True, slots=True)
class Needs:
    """At one rate and batch size."""

    rate: int
    batch: int
    library_cores: float
    pipeline_cores: float | None
    redis_cores: float
    memory_gb: float
    to_redis_mbit: float
    from_redis_mbit: float
    nodes_by_cpu: int

    @property
    def worker_processes(self) -> int:
        return ceil((self.pipeline_cores or self.library_cores) / BUSY)

    @property
    def nodes_by_memory(self) -> int:
        return ceil(self.memory_gb / NODE_GB)

    @property
    def redis_nodes(self) -> int:
        return max(self.nodes_by_cpu, self.nodes_by_memory)


def needs(report: Report, rate: int, batch: int) -> Needs:
    y, run, settings = report.of(batch), report.steady[0], Settings()
    best = y.best
    wait_s = settings.root_timeout + settings.flush_interval / 2 + run.spread_s * run.rate / max(run.rate, rate)
    memory = rate * (wait_s * best.ingest.bytes_held + settings.late_grace * best.left_bytes)
    return Needs(
        rate=rate,
        batch=batch,
        library_cores=rate * (best.ingest.client_us + best.flush.client_us) / 1e6,
        pipeline_cores=_pipeline_us(report) * rate / 1e6 if report.pipeline else None,
        redis_cores=rate * (best.ingest.redis_us + best.flush.redis_us) / 1e6,
        memory_gb=memory / GB,
        to_redis_mbit=rate * (best.ingest.sent_bytes + best.flush.sent_bytes) * 8 / 1e6,
        from_redis_mbit=rate * (best.ingest.received_bytes + best.flush.received_bytes) * 8 / 1e6,
        nodes_by_cpu=_nodes(report, rate, rate * (best.ingest.redis_us + best.flush.redis_us) / 1e6),
    )


def _pipeline_us(report: Report) -> float:
    """Of the workers: what a span costs the processes that take and flush it, Celery included."""
    full = next(each for each in report.pipeline if each["load"] == "full")
    return float(full["us_by_group"]["ingest"] + full["us_by_group"]["flush"])


def _nodes(report: Report, rate: int, cores: float) -> int:
    """The fewest of which the busiest stays below its share of a core. One core a node serves commands."""
    nodes = 1
    while cores / nodes * _imbalance(report, rate, nodes) > BUSY:
        nodes += 1
    return nodes


def _imbalance(report: Report, rate: int, nodes: int) -> float:
    """Of the simulated number of nodes that is next above; without a hot trace, in the median window."""
    there = [b for b in report.balance if b.rate == rate and not b.hot_share and b.nodes >= nodes]
    return min(there, key=lambda b: b.nodes).typical if nodes > 1 and there else 1.0


def scaling(report: Report) -> Iterator[Table]:
    """Nothing where not both of the sections were measured that it is made from."""
    if not (report.yardstick and report.steady):
        return
    columns = [needs(report, rate, batch) for rate in RATES for batch in BATCHES]

    def row(name: str, of: Callable[[Needs], str]) -> tuple[str, ...]:
        return (name, *map(of, columns))

    yield Table(
        "What a rate needs",
        ("spans/s, batch", *[f"{n.rate:,}, {n.batch:,}" for n in columns]),
        [
            row("cores in the library", lambda n: f"{n.library_cores:.1f}"),
            row("cores of workers, Celery included", lambda n: f"{n.pipeline_cores:.1f}" if n.pipeline_cores else "-"),
            row("**worker processes**", lambda n: f"**{n.worker_processes}**"),
            row("cores in Redis", lambda n: f"{n.redis_cores:.2f}"),
            row("primaries by CPU, the busiest counts", lambda n: f"{n.nodes_by_cpu}"),
            row("memory in Redis, GB", lambda n: f"{n.memory_gb:.1f}"),
            row("primaries by memory", lambda n: f"{n.nodes_by_memory}"),
            row("**Redis primaries**", lambda n: f"**{n.redis_nodes}**"),
            row("network to Redis, Mbit/s", lambda n: f"{n.to_redis_mbit:,.0f}"),
            row("network from Redis, Mbit/s", lambda n: f"{n.from_redis_mbit:,.0f}"),
        ],
        f"Cores at {100 * BUSY:.0f} % at the most, {NODE_GB} GB a node, all settings at their defaults.",
    )
