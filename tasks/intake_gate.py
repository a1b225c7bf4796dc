"""The worker stops taking ingest messages while the buffer's Redis is nearly full, and goes on when there is room.

Spans then wait in the broker, and flushing goes on, which makes room. Closing the queue, and not waiting inside tasks,
keeps the worker's processes free for the flushes.
"""

from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from buffer.errors import BufferUnavailable

logger = get_logger(__name__)

QUEUE = "spans.ingest"
LOOK_EVERY_S = 1.0


class IntakeGate(bootsteps.StartStopStep):
    """A step of the consumer; its timer runs in the worker's main process."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: object) -> None:
        super().__init__(consumer, **options)
        self.closed = False
        self.timer: Any = None

    def start(self, consumer: Any) -> None:
        self.closed = False  # a new connection consumes from every queue
        if QUEUE in consumer.app.amqp.queues.consume_from:
            self.timer = consumer.timer.call_repeatedly(LOOK_EVERY_S, self.look, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self.timer:
            self.timer.cancel()
        self.timer = None

    def look(self, consumer: Any) -> None:
        from tasks.app import settings, span_buffer  # noqa: PLC0415  the app that this is a step of

        try:
            used = span_buffer().memory_used()
        except BufferUnavailable as error:
            logger.warning("Could not look at the buffer's memory: %s", error)
            return
        if not self.closed and used >= settings.max_memory_used:
            consumer.cancel_task_queue(QUEUE)
            self.closed = True
            logger.warning(
                "The buffer's Redis is %.0f %% full: no ingest messages are taken until it is less.", 100 * used
            )
        elif self.closed and used < settings.max_memory_used:
            consumer.add_task_queue(QUEUE)
            self.closed = False
            logger.warning("The buffer's Redis is %.0f %% full: ingest messages are taken again.", 100 * used)
