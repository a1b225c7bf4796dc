"""The users of `deploy/*.acl`: each can do its work, and nothing else. docs/security.md has the table."""

import json
import re
from base64 import b64decode
from pathlib import Path
from secrets import token_hex

import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError

from buffer import Settings, Span, SpanBuffer
from buffer.connect import connect
from buffer.errors import BufferUnavailable
from embedded.cluster import RedisClusterServers
from embedded.redis import RedisFailed, RedisServer
from tests.builders import chain, grouped, span
from tests.flow import Flow
from tests.pipeline import outside
from tests.security import acl
from tests.security.conftest import Guarded


def test_the_file_as_it_comes_lets_nobody_in(redis_program: str, tmp_path: Path) -> None:
    """Redis does not start until every placeholder is a password's hash: none can be forgotten."""
    for file in ("redis-buffer.acl", "redis-broker.acl"):
        server = RedisServer(tmp_path / file, options={"aclfile": str(acl.DEPLOY / file)})
        with pytest.raises(RedisFailed, match="did not start"):
            server.start()
        assert b"SHA256_OF_PASSWORD" in server.said() or b"WARNING" in server.said()


def test_the_worker_may_run_what_the_code_runs_and_no_more() -> None:
    """In the buffer. The file goes along when a command is added or given up."""
    (line,) = (line for line in (acl.DEPLOY / "redis-buffer.acl").read_text().splitlines() if "spans-worker" in line)
    granted = set(re.findall(r"\+(\S+)", line))
    root = acl.DEPLOY.parent
    scripts = [file.read_text() for file in (root / "lua").glob("*.lua") if file.name != "take-message.lua"]
    called = {name.lower() for text in scripts for name in re.findall(r"(?:call|store)\('(\w+)'", text)}
    sources = [file.read_text() for file in (root / "buffer").glob("*.py")]
    sent = {name.lower() for text in sources for name in re.findall(r'\("([A-Z]{3,})", ', text)}
    by_the_client = {"script|load", "scan", "info", "command", "cluster|slots", "hello", "auth", "select", "ping"}
    assert granted - by_the_client - {"object|idletime"} == called | sent - {"object"}


