"""How full Redis is, and whether it may evict: judged by node, for no node can use another's room."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from buffer import SpanBuffer
from buffer.errors import BufferFull, BufferUnavailable, SettingsError
from buffer.model import Trace
from embedded.cluster import RedisClusterServers
from embedded.redis import RedisServer
from tests.builders import span, trace_id

MAXMEMORY = 32 * 2**20


@pytest.fixture
def limited(redis_cluster: RedisCluster, redis_cluster_servers: RedisClusterServers) -> Iterator[SpanBuffer]:
    """A buffer on a cluster whose nodes have a `maxmemory`."""
    for node in redis_cluster_servers.nodes:
        put(node, "maxmemory", MAXMEMORY)
    yield SpanBuffer(redis_cluster)
    for node in redis_cluster_servers.nodes:
        put(node, "maxmemory", 0)
        put(node, "maxmemory-policy", "noeviction")


def put(node: RedisServer, name: str, value: object) -> None:
    with node.client() as client:
        client.config_set(name, str(value))


def used(node: RedisServer) -> float:
    with node.client() as client:
        return float(client.info("memory")["used_memory"]) / MAXMEMORY


def traces_on(node: RedisServer, buffer: SpanBuffer) -> Iterator[str]:
    """Ids of traces that this node keeps."""
    cluster = buffer.client
    assert isinstance(cluster, RedisCluster)
    for trace in map(trace_id, count()):
        owner = cluster.get_node_from_key(buffer.keys.index(Trace(1, trace)))  # type: ignore[no-untyped-call]
        if owner.port == node.port:
            yield trace


def fill(buffer: SpanBuffer, traces: Iterator[str]) -> None:
    while True:
        buffer.append([span("a", trace=trace, size=200_000) for trace in islice(traces, 10)])


def test_the_fullest_node_of_a_cluster_counts(limited: SpanBuffer, redis_cluster_servers: RedisClusterServers) -> None:
    full, *others = redis_cluster_servers.nodes
    traces = traces_on(full, limited)

    with pytest.raises(BufferFull):
        fill(limited, traces)

    assert limited.memory_used() > 0.9
    assert limited.memory_used() == pytest.approx(used(full), abs=0.05)
    assert all(used(node) < 0.5 for node in others)
    assert limited.append([span("b", trace=next(traces_on(others[0], limited)))]).spans == 1


def test_where_there_is_no_limit_nothing_is_used(store: Redis | RedisCluster) -> None:
    buffer = SpanBuffer(store)
    buffer.append([span("a", size=100_000)])

    assert buffer.memory_used() == 0


def test_one_node_that_may_evict_is_enough_to_refuse(
    limited: SpanBuffer, redis_cluster_servers: RedisClusterServers
) -> None:
    limited.refuse_eviction()
    put(redis_cluster_servers.nodes[1], "maxmemory-policy", "allkeys-lru")

    with pytest.raises(SettingsError, match="allkeys-lru"):
        limited.refuse_eviction()


def test_a_redis_that_is_away_is_no_answer(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        buffer = SpanBuffer(client)
        own_redis.stop()

        with pytest.raises(BufferUnavailable):
            buffer.memory_used()
        with pytest.raises(BufferUnavailable):
            buffer.refuse_eviction()


def test_a_cluster_that_is_away_is_no_answer(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with RedisClusterServers(tmp_path_factory.mktemp("cluster"), masters=1) as servers, servers.client() as client:
        buffer = SpanBuffer(client)
        servers.stop()

        with pytest.raises(BufferUnavailable):
            buffer.memory_used()
