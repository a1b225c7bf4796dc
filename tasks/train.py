"""spans.train: by beat, a dictionary is learnt from what is in the buffer, so that the next spans take less room."""

from celery.signals import beat_init
from celery.utils.log import get_task_logger

from buffer.errors import BufferUnavailable
from tasks.app import app, settings, span_buffer

logger = get_task_logger(__name__)

FIRST_AFTER_S = 30
"""Beat's own first comes after a whole interval; by then a new system has long had spans to learn from."""


@app.task(name="spans.train")
def train() -> None:
    """What is packed already stays as it is. When Redis is away the next one will do."""
    try:
        logger.info("%s", span_buffer().train())
    except BufferUnavailable as error:
        logger.warning("No dictionary was trained: %s", error)


@beat_init.connect
def _first(**_: object) -> None:
    if settings.train_interval:
        train.apply_async(countdown=FIRST_AFTER_S, expires=FIRST_AFTER_S + settings.train_interval, retry=False)
