"""Loaded into the embedded worker (`--include`): keeps its log file readable and small.

Celery says at least two lines a task and beat one a tick; at hundreds of tasks a second the log would outgrow
the data. What goes wrong is still said, and so is what the worker does at start and stop.
"""

import logging

for chatty in ("celery.app.trace", "celery.worker.strategy", "celery.beat"):
    logging.getLogger(chatty).setLevel(logging.WARNING)
