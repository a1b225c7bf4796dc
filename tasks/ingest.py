"""spans.ingest: a span's first step. Decode, validate, append; the message is acknowledged only after that.

Bad spans become outcomes and the rest of the batch goes in. Whatever goes wrong here sends the message back to the
queue: nothing that a task raises is ever delivered again.
"""

from typing import Any

from celery.exceptions import Reject
from celery.utils.log import get_task_logger

from buffer.decode import Decoded, decode
from buffer.model import Outcome, Outcomes
from tasks.app import app, settings, span_buffer
from tasks.metrics import count, count_outcomes
from tasks.patience import patiently

logger = get_task_logger(__name__)


@app.task(name="spans.ingest", typing=False)
def ingest(*args: object, **kwargs: object) -> None:
    """``args``: one batch, a list of span objects or bytes with a JSON array or one JSON object a line."""
    try:
        _ingest(_decoded(args, kwargs))
    except (Exception, MemoryError) as error:  # a MemoryError that leaves a task stops the whole worker
        logger.error("Batch not acknowledged, it will be delivered again: %s", error)
        raise Reject(error, requeue=True) from error


def _decoded(args: tuple[object, ...], kwargs: dict[str, Any]) -> Decoded:
    if len(args) != 1 or kwargs:
        return Decoded([], Outcomes({"wrong_arguments": 1}))
    return decode(
        args[0],
        max_span_bytes=settings.max_span_bytes,
        max_batch_bytes=settings.max_batch_bytes,
        max_batch_spans=settings.max_batch_spans,
    )


def _ingest(batch: Decoded) -> None:
    outcomes = Outcomes({f"{Outcome.INVALID}.{reason}": spans for reason, spans in batch.invalid.items()})
    if batch.spans:
        appended = patiently(lambda: span_buffer().append(batch.spans))
        outcomes.update(appended.outcomes)
        count("span_buffer.spans_accepted", appended.spans)
    patiently(lambda: count_outcomes(outcomes))
