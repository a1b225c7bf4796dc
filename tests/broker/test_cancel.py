"""A queue that a worker stops taking from, as it does when the buffer is full, and takes from again."""

from typing import Any

import pytest
from kombu.entity import Queue
from redis import Redis

from embedded.redis import RedisServer
from tests.broker.consuming import Consuming, send, until


@pytest.fixture
def url(redis_server: RedisServer, redis_client: Redis) -> str:
    return redis_server.url


def cancel(consuming: Consuming, queue: str) -> None:
    consuming._consumer.cancel_by_queue(queue)


def open_again(consuming: Consuming, queue: str) -> None:
    consuming._consumer.add_queue(Queue(queue))
    consuming._consumer.consume()


def all_is_in_the_queue(redis: Redis, queue: str, count: int) -> bool:
    return not redis.hlen("unacked") and not redis.zcard("unacked_index") and redis.llen(queue) == count


@pytest.mark.parametrize("others", [(), ("other",)])
def test_a_message_on_its_way_when_its_queue_is_cancelled_goes_back_and_comes_later(
    url: str, redis_client: Redis, others: tuple[str, ...]
) -> None:
    """The script has moved it into `unacked`, and the reply is not read yet."""
    send(url, "spans", 1, 2)
    with Consuming(url, "spans", *others) as consuming:
        consuming.ask()
        until(lambda: redis_client.hlen("unacked") == 1)

        cancel(consuming, "spans")

        assert consuming.takes_no_more()
        assert all_is_in_the_queue(redis_client, "spans", 2)
        open_again(consuming, "spans")
        assert sorted(consuming.take(2)) == [1, 2]


def test_a_message_that_comes_while_its_queue_is_cancelled_waits_and_others_come(url: str, redis_client: Redis) -> None:
    with Consuming(url, "spans", "other") as consuming:
        consuming.rest()
        cancel(consuming, "spans")
        send(url, "spans", 1)
        send(url, "other", 2)

        assert consuming.take() == [2]
        assert consuming.takes_no_more()
        assert redis_client.llen("spans") == 1
        open_again(consuming, "spans")
        assert consuming.take() == [1]


def test_an_only_queue_can_be_cancelled_and_taken_from_again_any_number_of_times(url: str, redis_client: Redis) -> None:
    taken: list[Any] = []
    with Consuming(url, "spans") as consuming:
        for number in range(20):
            if number % 2:
                consuming.ask()
            cancel(consuming, "spans")
            send(url, "spans", number)
            assert consuming.takes_no_more()
            open_again(consuming, "spans")
            taken += consuming.take()
            consuming.messages[-1].ack()

    assert taken == list(range(20))
    assert all_is_in_the_queue(redis_client, "spans", 0)
