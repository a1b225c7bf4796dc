"""Waiting for a Redis that is away, inside the task.

A task that raises is never delivered again, and handing a message back at once would turn it in a circle. So a task
waits here, which also slows the intake, and hands its message back when its time is nearly over.
"""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from celery.utils.log import get_task_logger

from buffer.errors import BufferFull, BufferUnavailable
from tasks.app import settings

T = TypeVar("T")
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0

logger = get_task_logger(__name__)


def patiently(call: Callable[[], T]) -> T:
    """``call`` is safe to repeat. Raises BufferUnavailable when half of the soft time limit has gone by."""
    until = monotonic() + settings.task_soft_time_limit / 2
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return call()
        except BufferFull:
            raise  # only flushing makes room, and it needs this process
        except BufferUnavailable as error:
            if monotonic() + wait_s > until:
                raise
            logger.warning("%s Trying again in %.1f s.", error, wait_s)
            sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
