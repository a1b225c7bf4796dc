"""Slots that move between nodes: under load, and step by step in the middle of a move."""

from random import Random
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AskError, TryAgainError

from buffer import scripts
from buffer.connect import connect
from buffer.errors import BufferUnavailable
from buffer.model import Claim, Trace
from embedded.cluster import RedisClusterServers
from embedded.redis import RedisServer
from failover.slots import SlotMove, half_moved, move_slot, owner, slot_of, some_slot_in_use
from failover.traffic import Traffic
from tests.builders import TRACE_ID, chain, grouped, span
from tests.flow import Flow, leftovers

MOVES = 6
TRACE = Trace(1, TRACE_ID)


def test_slots_move_under_load(cluster: RedisClusterServers) -> None:
    traffic, chance = Traffic(cluster.url, pause_s=0.1), Random(1)
    traffic.start()
    moved = 0
    while moved < MOVES:
        source, target = chance.sample(cluster.nodes, 2)
        slot = some_slot_in_use(source)
        if slot is not None and move_slot(cluster, slot, target, pause_s=0.005):
            moved += 1
    for shard in range(2):
        slot = slot_of(cluster.nodes[0], b"span-buf:q:{%d}" % shard)
        move_slot(
            cluster, slot, next(node for node in cluster.nodes if node is not owner(cluster, slot)), pause_s=0.005
        )
    ledger = traffic.finish()

    assert len(ledger.acknowledged) > 200
    assert not ledger.lost
    assert (ledger.twice, ledger.contradictions, ledger.outcomes["sweep.requeued"]) == (0, 0, 0)
    assert not ledger.unexpected


def test_no_script_runs_on_half_a_trace(cluster: RedisClusterServers) -> None:
    """Whichever half has moved, wherever it is asked: nothing is done, on neither side."""
    flow, move = half_a_trace(cluster)
    claims = flow.claim()
    with half_moved(cluster, move.slot, move.target) as move:
        while left := move.left(1):
            move.move(left[0])
            before = contents(move)
            with pytest.raises(BufferUnavailable):
                flow.append(span("d", "a"))
            with pytest.raises(BufferUnavailable):
                flow.load(claims)
            assert contents(move) == before

    assert flow.append(span("d", "a")).spans == 1
    assert grouped(flow.drain()) == {"a": {"a", "b", "c", "d"}}
    assert leftovers(flow.client) == []


def test_a_client_that_follows_ask_is_refused_too(cluster: RedisClusterServers) -> None:
    """The buffer never follows one. Another version of its client might."""
    flow, move = half_a_trace(cluster)
    (claim,) = flow.claim()
    with half_moved(cluster, move.slot, move.target) as move:
        move.move(flow.buffer.keys.index(TRACE))
        with move.source.client() as source, pytest.raises((TryAgainError, AskError)):
            run_on(source, load_command(flow, claim))
        with move.target.client() as target, pytest.raises(TryAgainError):
            run_on(target, load_command(flow, claim), asking=True)


def test_a_script_that_declares_the_index_alone_would_run_on_half_a_trace(cluster: RedisClusterServers) -> None:
    """The control: the prefix among the keys is what protects."""
    flow, move = half_a_trace(cluster)
    (claim,) = flow.claim()
    index, segments, *arguments = load_command(flow, claim).words[3:]
    source = scripts.LOAD.source.replace("#KEYS / 2", "1").replace("KEYS[2 * i]", "ARGV[8]")
    with half_moved(cluster, move.slot, move.target) as move, move.target.client() as target:
        move.move(flow.buffer.keys.index(TRACE))
        alone = target.script_load(source)
        command = scripts.Command(claim.key, ("EVALSHA", alone, 1, index, *arguments, segments))
        reply = run_on(target, command, asking=True)
    assert scripts.load_reply(reply[0]).expired == 3  # it takes spans that are there for expired


def half_a_trace(cluster: RedisClusterServers) -> tuple[Flow, SlotMove]:
    """A segment that is due, and the move of its slot, not begun."""
    flow = Flow(connect(cluster.url))
    flow.append(*chain("a", "b", "c"))
    flow.wait(flow.settings.root_timeout)
    slot = slot_of(cluster.nodes[0], flow.buffer.keys.index(TRACE))
    target = next(node for node in cluster.nodes if node is not owner(cluster, slot))
    return flow, SlotMove(cluster, slot, target)


def load_command(flow: Flow, claim: Claim) -> scripts.Command:
    settings = flow.settings
    return scripts.load(
        flow.buffer.keys,
        [claim],
        now_ms=flow.now_ms,
        max_age_ms=settings.max_segment_age_ms,
        segment_ttl_ms=settings.segment_ttl_ms,
        index_ttl_ms=settings.index_ttl_ms,
        late_grace_ms=settings.late_grace_ms,
    )


def run_on(node: Redis, command: scripts.Command, *, asking: bool = False) -> list[Any]:
    """On one connection, as ASKING holds for the next command only."""
    with node.client() as connection:  # type: ignore[no-untyped-call]
        if command.script:
            connection.script_load(command.script.source)
        if asking:
            connection.execute_command("ASKING")
        reply: list[Any] = connection.execute_command(*command.words)
        return reply


def contents(move: SlotMove) -> dict[int, dict[bytes, Any]]:
    return {node.port: stored(node) for node in (move.source, move.target)}


def stored(node: RedisServer) -> dict[bytes, Any]:
    """Of traces. Asked with ASKING, for a key on its way answers to nothing else."""
    found = {}
    with node.client() as client, client.client() as connection:
        for key in sorted(client.scan_iter(match="span-buf:[sl]:*", count=1000)):
            connection.execute_command("ASKING")
            is_list = key.startswith(b"span-buf:s")
            found[key] = connection.lrange(key, 0, -1) if is_list else connection.hgetall(key)
    return found
