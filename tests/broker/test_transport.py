"""The transport against a real Redis, one step of kombu's at a time. Senders are stock kombu."""
# mypy: allow-untyped-calls

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kombu
import pytest
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import VersionMismatch
from kombu.transport import TRANSPORT_ALIASES, _transport_cache
from kombu.transport.redis import Transport as StockTransport
from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from embedded.redis import RedisServer
from tasks import transport
from tasks.transport import Transport, claim_atomically, kombu_url
from tests.broker.consuming import Consuming, send, until


@pytest.fixture
def url(redis_server: RedisServer, redis_client: Redis) -> str:
    return redis_server.url


def held(redis: Redis, key: str = "unacked") -> list[Any]:
    """What consumers have taken and not acknowledged."""
    assert sorted(redis.hkeys(key)) == sorted(redis.zrange(f"{key}_index", 0, -1))
    return [json.loads(entry) for entry in redis.hvals(key)]


@contextmanager
def full(redis: Redis) -> Iterator[None]:
    """Redis refuses every command that needs memory."""
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)


# A message is in its queue or in `unacked`


def test_a_taken_message_is_held_under_its_own_tag_until_it_is_acknowledged(url: str, redis_client: Redis) -> None:
    send(url, "spans", {"span": "a"})
    (sent,) = redis_client.lrange("spans", 0, -1)
    with Consuming(url, "spans") as consuming:
        assert consuming.take() == [{"span": "a"}]

        (message,) = consuming.messages
        assert redis_client.hkeys("unacked") == [message.delivery_tag.encode()]
        assert held(redis_client) == [[json.loads(sent), "", "spans"]]
        message.ack()
        assert redis_client.keys("unacked*") + redis_client.keys("spans*") == []


@pytest.mark.parametrize(("stock", "kept"), [(True, 0), (False, 1)], ids=["stock loses it", "ours keeps it"])
def test_killed_before_the_reply_is_read(url: str, redis_client: Redis, stock: bool, kept: int) -> None:
    send(url, "spans", "a")
    with Consuming(url, "spans", stock=stock) as consuming:
        consuming.ask()
        until(lambda: redis_client.llen("spans") == 0)
        consuming.die()

    assert redis_client.llen("spans") + len(held(redis_client)) == kept


@pytest.mark.parametrize(("stock", "kept"), [(True, 0), (False, 1)], ids=["stock loses it", "ours keeps it"])
def test_taken_from_a_full_server(url: str, redis_client: Redis, stock: bool, kept: int) -> None:
    send(url, "spans", "a")
    with Consuming(url, "spans", stock=stock) as consuming, full(redis_client):
        try:
            assert consuming.take() == ["a"]
        except RedisError:  # kombu's second round trip is refused
            assert stock
        consuming.die()

    assert redis_client.llen("spans") + len(held(redis_client)) == kept


def test_a_full_server_is_emptied(url: str, redis_client: Redis) -> None:
    send(url, "spans", *range(5))
    with Consuming(url, "spans") as consuming, full(redis_client):
        for number in range(5):
            assert consuming.take() == [number]
            consuming.messages[-1].ack()

    assert redis_client.llen("spans") == len(held(redis_client)) == 0


def test_basic_get_holds_the_message_too(url: str, redis_client: Redis) -> None:
    send(url, "spans", "a", "b")
    with Consuming(url, "other") as consuming:
        got = consuming.channel.basic_get("spans")
        assert [entry[2] for entry in held(redis_client)] == ["spans"]
        got.ack()
        assert consuming.channel.basic_get("spans", no_ack=True).decode() == "b"
        assert consuming.channel.basic_get("spans") is None
    assert held(redis_client) == []


def test_who_asks_for_no_acknowledgement_leaves_nothing_behind(url: str, redis_client: Redis) -> None:
    send(url, "spans", "a")
    with Consuming(url, "spans", no_ack=True) as consuming:
        assert consuming.take() == ["a"]
        assert held(redis_client) == []


# Nothing waits


def test_each_of_several_queues_wakes_a_resting_consumer(url: str, redis_client: Redis) -> None:
    queues = ["first", "second", "third"]
    with Consuming(url, *queues) as consuming:
        for queue in [*queues, *reversed(queues)]:
            consuming.rest()
            send(url, queue, queue)
            assert consuming.take() == [queue]


