"""Servers to kill, freeze and move about: shared by tests that leave them whole, or a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.cluster import RedisClusterServers, wait_until
from embedded.sentinel import SentinelServers


@pytest.fixture(scope="module")
def cluster_servers(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterServers]:
    with RedisClusterServers(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def cluster(cluster_servers: RedisClusterServers) -> RedisClusterServers:
    """Three masters without replicas, empty."""
    for node in cluster_servers.nodes:
        with node.client() as client:
            client.flushall()
    return cluster_servers


@pytest.fixture(scope="module")
def replicated_cluster(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterServers]:
    """Three masters, each with a replica; empty or not."""
    options = {"cluster-node-timeout": "1000"}
    with RedisClusterServers(tmp_path_factory.mktemp("replicated"), replicas=1, options=options) as servers:
        yield servers


@pytest.fixture(scope="module")
def sentinel_servers(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServers]:
    with SentinelServers(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


@pytest.fixture
def sentinel(sentinel_servers: SentinelServers) -> SentinelServers:
    """A primary and two replicas, empty, that the test leaves as whole as it found them."""
    wait_until(sentinel_servers.whole, "The last test did not leave the servers whole.")
    for node in sentinel_servers.primaries():
        with node.client() as client:
            client.flushall()
    return sentinel_servers


@pytest.fixture
def own_sentinel(redis_program: str, tmp_path: Path) -> Iterator[SentinelServers]:
    with SentinelServers(tmp_path) as servers:
        yield servers
