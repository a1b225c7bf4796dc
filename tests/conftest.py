"""What every test may ask for: real Redis servers, started once a session, empty at the start of each test.

A missing service skips the tests that need it on a developer's machine and fails them in CI.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from embedded.cluster import RedisClusterServers
from embedded.redis import RedisMissing, RedisServer, server_program


@pytest.fixture(scope="session")
def redis_program() -> str:
    try:
        return server_program()
    except RedisMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def redis_server(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster_servers(
    redis_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisClusterServers]:
    with RedisClusterServers(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Iterator[Redis]:
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_cluster(redis_cluster_servers: RedisClusterServers) -> Iterator[RedisCluster]:
    with redis_cluster_servers.client() as client:
        client.flushall(target_nodes=RedisCluster.PRIMARIES)
        yield client


@pytest.fixture(params=["single", "cluster"])
def store(request: pytest.FixtureRequest) -> Redis | RedisCluster:
    """The same contract on one server and on a cluster; the cluster starts only if a test asks for it."""
    name = "redis_client" if request.param == "single" else "redis_cluster"
    client: Redis | RedisCluster = request.getfixturevalue(name)
    return client


@pytest.fixture
def own_redis(redis_program: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, with its data on disk: for tests that stop, kill or restart it."""
    with RedisServer(tmp_path / "redis", keep=True) as server:
        yield server