def test_each_priority_wakes_a_resting_consumer(url: str) -> None:
    with Consuming(url, "first", "second") as consuming:
        for priority in (0, 3, 6, 9):
            consuming.rest()
            send(url, "second", priority, priority=priority)
            assert consuming.take() == [priority]


def test_every_resting_consumer_wakes_and_one_takes(url: str, redis_client: Redis) -> None:
    with Consuming(url, "spans") as one, Consuming(url, "spans") as other:
        one.rest()
        other.rest()
        send(url, "spans", "a", "b")

        assert sorted(one.take() + other.take()) == ["a", "b"]
        assert one.takes_no_more()
        assert other.takes_no_more()


def test_a_queue_added_while_it_rests(url: str) -> None:
    with Consuming(url, "first") as consuming:
        consuming.rest()
        send(url, "second", "a")
        consuming._consumer.add_queue(Queue("second"))
        consuming._consumer.consume()
        assert consuming.take() == ["a"]


def test_the_report_comes_along_with_the_reply(url: str, redis_client: Redis) -> None:
    with Consuming(url, "spans") as consuming:
        consuming.ask()
        until(lambda: redis_client.info("commandstats").get("cmdstat_evalsha", {}).get("calls"))
        send(url, "spans", "a")  # now both are on the socket
        assert consuming.take() == ["a"]


def test_urgent_messages_first_and_queues_in_turn(url: str) -> None:
    for queue in ("x", "y"):
        send(url, queue, f"{queue}1", f"{queue}2", priority=3)
        send(url, queue, f"{queue}0", priority=0)
    with Consuming(url, "x", "y") as consuming:
        assert consuming.take(6) == ["x0", "y0", "x1", "y1", "x2", "y2"]


def test_oldest_first(url: str) -> None:
    send(url, "spans", *range(10))
    with Consuming(url, "spans") as consuming:
        assert consuming.take(10) == list(range(10))


def test_no_more_than_the_prefetch_is_taken(url: str, redis_client: Redis) -> None:
    send(url, "spans", *range(4))
    with Consuming(url, "spans", prefetch=2) as consuming:
        assert consuming.take(2) == [0, 1]
        assert consuming.takes_no_more()
        assert redis_client.llen("spans") == 2
        consuming.messages[0].ack()
        assert consuming.take() == [2]


def test_a_report_while_the_hands_are_full_costs_no_connection(url: str, redis_client: Redis) -> None:
    def tracking() -> list[str]:
        return [client["id"] for client in redis_client.client_list() if "t" in client["flags"]]

    with Consuming(url, "empty", "spans", prefetch=1) as consuming:
        send(url, "spans", "a")
        consuming.take()
        before = tracking()
        send(url, "empty", "b")  # the script has looked there before it found a
        assert consuming.takes_no_more()
        consuming.messages[0].ack()
        assert consuming.take() == ["b"]
        assert tracking() == before
        assert len(before) == 1


# What goes wrong on the way


@pytest.mark.parametrize("resting", [True, False])
def test_the_connection_is_cut(url: str, redis_client: Redis, resting: bool) -> None:
    with Consuming(url, "spans") as consuming:
        consuming.rest() if resting else consuming.ask()
        redis_client.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(consuming.connection.connection_errors):
            consuming.take()
        send(url, "spans", "a")
        assert consuming.take() == ["a"]
        consuming.rest()
        send(url, "spans", "b")
        assert consuming.take() == ["b"]


@pytest.mark.parametrize("resting", [True, False])
def test_the_script_is_flushed(url: str, redis_client: Redis, resting: bool) -> None:
    with Consuming(url, "spans") as consuming:
        consuming.rest()
        if not resting:
            send(url, "spans", "a")
        redis_client.script_flush()
        if resting:
            send(url, "spans", "a")
        assert consuming.take() == ["a"]


def test_the_server_dies_and_comes_back(own_redis: RedisServer) -> None:
    url = own_redis.url
    send(url, "spans", "a", "b")
    with Consuming(url, "spans", prefetch=1) as consuming:
        assert consuming.take() == ["a"]
        own_redis.kill()
        own_redis.start()
        with own_redis.client() as redis:
            assert len(held(redis)) == redis.llen("spans") == 1
        consuming.messages[0].ack()
        with pytest.raises(consuming.connection.connection_errors):
            consuming.take()
        assert consuming.take() == ["b"]


