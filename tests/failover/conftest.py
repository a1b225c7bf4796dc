"""Servers of the test's own: they are killed, frozen, and moved about."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.cluster import RedisClusterServers
from embedded.sentinel import SentinelServers


@pytest.fixture
def cluster(redis_program: str, tmp_path: Path) -> Iterator[RedisClusterServers]:
    """Three masters without replicas."""
    with RedisClusterServers(tmp_path) as servers:
        yield servers


@pytest.fixture
def replicated_cluster(redis_program: str, tmp_path: Path) -> Iterator[RedisClusterServers]:
    with RedisClusterServers(tmp_path, replicas=1, options={"cluster-node-timeout": "1000"}) as servers:
        yield servers


@pytest.fixture
def sentinel(redis_program: str, tmp_path: Path) -> Iterator[SentinelServers]:
    """A primary and two replicas."""
    with SentinelServers(tmp_path) as servers:
        yield servers
