"""Appenders and a flusher on the library, each with connections of its own, that only stop when told to.

An appender repeats a batch until it is acknowledged, as tasks/ingest.py does; the flusher leaves what failed to its
next turn, as tasks/flush.py does. Neither knows what is being done to Redis.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from threading import Event, Lock, Thread
from typing import TypeVar

from pydantic import SecretStr

from buffer import Settings, Span, SpanBuffer
from buffer.connect import connect
from buffer.errors import BufferUnavailable
from failover.ledger import Ledger

T = TypeVar("T")
QUICK = {"root_timeout": 0.3, "timeout": 1.0, "task_time_limit": 1.0, "lease": 2.0, "visibility_timeout": 2.0}
"""Segments are due soon and claims end soon, so that each failover finds some in every state."""
_TRACES_AT_ONCE, _TRACE_SPANS, _BATCH_SPANS = 40, 8, 160
_PAUSE_S = 0.1
_DRAIN_S = 90.0
_LAG_S = 0.5


def settings(url: str, **others: object) -> Settings:
    return Settings.model_validate({**QUICK, "redis_url": SecretStr(url), **others})


class Traffic:
    def __init__(self, url: str, *, appenders: int = 2, pause_s: float = 0.0, **others: object) -> None:
        """``pause_s``: an appender's rest between two batches, on average."""
        self.settings = settings(url, **others)
        self.adjusted_at_s = 0.0
        self.ledger = Ledger()
        self._pause_s = pause_s
        self._stop_appending, self._stop_flushing = Event(), Event()
        self._numbers, self._numbers_lock = count(1), Lock()
        self._appenders = [Thread(target=self._append, args=(n,), daemon=True) for n in range(appenders)]
        self._flusher = Thread(target=self._flush, daemon=True)

    def start(self) -> None:
        for thread in (*self._appenders, self._flusher):
            thread.start()

    def adjust(self, **others: object) -> None:
        """Other settings, for one after the other: as when workers are replaced."""
        self.settings = self.settings.model_copy(update=others)
        self.adjusted_at_s = time.monotonic()

    def finish(self) -> Ledger:
        """No more batches; those in hand are repeated until they are in. Then flush until nothing is left."""
        self._stop_appending.set()
        for appender in self._appenders:
            appender.join(_DRAIN_S)
            assert not appender.is_alive(), "an appender never got its batch acknowledged"
        self._stop_flushing.set()
        self._flusher.join(_DRAIN_S)
        self._drain()
        return self.ledger

    def _append(self, number: int) -> None:
        chance = Random(number)
        connected = _Connected(self, lag_s=number * _LAG_S)
        for batch in self._batches(chance):
            while not self._called(lambda batch=batch: connected.buffer().append(batch)):  # type: ignore[misc]
                time.sleep(_PAUSE_S)
            self.ledger.acknowledge(batch)
            time.sleep(chance.expovariate(1 / self._pause_s) if self._pause_s else 0)

    def _batches(self, chance: Random) -> Iterator[list[Span]]:
        """Spans of several traces, shuffled: children before parents, roots last, traces over several batches."""
        while not self._stop_appending.is_set():
            spans = [span for _ in range(_TRACES_AT_ONCE) for span in trace(self._number(), chance)]
            chance.shuffle(spans)
            for start in range(0, len(spans), _BATCH_SPANS):
                yield spans[start : start + _BATCH_SPANS]

    def _number(self) -> int:
        with self._numbers_lock:
            return next(self._numbers)

    def _flush(self) -> None:
        connected = _Connected(self, lag_s=_LAG_S / 2)
        while not self._stop_flushing.is_set():
            self._called(lambda: self._flush_once(connected.buffer()))
            time.sleep(_PAUSE_S)

    def _flush_once(self, buffer: SpanBuffer) -> None:
        loaded = buffer.load(buffer.claim(limit=500))
        self.ledger.outcomes.update(loaded.outcomes)
        self.ledger.publish(loaded)
        buffer.cleanup([segment.receipt for segment in loaded])

    def _drain(self) -> None:
        """With a sweep: a failover may have forgotten a clean-up on one node of a cluster and kept it on another."""
        connected = _Connected(self)
        until = time.monotonic() + _DRAIN_S
        self.adjust(sweep_idle=0.0)
        while not self._called(lambda: self._is_empty(connected.buffer())):
            assert time.monotonic() < until, f"the queues do not become empty: {self.ledger.refusals}"
            self._called(lambda: self._flush_once(connected.buffer()))
            time.sleep(_PAUSE_S)

    def _is_empty(self, buffer: SpanBuffer) -> bool:
        if buffer.depth():
            return False
        requeued = buffer.sweep().requeued
        self.ledger.outcomes["sweep.requeued"] += requeued
        return not requeued

    def _called(self, call: Callable[[], T]) -> T | None:
        """None when it raised."""
        began = time.monotonic()
        try:
            return call()
        except BufferUnavailable as error:
            cause = error.__cause__
            self.ledger.refusals[type(cause).__name__ if cause else str(error)[:60]] += 1
        except Exception as error:  # what else comes out of the library is what this looks for
            self.ledger.unexpected[f"{type(error).__name__}: {error}"[:200]] += 1
        finally:
            self.ledger.called(time.monotonic() - began)
        return None


class _Connected:
    """A buffer with connections of its own. Settings that were adjusted reach it ``lag_s`` later."""

    def __init__(self, traffic: Traffic, lag_s: float = 0.0) -> None:
        self._traffic, self._lag_s = traffic, lag_s
        self._buffer: SpanBuffer | None = None

    def buffer(self) -> SpanBuffer:
        wanted = self._traffic.settings
        if self._buffer is None:
            self._buffer = SpanBuffer(connect(wanted.redis_url.get_secret_value()), wanted)
        elif self._buffer.settings is not wanted and time.monotonic() > self._traffic.adjusted_at_s + self._lag_s:
            self._buffer = SpanBuffer(self._buffer.client, wanted)
        return self._buffer


def trace(number: int, chance: Random) -> list[Span]:
    """A tree of random shape, payloads of a few hundred bytes."""
    trace_id = f"{number:032x}"
    spans: list[Span] = []
    for n in range(1, 1 + _TRACE_SPANS):
        parent = None if n == 1 else spans[chance.randrange(n - 1)].span_id
        fields = {"trace_id": trace_id, "span_id": f"{n:016x}", "name": chance.randbytes(60).hex()}
        spans.append(Span(1, trace_id, f"{n:016x}", parent, payload=json.dumps(fields).encode()))
    return spans
