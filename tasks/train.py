"""spans.train: by beat, a dictionary is learnt from what is in the buffer, so that the next spans take less room."""

from celery.utils.log import get_task_logger

from buffer.errors import BufferUnavailable
from tasks.app import app, span_buffer

logger = get_task_logger(__name__)


@app.task(name="spans.train")
def train() -> None:
    """What is packed already stays as it is. When Redis is away the next one will do."""
    try:
        logger.info("%s", span_buffer().train())
    except BufferUnavailable as error:
        logger.warning("No dictionary was trained: %s", error)
