"""spans.flush_due -> spans.flush -> spans.produce -> spans.cleanup: due segments leave the buffer.

None of these messages matters: a claim whose flush is lost on the way is due again when its lease ends, and what was
published but not cleaned up is published again under the same flush id. So nothing here asks for redelivery.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from celery import chain
from celery.utils.log import get_task_logger

from buffer.buffer import now
from buffer.errors import DamagedPart
from buffer.model import Claim, Receipt
from buffer.segment import Segment
from tasks.app import app, settings, span_buffer
from tasks.metrics import count, count_outcomes, gauge
from tasks.patience import patiently
from tasks.probe import probe
from tasks.sink import publish, room_downstream

logger = get_task_logger(__name__)

Wire = list[list[object]]
LOADED_AT_ONCE = 100
"""Segments of a chunk that are in memory together."""
WINDOW_BYTES = 4 * 2**20
"""Messages published together: a wait for each confirm costs more than the rest of the flush."""


@app.task(name="spans.flush_due")
def flush_due() -> None:
    """By beat: claim the due segments of every shard, and hand them on in chunks."""
    buffer = span_buffer()
    now_ms = now()
    # A full buffer stops the intake, and a clock that waited for the intake would stop the flushing too.
    full = buffer.memory_used() >= settings.max_memory_used
    lag_ms = 0 if full else buffer.lag_ms(now_ms=now_ms)
    probe.apply_async((now_ms,), expires=settings.max_segment_age)
    limit = min(settings.flush_limit, room_downstream() - buffer.claimed(now_ms=now_ms))
    claims = [claim.to_wire() for claim in buffer.claim(now_ms=now_ms, limit=limit, lag_ms=lag_ms)] if limit > 0 else []
    with app.producer_or_acquire() as producer:
        for start in range(0, len(claims), settings.flush_chunk):
            flush.apply_async((claims[start : start + settings.flush_chunk],), producer=producer)
    gauge("span_buffer.ingest_lag", lag_ms / 1000, "second")
    if settings.sentry_dsn:  # looks at every shard
        gauge("span_buffer.oldest_overdue", buffer.overdue_ms() / 1000, "second")


@app.task(name="spans.flush")
def flush(claims: Wire) -> None:
    """One chunk: publish, then clean up what was published."""
    chain(produce.s(claims), cleanup.s()).apply_async()


@app.task(name="spans.produce")
def produce(claims: Wire) -> Wire:
    """Load, publish confirmed; receipts of what was confirmed. The rest stays, and is due again when its lease ends."""
    return _publish(_loaded(claims))


def _loaded(claims: Wire) -> Iterator[Segment]:
    """What cannot be counted is not published, so it comes again."""
    for start in range(0, len(claims), LOADED_AT_ONCE):
        loaded = span_buffer().load([Claim.from_wire(claim) for claim in claims[start : start + LOADED_AT_ONCE]])
        count("span_buffer.damaged", loaded.damaged)
        if loaded.damaged:
            logger.error("%d flush records have a part that cannot be read. They stay in Redis.", loaded.damaged)
        patiently(partial(count_outcomes, loaded.outcomes))
        yield from loaded


def _publish(segments: Iterable[Segment]) -> Wire:
    receipts: Wire = []
    spans = 0
    try:
        for together, messages in _windows(segments):
            publish(messages)
            receipts += [segment.receipt.to_wire() for segment in together]
            spans += sum(len(segment.spans) for segment in together)
    except (Exception, MemoryError) as error:
        logger.error(
            "Published %d segments, then: %s. The others of this chunk stay in the buffer and are tried again.",
            len(receipts),
            error,
        )
    count("span_buffer.segments_published", len(receipts))
    count("span_buffer.spans_published", spans)
    return receipts


def _windows(segments: Iterable[Segment]) -> Iterator[tuple[list[Segment], list[bytes]]]:
    """Segments and their messages, as many as are confirmed together: memory holds one window of messages."""
    together: list[Segment] = []
    messages: list[bytes] = []
    for segment in segments:
        try:
            messages += segment.messages()
        except DamagedPart as damage:
            count("span_buffer.damaged", 1)
            logger.error("Segment %s stays in Redis: %s", segment.segment_id, damage)
            continue
        together.append(segment)
        if sum(map(len, messages)) > WINDOW_BYTES:
            yield together, messages
            together, messages = [], []
    if together:
        yield together, messages


@app.task(name="spans.cleanup")
def cleanup(receipts: Wire) -> None:
    """Delete what the receipts name; patient, because the price of giving up is a repeat downstream."""
    if receipts:
        cleaned = patiently(lambda: span_buffer().cleanup([Receipt.from_wire(receipt) for receipt in receipts]))
        patiently(lambda: count_outcomes(cleaned.outcomes))
