"""A consumer on a broker, run step by step by a test.

It rests for an hour when its queues are empty. So a message that arrives at all arrived because Redis reported it,
not because somebody looked again, and nothing has to be timed.
"""
# mypy: allow-untyped-calls

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Consumer
from kombu.transport.redis import Transport as StockTransport

from tasks.transport import Transport

HOUR_S = 3600.0
ARRIVES_S = 20.0  # only a failing test waits that long


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + ARRIVES_S
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def send(url: str, queue: str, *bodies: object, **how: Any) -> None:
    """As any other service does: stock kombu."""
    options = how.pop("transport_options", {})
    with Connection(url, transport=StockTransport, transport_options=options) as connection:
        producer = connection.Producer()
        for body in bodies:
            producer.publish(body, routing_key=queue, **how)


class Consuming:
    def __init__(
        self,
        url: str,
        *queues: Any,
        stock: bool = False,
        no_ack: bool = False,
        prefetch: int = 0,
        **options: Any,
    ) -> None:
        kind = StockTransport if stock else Transport
        self.connection = Connection(url, transport=kind, transport_options=options)
        self.connection.transport.brpop_timeout = HOUR_S
        self.channel: Any = self.connection.channel()
        self.channel.basic_qos(0, prefetch, False)
        self.messages: list[Any] = []
        self._consumer = Consumer(
            self.channel,
            [queue if isinstance(queue, Queue) else Queue(queue) for queue in queues],
            on_message=self.messages.append,
            no_ack=no_ack,
            accept=["json", "text/plain"],
        )
        self._consumer.consume()

    @property
    def bodies(self) -> list[Any]:
        return [message.decode() for message in self.messages]

    def ask(self) -> None:
        """Sends the command that brings a message, and does not read the reply."""
        self.connection.transport.cycle.on_poll_start()

    def rest(self) -> None:
        """Until it knows that all its queues are empty."""
        with suppress(OSError):
            self.connection.drain_events(timeout=0.2)
        assert self.channel._ask_at, "it does not rest"

    def take(self, count: int = 1) -> list[Any]:
        """The bodies of the next messages."""
        before = len(self.messages)
        while len(self.messages) < before + count:
            self.connection.drain_events(timeout=ARRIVES_S)
        return self.bodies[before:]

    def takes_no_more(self) -> bool:
        before = len(self.messages)
        with suppress(OSError):
            self.connection.drain_events(timeout=0.2)
        return len(self.messages) == before

    def die(self) -> None:
        """What a SIGKILL leaves: closed sockets, and nothing said to Redis."""
        self.channel.qos.restore_at_shutdown = False
        self.channel._in_poll = None
        for pool in self.channel._pool, self.channel._async_pool:
            if pool is not None:
                pool.disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.qos.restore_at_shutdown = False
        self.connection.release()
