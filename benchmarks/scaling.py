"""What a rate needs, computed from the figures: worker processes, Redis nodes, memory, network.

docs/scaling.md says how, and shows the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

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
    imbalance: float

    @property
    def worker_processes(self) -> int:
        return ceil((self.pipeline_cores or self.library_cores) / BUSY)

    @property
    def redis_nodes(self) -> int:
        """Primaries: one core each serves commands. The busiest node decides, and memory has a say of its own."""
        return max(ceil(self.redis_cores * self.imbalance / BUSY), ceil(self.memory_gb * self.imbalance / NODE_GB))


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
        imbalance=_imbalance(report),
    )


def _pipeline_us(report: Report) -> float:
    """Of the workers: what a span costs the processes that take and flush it, Celery included."""
    full = next(each for each in report.pipeline if each["load"] == "full")
    return float(full["us_by_group"]["ingest"] + full["us_by_group"]["flush"])


def _imbalance(report: Report) -> float:
    """Of a dozen nodes without a hot trace; 1.3 where it was not simulated."""
    return next((b.worst for b in report.balance if b.nodes == 12 and not b.hot_share), 1.3)


def scaling(report: Report) -> Iterator[Table]:
    columns = [needs(report, rate, batch) for rate in RATES for batch in (100, 1000)]

    def row(name: str, *values: str) -> tuple[str, ...]:
        return (name, *values)

    yield Table(
        "What a rate needs",
        ("spans/s, batch", *[f"{n.rate:,}, {n.batch:,}" for n in columns]),
        [
            row("cores in the library", *[f"{n.library_cores:.1f}" for n in columns]),
            row("cores of workers, Celery included", *[f"{n.pipeline_cores or 0:.1f}" for n in columns]),
            row("**worker processes**", *[f"**{n.worker_processes}**" for n in columns]),
            row("cores in Redis", *[f"{n.redis_cores:.2f}" for n in columns]),
            row("busiest node against the mean", *[f"{n.imbalance:.2f}" for n in columns]),
            row("memory in Redis, GB", *[f"{n.memory_gb:.1f}" for n in columns]),
            row("**Redis primaries**", *[f"**{n.redis_nodes}**" for n in columns]),
            row("network to Redis, Mbit/s", *[f"{n.to_redis_mbit:,.0f}" for n in columns]),
            row("network from Redis, Mbit/s", *[f"{n.from_redis_mbit:,.0f}" for n in columns]),
        ],
        f"Cores at {100 * BUSY:.0f} % at the most, {NODE_GB} GB a node, all settings at their defaults.",
    )  # fmt: skip
