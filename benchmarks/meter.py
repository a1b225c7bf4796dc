"""What work costs: CPU of this process and of Redis, commands, bytes on the wire, bytes held.

CPU and not wall time, for shared machines are noisy. Memory is `used_memory` against a baseline, read over a new
connection once all others are closed: otherwise the buffers of this client would count as data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import process_time, sleep
from typing import Any

from redis import Redis

NOT_OURS = {"cmdstat_info", "cmdstat_config|resetstat", "cmdstat_config", "cmdstat_hello", "cmdstat_client|setinfo"}
CRON_S = 0.25
"""Redis frees a closed connection's memory in its next round."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A span: microseconds of CPU, commands inside and outside of scripts, bytes to and from Redis, bytes held."""

    client_us: float
    redis_us: float
    commands: float = 0
    sent_bytes: float = 0
    received_bytes: float = 0
    bytes_held: float = 0

    @property
    def us(self) -> float:
        return self.client_us + self.redis_us

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, name) + getattr(other, name) for name in Cost.__slots__))


def cost(redis: Redis, spans: int, work: Callable[[], object]) -> Cost:
    redis.config_resetstat()
    before, redis_s, client_s = redis.info("stats"), redis_cpu_s(redis), process_time()
    work()
    client_s, redis_s, after = process_time() - client_s, redis_cpu_s(redis) - redis_s, redis.info("stats")
    return Cost(
        client_us=1e6 * client_s / spans,
        redis_us=1e6 * redis_s / spans,
        commands=commands(redis) / spans,
        sent_bytes=_grown("total_net_input_bytes", before, after) / spans,
        received_bytes=_grown("total_net_output_bytes", before, after) / spans,
    )


def cost_and_memory(redis: Redis, spans: int, work: Callable[[], object]) -> Cost:
    held = held_bytes(redis)
    found = cost(redis, spans, work)
    return found + Cost(0, 0, bytes_held=(held_bytes(redis) - held) / spans)


def _grown(name: str, before: dict[str, Any], after: dict[str, Any]) -> int:
    return int(after[name]) - int(before[name])


def redis_cpu_s(redis: Redis) -> float:
    cpu = redis.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def commands(redis: Redis) -> int:
    stats = redis.info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name not in NOT_OURS)


def held_bytes(redis: Redis) -> int:
    redis.connection_pool.disconnect()
    sleep(CRON_S)
    return int(redis.info("memory")["used_memory"])


def lowest(costs: list[Cost]) -> Cost:
    """Of repeated measurements: noise only ever adds CPU. The rest hardly differs."""
    return Cost(*(min(getattr(each, name) for each in costs) for name in Cost.__slots__))


def middle(costs: list[Cost]) -> Cost:
    return Cost(*(median(getattr(each, name) for each in costs) for name in Cost.__slots__))
