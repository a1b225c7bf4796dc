"""Where segments go: the exchange ``segments``, with the durable queue ``buffered-segments`` bound to it.

Invariant: ``publish`` returns only when the broker has the message in a queue. Without ``mandatory`` a missing binding
loses it although it was confirmed; without ``confirm_timeout`` a frozen broker blocks for ever; and after an error the
connection is dropped, because a late confirm would be taken for that of the next message.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.pools import ProducerPool

from tasks.app import app, settings

SEGMENTS = Exchange("segments", type="direct", durable=True)
ROUTING_KEY = "buffered-segments"
_RETRY = {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.5, "interval_max": 1}


def buffered_segments() -> Queue:
    arguments = {"x-queue-type": settings.queue_type} if app.conf.broker_url.startswith(("amqp", "pyamqp")) else None
    return Queue("buffered-segments", SEGMENTS, ROUTING_KEY, durable=True, queue_arguments=arguments)


@cache
def _producers() -> ProducerPool:
    """Apart from Celery's own: a confirm that came late there would count for a segment."""
    tls = app.conf.broker_use_ssl and dict(app.conf.broker_use_ssl)
    connection = Connection(app.conf.broker_url, ssl=tls, transport_options=app.conf.broker_transport_options)
    return ProducerPool(connection.Pool(1), limit=1)


def room_downstream() -> int:
    """Messages that ``buffered-segments`` may still take. Nothing is claimed without room: claims wait out a lease."""
    with _producers().acquire(block=True, timeout=settings.publish_timeout) as producer:
        try:
            queue = buffered_segments()(producer.channel)
            queue.declare()
            waiting = queue.queue_declare().message_count
        except BaseException:
            producer.connection.collect()
            raise
    return max(0, settings.max_queued_messages - int(waiting))


@contextmanager
def publishing() -> Iterator[Callable[[bytes], None]]:
    """A function that publishes one message, confirmed. Raises on whatever kept it from being confirmed."""
    with _producers().acquire(block=True, timeout=settings.publish_timeout) as producer:
        queue = buffered_segments()

        def publish(message: bytes) -> None:
            producer.publish(
                message,
                exchange=SEGMENTS,
                routing_key=ROUTING_KEY,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode="persistent",
                mandatory=True,
                retry=True,
                retry_policy=_RETRY,
                confirm_timeout=settings.publish_timeout,
            )

        try:
            # Every time, not once per connection: on Redis a message to an exchange without binding is gone.
            queue(producer.channel).declare()
            yield publish
        except BaseException:
            producer.connection.collect()
            raise
