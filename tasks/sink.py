"""Where segments go: the exchange ``segments``, with the durable queue ``buffered-segments`` bound to it.

Invariant: ``publish`` returns only when the broker has every message in a queue. A missing binding is an error, not
silent loss; a frozen broker is waited for no longer than ``publish_timeout``; and after an error the connection is
dropped. What is published again after one is a repeat under the same flush id.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from time import sleep

from celery.utils.log import get_task_logger
from kombu.connection import Connection, ConnectionPool
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer

from tasks.app import app, settings
from tasks.confirms import publish_confirmed
from tasks.transport import Channel

logger = get_task_logger(__name__)

SEGMENTS = Exchange("segments", type="direct", durable=True)
ROUTING_KEY = "buffered-segments"
_PROPERTIES = {"content_type": "application/json", "content_encoding": "utf-8"}
_PERSISTENT = {"delivery_mode": 2}
_WAITS_S = (0.1, 0.6, 1.0)
_ON_RABBITMQ = app.conf.broker_url.startswith(("amqp", "pyamqp"))


def buffered_segments() -> Queue:
    arguments = {"x-queue-type": settings.queue_type} if _ON_RABBITMQ else None
    return Queue("buffered-segments", SEGMENTS, ROUTING_KEY, durable=True, queue_arguments=arguments)


@cache
def _connections() -> ConnectionPool:
    """Apart from Celery's own, and without its ``confirm_publish``: `confirms` does that."""
    tls = app.conf.broker_use_ssl and dict(app.conf.broker_use_ssl)
    options = dict(app.conf.broker_transport_options)
    if _ON_RABBITMQ:
        options = {"read_timeout": settings.publish_timeout, "write_timeout": settings.publish_timeout}
    connection = Connection(app.conf.broker_url, ssl=tls, transport_options=options)
    return ConnectionPool(connection, limit=1)


@contextmanager
def _connected() -> Iterator[Connection]:
    with _connections().acquire(block=True, timeout=settings.publish_timeout) as connection:
        try:
            yield connection
        except BaseException:
            connection.collect()
            raise


def room_downstream() -> int:
    """Messages that ``buffered-segments`` may still take. Nothing is claimed without room: claims wait out a lease."""
    with _connected() as connection:
        queue = buffered_segments()(connection.default_channel)
        queue.declare()
        waiting = queue.queue_declare().message_count
    return max(0, settings.max_queued_messages - int(waiting))


def publish(messages: Sequence[bytes]) -> None:
    """All of them, confirmed. Raises on whatever kept one from being confirmed; the others may have been published."""
    for wait_s in _WAITS_S:
        try:
            return _publish(messages)
        except _connections().connection.recoverable_connection_errors as error:
            logger.warning("Publishing again in %.1f s: %s", wait_s, error)
            sleep(wait_s)
    return _publish(messages)


def _publish(messages: Sequence[bytes]) -> None:
    with _connected() as connection:
        channel = connection.default_channel
        # Every time, not once per connection: on Redis a message to an exchange without binding is gone.
        buffered_segments()(channel).declare()
        if isinstance(channel, Channel):
            channel.publish_together(messages, SEGMENTS.name, ROUTING_KEY, properties=dict(_PERSISTENT), **_PROPERTIES)
        elif _ON_RABBITMQ:
            publish_confirmed(
                connection,
                messages,
                exchange=SEGMENTS.name,
                routing_key=ROUTING_KEY,
                timeout_s=settings.publish_timeout,
                properties=dict(_PERSISTENT),
                **_PROPERTIES,
            )
        else:
            for message in messages:
                Producer(channel).publish(message, exchange=SEGMENTS, routing_key=ROUTING_KEY, **_PROPERTIES)
