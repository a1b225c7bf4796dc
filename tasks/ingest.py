"""spans.ingest: a span's first step. Decode, validate, append; the message is acknowledged only after that.

Bad spans become outcomes and the rest of the batch goes in. Whatever goes wrong here sends the message back to the
queue: nothing that a task raises is ever delivered again.
"""

from contextlib import suppress
from time import sleep
from typing import Any

from celery.exceptions import Reject
from celery.utils.log import get_task_logger

from buffer.decode import Decoded, decode
from buffer.errors import BufferUnavailable
from buffer.model import Outcome, Outcomes
from tasks.app import app, settings, span_buffer
from tasks.metrics import count, count_outcomes
from tasks.patience import patiently
from tasks.set_aside import set_aside_queue

logger = get_task_logger(__name__)

PAUSE_S = 1.0
"""Before a message is handed back, so that it does not turn in a circle."""


@app.task(name="spans.ingest", bind=True, typing=False)
def ingest(self: Any, *args: object, **kwargs: object) -> None:
    """``args``: one batch, a list of span objects or bytes with a JSON array or one JSON object a line."""
    try:
        if self.request.delivery_info.get("redelivered") and _is_poison(self.request.id):
            _set_aside(self.request.id, args, kwargs)
        else:
            _ingest(_decoded(args, kwargs))
    except BufferUnavailable as error:
        with suppress(BufferUnavailable):
            span_buffer().forget_deliveries(self.request.id)
        raise _handed_back(error) from error
    except (Exception, MemoryError) as error:  # a MemoryError that leaves a task stops the whole worker
        raise _handed_back(error) from error


def _handed_back(error: BaseException) -> Reject:
    logger.error("Batch not acknowledged, it will be delivered again: %s", error)
    sleep(PAUSE_S)
    return Reject(error, requeue=True)


def _is_poison(task_id: str) -> bool:
    """The broker has delivered it before, so a worker died with it or handed it back: how often?"""
    return patiently(lambda: span_buffer().count_delivery(task_id)) > settings.max_deliveries


def _set_aside(task_id: str, args: tuple[object, ...], kwargs: dict[str, Any]) -> None:
    """Whatever is in it, it must not be decoded here: that may be what kills."""
    app.send_task("spans.ingest", args, kwargs, task_id=task_id, queue=set_aside_queue(app))
    spans = len(args[0]) if args and isinstance(args[0], list) else 1
    logger.error(
        "Batch %s came %d times and was set aside: `celery -A tasks set-aside`.", task_id, settings.max_deliveries
    )
    patiently(lambda: count_outcomes(Outcomes({f"{Outcome.SET_ASIDE}.deliveries": spans})))
    patiently(lambda: span_buffer().forget_deliveries(task_id))  # it may be sent again


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
