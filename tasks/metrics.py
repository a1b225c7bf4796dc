"""What is counted, and where it goes: durable counters in the buffer, and Sentry when a DSN is set."""

from collections.abc import Mapping
from typing import Literal

from sentry_sdk import metrics

from tasks.app import settings, span_buffer

Name = Literal[
    "span_buffer.outcomes",  # spans not published, by category and reason: what a customer will ask about
    "span_buffer.spans_accepted",  # spans buffered: the other side of every ledger
    "span_buffer.spans_published",  # spans sent downstream and confirmed, repeats included
    "span_buffer.segments_published",
    "span_buffer.oldest_overdue",  # how long the oldest due segment waits: grows when flushing cannot keep up
    "span_buffer.ingest_lag",  # how long a batch waits in the broker: the flush clock stands behind by it
    "span_buffer.damaged",  # flush records with an unreadable part: somebody else writes to this Redis, or it rots
    "span_buffer.orphans",  # segments found without queue entry: an alarm
]


def count(name: Name, value: int, **attributes: str) -> None:
    if settings.sentry_dsn and value:
        metrics.count(name, value, attributes=attributes)


def gauge(name: Name, value: float, unit: str) -> None:
    if settings.sentry_dsn:
        metrics.gauge(name, value, unit=unit)


def count_outcomes(outcomes: Mapping[str, int]) -> None:
    """Raises BufferUnavailable when the durable counters could not be written."""
    span_buffer().count_outcomes(outcomes)
    for outcome, spans in outcomes.items():
        category, reason = outcome.split(".", 1)
        count("span_buffer.outcomes", spans, category=category, reason=reason)
