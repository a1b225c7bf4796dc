"""The app of the workers that the broker tests kill: a task is done when its number stands in a file.

A file, because it must survive the broker and the worker; one short append each, so that lines stay whole.
"""

import os
import time
from typing import Any

from celery import Celery

from tasks.transport import claim_atomically

RETURNS_AFTER_S = 2  # what a killed worker held comes back
QUEUES = ["first", "second"]

claim_atomically()
app: Any = Celery("worker_app", broker=os.environ.get("TEST_BROKER", "redis://"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": RETURNS_AFTER_S,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 2,  # 300 by default: who is killed while restoring keeps all others from it
        "priority_steps": [0],
        "polling_interval": 3600,  # nobody looks again: a message is reported, or it is not seen
    },
)


@app.task(name="note")
def note(number: int, takes_s: float = 0) -> None:
    time.sleep(takes_s)
    file = os.open(os.environ["TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, b"%d\n" % number)
    finally:
        os.close(file)
