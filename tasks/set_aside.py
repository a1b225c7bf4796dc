"""``celery -A tasks set-aside``: batches that were delivered too often, to look at and to send again.

They are ordinary ingest messages in a queue that no worker consumes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from celery.bin.base import CeleryCommand, handle_preload_options
from kombu.entity import Exchange, Queue
from kombu.message import Message

LOOK_AT = 10


@click.command(cls=CeleryCommand, name="set-aside")
@click.option("--send-again", is_flag=True, help="Send all of them through ingest again.")
@click.pass_context
@handle_preload_options
def set_aside(context: click.Context, send_again: bool) -> None:
    """Show batches that were set aside because they came too often, or send them again."""
    app = context.obj.app
    with _messages(app) as messages:
        for number, message in enumerate(messages):
            if send_again:
                args, kwargs, _ = message.decode()
                app.send_task("spans.ingest", args, kwargs, task_id=message.headers["id"])
                message.ack()
                context.obj.echo(f"sent again: {message.headers['id']}")
            elif number < LOOK_AT:
                context.obj.echo(
                    f"{message.headers['id']}  {len(message.body)} bytes  {message.headers['argsrepr'][:200]}"
                )


@contextmanager
def _messages(app: Any) -> Iterator[Iterator[Message]]:
    """What is in the queue now. What is not acknowledged goes back when the connection closes."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        queue: Any = set_aside_queue(app)(channel)
        queue.declare()
        waiting = queue.queue_declare().message_count
        found = (queue.get(accept=app.conf.accept_content) for _ in range(waiting))
        yield (message for message in found if message is not None)


def set_aside_queue(app: Any) -> Queue:
    """Of the same kind as the queues that workers consume."""
    name = "spans.set-aside"
    return Queue(name, Exchange(name), name, queue_arguments=app.conf.task_queues[0].queue_arguments)
