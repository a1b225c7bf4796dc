"""The worker stops taking ingest messages while the buffer's Redis is nearly full, and goes on when there is room.

Spans then wait in the broker, and flushing goes on, which makes room. Closing the queue, and not waiting inside tasks,
keeps the worker's processes free for the flushes. A thread looks at Redis, which may be away or frozen; the worker's
main process only compares.
"""

from threading import Thread
from time import sleep
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from buffer import Settings
from buffer.connect import connect
from buffer.memory import memory_used

logger = get_logger(__name__)

QUEUE = "spans.ingest"
LOOK_EVERY_S = 1.0


class IntakeGate(bootsteps.StartStopStep):
    """A step of the consumer, started again with every connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: object) -> None:
        super().__init__(consumer, **options)
        self.settings = Settings.from_environment()
        self.takes_ingest = QUEUE in consumer.app.amqp.queues.consume_from
        self.used = 0.0
        self.watcher = Thread(target=self._watch, name="memory-watch", daemon=True)
        self.timer: Any = None

    def start(self, consumer: Any) -> None:
        if not self.takes_ingest:
            return
        if not self.watcher.is_alive():
            self.watcher.start()
        self.timer = consumer.timer.call_repeatedly(LOOK_EVERY_S, self.compare, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self.timer:
            self.timer.cancel()
        self.timer = None

    def compare(self, consumer: Any) -> None:
        """The consumer keeps a queue that was closed out of ``consume_from``, also over a new connection."""
        is_open = QUEUE in consumer.app.amqp.queues.consume_from
        full = self.used >= self.settings.max_memory_used
        if is_open and full:
            consumer.cancel_task_queue(QUEUE)
            logger.warning(
                "The buffer's Redis is %.0f %% full: taking no ingest messages until it is less.", 100 * self.used
            )
        elif not is_open and not full:
            consumer.add_task_queue(QUEUE)
            logger.warning("The buffer's Redis is %.0f %% full: taking ingest messages again.", 100 * self.used)

    def _watch(self) -> None:
        """What was last seen stays while Redis is away; tasks wait for it then anyway."""
        client = None
        while True:
            try:
                client = client or connect(self.settings.redis_url.get_secret_value())
                self.used = memory_used(client)
            except Exception as error:  # the thread must outlive whatever it meets
                logger.warning("Could not look at the buffer's memory: %s", error)
            sleep(LOOK_EVERY_S)
