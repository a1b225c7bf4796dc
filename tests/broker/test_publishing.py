"""Many messages at once: all of them are in a queue, or the caller is told."""
# mypy: allow-untyped-calls

from collections.abc import Iterator
from typing import Any

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError
from redis import Redis

from embedded.rabbitmq import RabbitMissing, RabbitServer, server_program
from embedded.redis import RedisServer
from tasks.confirms import NotConfirmed, publish_confirmed
from tasks.transport import Transport

SEGMENTS = Exchange("segments", durable=True)
BODIES = [f"segment {number}".encode() for number in range(300)]
WHERE = {"exchange": "segments", "routing_key": "out"}


def queue(name: str = "out", **arguments: Any) -> Queue:
    return Queue(name, SEGMENTS, "out", queue_arguments=arguments)


def bodies(connection: Connection, name: str = "out") -> list[bytes]:
    """As a stock client reads them."""
    found = []
    while (message := connection.default_channel.basic_get(name, no_ack=True)) is not None:
        found.append(bytes(connection.default_channel.message_to_python(message).body))
    return found


# Redis


@pytest.fixture
def redis_broker(redis_server: RedisServer, redis_client: Redis) -> Iterator[Connection]:
    with Connection(redis_server.url, transport=Transport) as connection:
        yield connection


def channel(connection: Connection) -> Any:
    return connection.default_channel


def test_a_stock_client_reads_what_was_published_together_in_order(
    redis_broker: Connection, redis_server: RedisServer
) -> None:
    queue()(redis_broker.default_channel).declare()
    channel(redis_broker).publish_together(BODIES, **WHERE, content_type="application/json")
    with Connection(redis_server.url, transport="kombu.transport.redis:Transport") as stock:
        assert bodies(stock) == BODIES


def test_every_bound_queue_gets_all(redis_broker: Connection) -> None:
    for name in ("out", "archive"):
        queue(name)(redis_broker.default_channel).declare()
    channel(redis_broker).publish_together(BODIES, **WHERE)
    assert bodies(redis_broker) == bodies(redis_broker, "archive") == BODIES


def test_without_a_bound_queue_it_raises(redis_broker: Connection, redis_client: Redis) -> None:
    with pytest.raises(OperationalError, match="segments"):
        channel(redis_broker).publish_together(BODIES, **WHERE)
    assert redis_client.keys("out*") == []


# RabbitMQ


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    try:
        server_program()
    except RabbitMissing as missing:
        pytest.skip(str(missing))
    with RabbitServer(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.fixture
def rabbit_broker(rabbit: RabbitServer) -> Iterator[Connection]:
    with Connection(rabbit.url, transport_options={"read_timeout": 3, "write_timeout": 3}) as connection:
        yield connection
        connection.collect()
    with Connection(rabbit.url) as connection:
        queue()(connection.default_channel).delete()


def declared(connection: Connection, **arguments: Any) -> None:
    queue(**arguments)(connection.default_channel).declare()


def test_confirmed_messages_are_in_the_queue_in_order(rabbit_broker: Connection) -> None:
    declared(rabbit_broker, **{"x-queue-type": "quorum"})
    for _ in range(2):  # tags begin anew each time
        publish_confirmed(rabbit_broker, BODIES, **WHERE, timeout_s=10)
    assert bodies(rabbit_broker) == 2 * BODIES


def test_a_full_queue_refuses_and_the_caller_is_told(rabbit_broker: Connection) -> None:
    declared(rabbit_broker, **{"x-max-length": 200, "x-overflow": "reject-publish"})
    with pytest.raises(NotConfirmed, match="refused"):
        publish_confirmed(rabbit_broker, BODIES, **WHERE, timeout_s=10)


def test_messages_that_no_queue_takes_are_an_error(rabbit_broker: Connection) -> None:
    declared(rabbit_broker)
    with pytest.raises(NotConfirmed, match="segments"):
        publish_confirmed(rabbit_broker, BODIES, exchange="segments", routing_key="nowhere", timeout_s=10)


def test_a_frozen_broker_is_not_waited_for_longer_than_told(rabbit: RabbitServer, rabbit_broker: Connection) -> None:
    declared(rabbit_broker)
    publish_confirmed(rabbit_broker, BODIES, **WHERE, timeout_s=10)
    rabbit.freeze()
    try:
        with pytest.raises(OSError, match=r"timed out|unavailable|^$"):
            publish_confirmed(rabbit_broker, BODIES, **WHERE, timeout_s=1)
        rabbit_broker.collect()
    finally:
        rabbit.thaw()
