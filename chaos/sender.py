"""A client that loses nothing: a batch is sent again until the broker has confirmed it.

So a batch whose confirm was lost is in the broker twice; the buffer recognises its parts and counts the copies. It
sends no faster than the run allows, and knows of the pipeline only the broker, the task's name and its queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from demo.ledger import Ledger
from demo.otlp import SpanObject

# Declared by the workers, who know of what type it is.
INGEST = Queue("spans.ingest", Exchange("spans.ingest", no_declare=True), "spans.ingest", no_declare=True)
CONFIRM_S = 10.0
AGAIN_S = 0.5


class PersistentSender:
    def __init__(
        self,
        broker_url: str,
        transport_options: Mapping[str, object],
        batches: Iterable[list[SpanObject]],
        ledger: Ledger,
        allowed: Callable[[], int],
    ) -> None:
        """``allowed``: how many spans may have been sent by now."""
        self.resent = 0
        """Batches sent again, each time counted."""
        self.done = False
        self._app = Celery("chaos", broker=broker_url, set_as_current=False)
        self._app.conf.broker_transport_options = dict(transport_options)
        self._batches = batches
        self._ledger = ledger
        self._allowed = allowed
        self._connection: Connection | None = None
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def check(self) -> None:
        if self._error:
            raise self._error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2 * CONFIRM_S)
        self._drop_connection()
        self._app.close()

    def _run(self) -> None:
        try:
            for spans in self._batches:
                while self._allowed() <= self._ledger.sent:
                    if self._stop.wait(0.02):
                        return
                self._ledger.send(spans)
                self._send(spans)
                if self._stop.is_set():
                    return
            self.done = True
        except Exception as error:  # raised again where the run is watched
            self._error = error

    def _send(self, spans: list[SpanObject]) -> None:
        while not self._stop.is_set():
            try:
                self._send_once(spans)
                return
            except Exception:  # whatever it is: not confirmed
                self.resent += 1
                self._drop_connection()  # a confirm that is still to come would be taken for the next one's
                time.sleep(AGAIN_S)

    def _send_once(self, spans: list[SpanObject]) -> None:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
        self._app.send_task(
            "spans.ingest",
            args=[spans],
            queue=INGEST,
            producer=self._app.amqp.Producer(self._connection),
            retry=False,
            ignore_result=True,
            confirm_timeout=CONFIRM_S,
        )

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.collect()
            self._connection = None
