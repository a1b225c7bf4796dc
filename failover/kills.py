"""Kills primaries, one after the other, and waits each time until the system is whole again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from redis.exceptions import RedisError

from embedded.cluster import RedisClusterServers, wait_until
from embedded.redis import RedisServer
from embedded.sentinel import SentinelServers

PATIENCE_S = 60.0


FailingOver: TypeAlias = SentinelServers | RedisClusterServers
"""Servers of which one takes over when another dies."""


@dataclass(frozen=True, slots=True)
class Failover:
    """One of them: how long until another was primary, and until all replicas were back."""

    takeover_s: float
    whole_s: float


def fail_over(servers: FailingOver, chance: Random, cut_off_s: float = 0.0) -> Failover:
    """SIGKILL to one primary, at any instant of what it is doing, or when it has been cut off for so long before."""
    before = servers.primaries()
    victim = chance.choice(before)
    time.sleep(chance.random() / 4)
    with cut_off(victim, [node for node in servers.nodes if node not in before] if cut_off_s else []):
        time.sleep(cut_off_s)
        began = time.monotonic()
        victim.kill()
    survivors = {node.port for node in before} - {victim.port}

    def taken_over() -> bool:
        return any(node.port not in survivors and node is not victim for node in _primaries(servers))

    wait_until(taken_over, "Nobody took over from the killed primary.", PATIENCE_S)
    takeover_s = time.monotonic() - began
    servers.rejoin(victim.port)
    wait_until(servers.whole, "The killed primary did not come back as a replica.", PATIENCE_S)
    return Failover(takeover_s, time.monotonic() - began)


@contextmanager
def cut_off(primary: RedisServer, replicas: Sequence[RedisServer]) -> Iterator[None]:
    """As by a network that is down. Freezing alone would not do: what the kernel has buffered arrives afterwards."""
    with frozen(*replicas):
        if replicas:
            with primary.client() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        yield


@contextmanager
def frozen(*servers: RedisServer) -> Iterator[None]:
    for server in servers:
        server.freeze()
    try:
        yield
    finally:
        for server in servers:
            server.thaw()


def _primaries(servers: FailingOver) -> Sequence[RedisServer]:
    try:
        return servers.primaries()
    except RedisError:
        return []
