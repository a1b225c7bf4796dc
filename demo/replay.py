"""A recording sent again in its own rhythm, only faster: what services do, in the time that a demo has.

The buffer's timeouts are divided by the same number as the pauses between the requests. So a segment that was whole
after three of its seconds is whole as long before its timeout here as it would be in use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from celery import Celery

from buffer import Settings
from demo.otlp import SpanObject
from demo.recordings import Recorded

TICK_S = 0.05
TASK_TIME_LIMIT_S = 8
REDELIVERY_S = 10
"""How long what a killed worker had in hand stays away: minutes in use, which a demo does not have."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much faster than it was recorded."""

    multiple: float

    @classmethod
    def to_last(cls, seconds: float, batches: Sequence[Recorded]) -> Pace:
        """So that the whole recording takes so long; never slower than it was."""
        return cls(max(1.0, (batches[-1].arrival_ms - batches[0].arrival_ms) / 1000 / seconds))

    @property
    def root_timeout_s(self) -> float:
        return round(_default("root_timeout") / self.multiple, 2)

    @property
    def timeout_s(self) -> float:
        return round(_default("timeout") / self.multiple, 2)

    def environment(self) -> dict[str, str]:
        """What the worker is told."""
        return {
            "SPANBUF_ROOT_TIMEOUT": str(self.root_timeout_s),
            "SPANBUF_TIMEOUT": str(self.timeout_s),
            "SPANBUF_TASK_TIME_LIMIT": str(TASK_TIME_LIMIT_S),
            "SPANBUF_LEASE": str(REDELIVERY_S),
            "SPANBUF_VISIBILITY_TIMEOUT": str(REDELIVERY_S),
        }

    def due(self, batches: Iterable[Recorded]) -> Iterator[tuple[float, list[SpanObject]]]:
        """Each batch with the second at which it is sent. One that the recording has late goes at once."""
        first_ms: int | None = None
        for batch in batches:
            first_ms = batch.arrival_ms if first_ms is None else first_ms
            yield (batch.arrival_ms - first_ms) / 1000 / self.multiple, batch.spans


class Sender:
    """Any other service: it knows the broker, the name of the task and its queue, and nothing of the buffer."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("demo", broker=broker_url)

    def send(self, spans: list[SpanObject]) -> None:
        """Returns when the broker has them."""
        self._app.send_task("spans.ingest", args=[spans], queue="spans.ingest", ignore_result=True)

    def close(self) -> None:
        self._app.close()


def replay(
    batches: Iterable[Recorded], pace: Pace, send: Callable[[list[SpanObject]], None], tick: Callable[[], None]
) -> None:
    """Sends every batch at its time; ``tick`` is called in between, about twenty times a second."""
    start = time.monotonic()
    for due_s, spans in pace.due(batches):
        while (left := start + due_s - time.monotonic()) > 0:
            tick()
            time.sleep(min(left, TICK_S))
        send(spans)
        tick()


def first_spans(batches: Iterable[Recorded], most: int) -> Iterator[Recorded]:
    """The beginning of a recording: whole batches until ``most`` spans are reached."""
    count = 0
    for batch in batches:
        if count >= most:
            return
        count += len(batch.spans)
        yield batch


def _default(setting: str) -> float:
    return float(Settings.model_fields[setting].default)