def test_the_server_dies_while_a_reply_is_awaited_and_the_channel_closes(own_redis: RedisServer) -> None:
    send(own_redis.url, "spans", "a", "b")
    with Consuming(own_redis.url, "spans") as consuming:
        consuming.take()
        consuming.ask()
        with own_redis.client() as redis:
            until(lambda: redis.llen("spans") == 0)
        own_redis.kill()
        for _ in range(2):  # as a worker does on its way to a new connection
            consuming.connection.maybe_close_channel(consuming.channel)

    with own_redis.start().client() as redis:
        assert len(held(redis)) + redis.llen("spans") == 2


def test_a_refusal_takes_nothing_and_is_told(url: str, redis_client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    redis_client.set("unacked", "not ours")
    send(url, "spans", "a")
    with Consuming(url, "spans") as consuming:
        with caplog.at_level(logging.ERROR):
            assert consuming.takes_no_more()
        assert "nothing was taken, asking again: " in caplog.text
        assert redis_client.llen("spans") == 1
        redis_client.delete("unacked")
        consuming.channel._ask_in(0)
        assert consuming.take() == ["a"]


@pytest.mark.parametrize(
    "foreign", ["not json", "[]", "7", '{"properties": {"delivery_tag": 7}}', '{"properties": []}']
)
def test_what_no_kombu_sent_is_set_aside(
    url: str, redis_client: Redis, caplog: pytest.LogCaptureFixture, foreign: str
) -> None:
    redis_client.lpush("spans", foreign)
    send(url, "spans", "a")
    with Consuming(url, "spans") as consuming:
        assert consuming.take() == ["a"]
        assert "has no delivery tag" in caplog.text
        assert redis_client.lrange("spans.unreadable", 0, -1) == [foreign.encode()]
        assert len(held(redis_client)) == 1


@pytest.mark.parametrize("body", ['"', "\\", '\\"', '", "properties": {"delivery_tag": "forged"}, "x": "', "ü\0\n", ""])
def test_no_body_is_mistaken_for_the_envelope(url: str, redis_client: Redis, body: str) -> None:
    headers = {"delivery_tag": "forged", "properties": {"delivery_tag": "forged"}}
    options = {"body_encoding": None}  # as it is, not as base64
    send(url, "spans", body, serializer="json", headers=headers, transport_options=options)
    with Consuming(url, "spans") as consuming:
        assert consuming.take() == [body]
        assert redis_client.hkeys("unacked") == [consuming.messages[0].delivery_tag.encode()]


# Giving back stays kombu's


@pytest.mark.parametrize("stock", [True, False], ids=["by a stock consumer", "by ours"])
def test_what_a_dead_consumer_held_is_restored(url: str, redis_client: Redis, stock: bool) -> None:
    send(url, "spans", "a", priority=6)
    with Consuming(url, "spans") as dead:
        dead.take()
        dead.die()
    with Consuming(url, "other", stock=stock, visibility_timeout=-1) as other:
        other.channel.qos.restore_visible(interval=1)

    assert held(redis_client) == []
    with Consuming(url, "spans") as consuming:
        assert consuming.take() == ["a"]
        assert consuming.messages[0].headers["redelivered"]


def test_a_restored_message_finds_its_queue_without_bindings(url: str, redis_client: Redis) -> None:
    """Kombu looks the exchange up again, as what it takes it for, and drops the message if nothing is bound."""
    topic = Queue("spans", Exchange("topic", type="topic"), routing_key="a.*")
    with Consuming(url, topic) as dead:
        dead.connection.Producer().publish("a", exchange="topic", routing_key="a.b")
        dead.take()
        dead.die()
    redis_client.delete("_kombu.binding.topic")
    with Consuming(url, "other", visibility_timeout=-1) as other:
        other.channel.qos.restore_visible(interval=1)

    assert redis_client.llen("spans") == 1


def test_closing_gives_back_what_is_held(url: str, redis_client: Redis) -> None:
    send(url, "spans", "a", "b")
    with Consuming(url, "spans") as consuming:
        consuming.take()
        consuming.ask()  # and one on its way
        until(lambda: redis_client.llen("spans") == 0)
        consuming._consumer.cancel()  # as a worker does at SIGTERM
        consuming.connection.transport.close_connection(consuming.connection.transport)

    assert redis_client.llen("spans") == 2
    assert held(redis_client) == []


def test_a_full_server_refuses_to_take_back_and_keeps_it_held(url: str, redis_client: Redis) -> None:
    send(url, "spans", "a")
    with Consuming(url, "spans") as consuming:
        consuming.take()
        with full(redis_client), pytest.raises(OutOfMemoryError):
            consuming.channel.qos.restore_unacked()
        assert len(held(redis_client)) == 1


def test_rejected(url: str, redis_client: Redis) -> None:
    send(url, "spans", "a", "b")
    with Consuming(url, "spans") as consuming:
        consuming.take(2)
        consuming.messages[0].requeue()
        consuming.messages[1].reject()
        assert held(redis_client) == []
        assert consuming.take() == ["a"]


def test_pub_sub_is_untouched(url: str, redis_client: Redis) -> None:
    fanout = Exchange("events", type="fanout")
    with Consuming(url, Queue("mine", fanout), "spans") as consuming:
        assert consuming.takes_no_more()
        consuming.connection.Producer().publish("a", exchange=fanout)
        assert consuming.take() == ["a"]
        consuming.messages[0].ack()
        assert held(redis_client) == []


def test_global_keyprefix(url: str, redis_client: Redis) -> None:
    options: dict[str, Any] = {"global_keyprefix": "mine:"}
    with Consuming(url, "x", "y", **options) as consuming:
        consuming.rest()
        send(url, "y", "a", "b", "c", priority=3, transport_options=options)
        assert consuming.take() == ["a"]
        assert consuming.channel.basic_get("y").decode() == "b"
        assert len(held(redis_client, "mine:unacked")) == 2
        consuming.messages[0].requeue()
        assert consuming.take(2) == ["c", "a"]
    assert redis_client.keys("*")
    assert redis_client.keys("*") == redis_client.keys("mine:*")


# How it is chosen, and refused


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("redis", "rediss"):
        monkeypatch.setitem(TRANSPORT_ALIASES, scheme, TRANSPORT_ALIASES[scheme])
        monkeypatch.setitem(_transport_cache, scheme, StockTransport)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h:1/0", "unix:///run/redis.sock", "redis://h;redis://i"])
def test_redis_urls_get_this_transport(url: str) -> None:
    assert not issubclass(Connection(kombu_url(url)).get_transport_cls(), Transport)
    claim_atomically()
    connection = Connection(kombu_url(url))
    assert issubclass(connection.get_transport_cls(), Transport)
    connection.maybe_switch_next()  # a fail-over reads the next URL again
    assert issubclass(connection.get_transport_cls(), Transport)


@pytest.mark.parametrize(
    ("given", "kombus"),
    [
        ("redis://:p%40@h:1/2", "redis://:p%40@h:1/2"),
        ("amqp://h//", "amqp://h//"),
        ("sentinel://h:1;sentinel://i:1", "sentinel://h:1;sentinel://i:1"),
        ("rediss://h:1/2", "rediss://h:1/2?ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=none", "rediss://h?ssl_cert_reqs=none"),
        ("unix:///run/r.sock", "redis+socket:///run/r.sock?virtual_host=0"),
        ("unix://u:p@/run/r.sock?db=3", "redis+socket://u:p@/run/r.sock?virtual_host=3"),
    ],
)
def test_urls_as_kombu_spells_them(given: str, kombus: str) -> None:
    assert kombu_url(given) == kombus


@pytest.mark.usefixtures("registry", "redis_program")
def test_over_a_unix_socket(tmp_path: Path) -> None:
    claim_atomically()
    url = kombu_url(f"unix://{tmp_path}/s?db=3")
    with RedisServer(tmp_path, options={"unixsocket": f"{tmp_path}/s"}) as server, Consuming(url, "spans") as consuming:
        consuming.rest()
        send(f"redis://127.0.0.1:{server.port}/3", "spans", "a")
        assert consuming.take() == ["a"]


def test_another_kombu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kombu, "__version__", "5.8.0")
    with pytest.raises(VersionMismatch, match=r"rests on kombu 5\.7\.x, this is 5\.8\.0"):
        Connection("redis://", transport=Transport).transport  # noqa: B018


def test_an_old_redis_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "OLDEST_REDIS", (99, 0))
    with Consuming(url, "spans") as consuming, pytest.raises(VersionMismatch, match=r"must be Redis 6\.2"):
        consuming.take()


def test_giving_up_acknowledgements_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="ack_emulation=False"):
        Consuming(url, "spans", ack_emulation=False)
