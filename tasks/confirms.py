"""Many messages to RabbitMQ, confirmed together: a wait for each costs more than everything else a segment costs.

Invariant: it returns when the broker has confirmed every one. Each call has a channel of its own, whose delivery tags
begin at 1, so a confirm is matched to its message and one that comes late is nobody's. py-amqp's own `confirm_publish`
takes any confirm for that of the last message.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Any

from kombu.connection import Connection
from kombu.exceptions import OperationalError


class NotConfirmed(OperationalError):
    """The broker refused a message, or returned one that no queue takes."""


def publish_confirmed(
    connection: Connection,
    messages: Sequence[bytes],
    *,
    exchange: str,
    routing_key: str,
    timeout_s: float,
    **properties: object,
) -> None:
    channel = connection.channel()
    open_tags = _await_confirms(channel, len(messages))
    for message in messages:
        # The time-out is that of the socket: a frozen broker stops reading.
        channel.basic_publish(
            channel.prepare_message(message, **properties),
            exchange=exchange,
            routing_key=routing_key,
            mandatory=True,
            timeout=timeout_s,
        )
    until = monotonic() + timeout_s
    while open_tags:
        connection.drain_events(timeout=max(0.001, until - monotonic()))
    channel.close()  # not after an error: a frozen broker would not answer, and the connection is dropped


def _await_confirms(channel: Any, messages: int) -> set[int]:
    """The tags that are not confirmed yet. What is refused or returned raises where events are drained."""
    open_tags = set(range(1, messages + 1))

    def confirmed(tag: int, multiple: bool) -> None:
        open_tags.difference_update(range(1, tag + 1) if multiple else (tag,))

    def refused(tag: int, multiple: bool) -> None:
        raise NotConfirmed("The broker refused a message: its queue is full, or it has no majority.")

    def returned(error: Exception, exchange: str, routing_key: str, message: object) -> None:
        raise NotConfirmed(f"No queue takes messages of the exchange {exchange}: {error}")

    channel.events["basic_ack"].add(confirmed)
    channel.events["basic_nack"].add(refused)
    channel.events["basic_return"].add(returned)
    channel.confirm_select()
    return open_tags
