"""spans.sweep: by beat, the safety net. Segments without queue entry are queued, and counted as an alarm."""

from celery.utils.log import get_task_logger

from tasks.app import app, span_buffer
from tasks.metrics import count

logger = get_task_logger(__name__)


@app.task(name="spans.sweep")
def sweep() -> None:
    swept = span_buffer().sweep()
    count("span_buffer.orphans", swept.requeued)
    if swept.requeued:
        logger.error(
            "Sweep: %d of %d segments were neither queued nor claimed. They are queued now and nothing is lost, "
            "but this must not happen: please report it.",
            swept.requeued,
            swept.segments,
        )
