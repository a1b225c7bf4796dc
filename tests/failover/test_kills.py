"""Killed primaries under load, and primaries that are cut off from their replicas: what was acknowledged comes out.

The long form is `python -m failover`.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import RedisError

from buffer import Settings, SpanBuffer, scripts
from buffer.connect import connect
from buffer.errors import BufferUnavailable
from embedded.cluster import RedisClusterServers, wait_until
from embedded.redis import RedisServer
from embedded.sentinel import SentinelServers
from failover.kills import frozen
from failover.trial import run
from tests.builders import chain, names, span
from tests.flow import Flow

SPANS = 1500


def test_sentinel_promotes_again_and_again(sentinel: SentinelServers) -> None:
    result = run(sentinel, spans=SPANS, failovers=2, ack_replicas=2, seed=1, pause_s=0.1, cut_off_s=0.5)
    assert result.kept_its_promise, str(result)


def test_cluster_promotes_again_and_again(replicated_cluster: RedisClusterServers) -> None:
    result = run(replicated_cluster, spans=SPANS, failovers=2, ack_replicas=1, seed=1, pause_s=0.1, cut_off_s=0.5)
    assert result.kept_its_promise, str(result)


def test_without_replicas_that_acknowledge_there_is_a_window(sentinel: SentinelServers) -> None:
    """The control: the same, with nothing waited for."""
    result = run(sentinel, spans=SPANS, failovers=1, ack_replicas=0, seed=1, pause_s=0.05, cut_off_s=0.5)
    assert result.ledger.lost


def test_a_cluster_client_that_was_idle_finds_the_new_primary(replicated_cluster: RedisClusterServers) -> None:
    """It still takes the old one for a primary, which is there again: as a replica, that refuses WAIT."""
    buffer = buffer_of(replicated_cluster, ack_replicas=1)
    buffer.append(chain("a", "b"))
    old = holder_of(buffer, replicated_cluster)
    old.kill()
    wait_until(lambda: new_primary(replicated_cluster, old), "nobody took over", 30)
    replicated_cluster.rejoin(old.port)
    wait_until(replicated_cluster.whole, "not whole again", 30)
    appended = until_it_is_done(lambda: buffer.append([span("c", "a")]))
    assert appended.spans + appended.outcomes["duplicate.buffered"] == 1  # the latter if WAIT was in vain at first


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for replicas that are frozen waits in vain."""
    monkeypatch.setattr(scripts, "WAIT_MS", 500)


def test_frozen_replicas_have_acknowledged_nothing(sentinel: SentinelServers) -> None:
    """Also when it is done again: the second time nothing is written, and WAIT must not be content with that."""
    flow = Flow(connect(sentinel.url), ack_replicas=2)
    flow.append(span("a"))
    replicas = [node for node in sentinel.nodes if node not in sentinel.primaries()]
    with frozen(replicas[0]):
        for client in (flow.client, connect(sentinel.url)):
            again = Flow(client, ack_replicas=2)
            with pytest.raises(BufferUnavailable, match="replicas have not"):
                again.append(span("b", "a"))
    flow.append(span("b", "a"))
    assert names(span for segment in flow.drain() for span in segment.spans) == {"a", "b"}


@pytest.mark.parametrize("ack_replicas", [2, 1])
def test_a_primary_that_was_cut_off_goes_on_without_knowing(own_sentinel: SentinelServers, ack_replicas: int) -> None:
    """It was away while another was promoted, and takes writes when it is back, until a sentinel tells it better."""
    (old,) = own_sentinel.primaries()
    late = Flow(old.client(), ack_replicas=ack_replicas)  # connected to it, and has heard of nothing
    late.append(span("a"))
    with frozen(*own_sentinel.sentinels):
        with frozen(old):
            promote_another(own_sentinel, old)
        assert old.client().info("replication")["role"] == "master"
        with pytest.raises(BufferUnavailable):
            late.append(span("b", "a"))


def test_one_of_two_replicas_is_not_enough(own_sentinel: SentinelServers) -> None:
    """Why ack_replicas must be all of them: the one that had not acknowledged may be promoted."""
    (primary,) = own_sentinel.primaries()
    behind, ahead = (node for node in own_sentinel.nodes if node is not primary)
    careless, careful = (Flow(primary.client(), ack_replicas=replicas) for replicas in (1, 2))
    with frozen(*own_sentinel.sentinels):
        with behind.client() as client:
            client.replicaof("NO", "ONE")  # promoted; `ahead` has not been told yet
        assert careless.append(span("a")).spans == 1
        with pytest.raises(BufferUnavailable):
            careful.append(span("a"))
        assert Flow(behind.client()).drain() == []  # acknowledged, and not where it counts
    assert ahead.client().info("replication")["role"] == "slave"


@pytest.mark.parametrize("kind", ["own_sentinel", "replicated_cluster"])
def test_nothing_but_buffer_unavailable_comes_out(kind: str, request: pytest.FixtureRequest) -> None:
    """All servers gone, at once and for good: each verb says so, and soon."""
    servers: SentinelServers | RedisClusterServers = request.getfixturevalue(kind)
    buffer = buffer_of(servers)
    buffer.append(chain("a", "b"))
    claims = buffer.claim(now_ms=time.time_ns() // 1_000_000 + 100_000)
    receipts = [segment.receipt for segment in buffer.load(claims)]
    assert receipts
    nodes = list(servers.nodes)
    for node in nodes:
        node.kill()
    verbs: list[Callable[[], Any]] = [
        lambda: buffer.append(chain("a", "b")),
        buffer.claim,
        lambda: buffer.load(claims),
        lambda: buffer.cleanup(receipts),
        buffer.depth,
        buffer.sweep,
        buffer.outcomes,
        lambda: buffer.count_outcomes({"invalid.not_json": 1}),
    ]
    for verb in verbs:
        with pytest.raises(BufferUnavailable):
            verb()


def buffer_of(servers: SentinelServers | RedisClusterServers, **settings: Any) -> SpanBuffer:
    return SpanBuffer(connect(servers.url), Settings(**settings))


def holder_of(buffer: SpanBuffer, servers: RedisClusterServers) -> RedisServer:
    """The primary that has the trace."""

    def has(node: RedisServer) -> bool:
        with node.client() as client:
            return any(client.scan_iter(match="span-buf:l:*"))

    return next(node for node in servers.primaries() if has(node))


def new_primary(servers: RedisClusterServers, old: RedisServer) -> bool:
    try:
        return len([node for node in servers.primaries() if node is not old]) == 3
    except RedisError:
        return False


def promote_another(sentinel: SentinelServers, old: RedisServer) -> None:
    """By hand, in the sentinels' stead: one replica becomes primary, and the others follow it."""
    new, *others = (node for node in sentinel.nodes if node is not old)
    with new.client() as client:
        client.replicaof("NO", "ONE")
    for node in others:
        with node.client() as client:
            client.replicaof("127.0.0.1", new.port)


def until_it_is_done(call: Callable[[], Any]) -> Any:
    for _ in range(20):
        try:
            return call()
        except BufferUnavailable:
            time.sleep(0.1)
    return call()