def test_the_worker_s_rights_are_enough_for_the_library(redis_program: str, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", options=acl.options("redis-buffer.acl", tmp_path)) as server:
        every_verb(connect(acl.url(server, "spans-worker")))
        with server.client() as client:
            assert acl.refused(client) == set()


def test_and_on_a_cluster(redis_program: str, tmp_path: Path) -> None:
    with RedisClusterServers(tmp_path, options=acl.options("redis-buffer.acl", tmp_path)) as servers:
        client = connect(acl.url(servers.nodes[0], "spans-worker", "redis+cluster"))
        assert isinstance(client, RedisCluster)
        every_verb(client)
        for node in servers.nodes:
            with node.client() as admin:
                assert acl.refused(admin) == set()


def test_the_rights_are_enough_for_the_pipeline(guarded: Guarded) -> None:
    guarded.send([outside.span(2, parent=1)])
    guarded.send([outside.span(1)])
    guarded.send([outside.span(3, trace_id="f" * 32), {"not": "a span"}])
    with guarded.broker.client() as broker, guarded.buffer.client() as buffer:
        guarded.until(lambda: broker.llen("buffered-segments") >= 2)
        guarded.until(lambda: not broker.exists("spans.ingest", "spans.flush"))
        assert acl.refused(broker) == set()
        assert acl.refused(buffer) == set()

    options = {"unacked_key": "segments-unacked", "unacked_index_key": "segments-unacked-index"}
    options["unacked_mutex_key"] = "segments-unacked-mutex"
    received = []
    with Connection(acl.url(guarded.broker, "spans-consumer"), transport_options=options) as connection:
        queue = Queue("buffered-segments", channel=connection.default_channel)
        while message := queue.get():
            received.append(message.payload)
            message.ack()
    assert set(outside.span_ids(received)) >= {outside.span_id(n) for n in (1, 2, 3)}


def test_and_for_what_a_killed_worker_held(guarded: Guarded) -> None:
    trace = token_hex(16)
    with guarded.broker.client() as broker:
        guarded.buffer.freeze()
        guarded.send([outside.span(1, trace_id=trace)])
        guarded.until(lambda: any(b"spans.ingest" in held for held in broker.hvals("unacked")))
        guarded.worker.kill()
        guarded.buffer.thaw()
        guarded.worker.start()
        guarded.until(lambda: any(trace in body_of(message) for message in broker.lrange("buffered-segments", 0, -1)))
        assert acl.refused(broker) == set()


def body_of(message: bytes) -> str:
    """Of a message as it waits in the Redis broker."""
    return b64decode(json.loads(message)["body"]).decode()


@pytest.mark.parametrize(
    "command",
    ["CONFIG GET *", "FLUSHALL", "KEYS *", "GET session:1", "SET session:1 x", "SHUTDOWN", "ACL LIST"],
)
def test_the_worker_is_refused(guarded: Guarded, command: str) -> None:
    for server in (guarded.buffer, guarded.broker):
        is_refused(server, "spans-worker", command)


@pytest.mark.parametrize(
    "command",
    [
        "ZADD span-buf:q:{1} 1 x",
        "DEL span-buf:q:{1}",
        "HGETALL span-buf:s:{1:0af7651916cd43dd8448eb211c80319c}:a",
        "HINCRBY span-buf:o:20260101 x 1",
        "SCAN 0",
        "EVAL return 1 0",
    ],
)
def test_the_operator_reads_numbers_but_neither_writes_nor_sees_spans(guarded: Guarded, command: str) -> None:
    is_refused(guarded.buffer, "spans-operator", command)


def test_the_operator_sees_how_it_stands(guarded: Guarded) -> None:
    buffer = SpanBuffer(connect(acl.url(guarded.buffer, "spans-operator")), Settings())
    assert buffer.depth() >= 0
    assert buffer.overdue_ms() >= 0
    assert buffer.memory_used() >= 0
    assert "invalid.not_an_object" not in buffer.outcomes()
    with pytest.raises(BufferUnavailable):
        buffer.append([span("a")])


@pytest.mark.parametrize("command", ["LRANGE spans.ingest 0 -1", "RPOP spans.ingest", "LPUSH spans.flush x", "INFO"])
def test_the_sender_can_only_send(guarded: Guarded, command: str) -> None:
    is_refused(guarded.broker, "spans-sender", command)


@pytest.mark.parametrize("user", ["spans-sender", "spans-consumer"])
def test_who_sends_or_consumes_does_not_get_into_the_buffer(guarded: Guarded, user: str) -> None:
    with Redis.from_url(acl.url(guarded.buffer, user)) as client, pytest.raises(AuthenticationError):
        client.ping()


def is_refused(server: RedisServer, user: str, command: str) -> None:
    with Redis.from_url(acl.url(server, user)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split(" ", 3))


def every_verb(client: Redis | RedisCluster) -> None:
    flow = Flow(client, sweep_idle=0, max_segment_bytes=2**20, train_interval=600)
    flow.append(span("c", "b"), span("e", "d"))
    flow.append(span("b", "a"), span("d", "b", note="merges"))
    late = flow.claim()
    flow.append(*[span(f"n{n}", trace="e" * 32, note="GET /item") for n in range(1500)])
    assert flow.buffer.train(now_ms=flow.now_ms).dictionary
    flow.append(*chain("a", "z"), *[Span(1, "f" * 32, f"{n:016x}", payload=b"{}") for n in range(1, 40)])
    flow.wait(flow.settings.timeout)
    flow.load(late)
    flow.buffer.sweep(now_ms=flow.now_ms)
    flow.drain()
    assert grouped(flow.published)["a"] >= {"a", "b", "c", "d", "e"}
    flow.buffer.count_outcomes(flow.outcomes + flow.outcomes, now_ms=flow.now_ms)
    flow.buffer.count_outcomes({"invalid.not_json": 1}, now_ms=flow.now_ms)
    assert flow.buffer.outcomes(now_ms=flow.now_ms)["invalid.not_json"] == 1
    assert flow.buffer.overdue_ms(now_ms=flow.now_ms) == 0
    assert flow.buffer.memory_used() >= 0
    flow.buffer.refuse_eviction()
    flow.buffer.count_delivery("message")
    flow.buffer.forget_deliveries("message")
    flow.buffer.probe_seen(flow.now_ms)
    flow.buffer.lag_ms(now_ms=flow.now_ms)
