"""Who takes the segments: the last station of a demo span.

Acknowledges a message only after it was recorded, so what a consumer that dies had in hand comes again. Runs in a
thread of its own; what goes wrong there is raised where the demo waits (``check``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.message import Message
from kombu.messaging import Consumer

from demo.ledger import SegmentMessage

SEGMENTS = Exchange("segments", type="direct", durable=True)
BUFFERED_SEGMENTS = Queue("buffered-segments", SEGMENTS, routing_key="buffered-segments", durable=True)
POLL_S = 0.2


class SegmentConsumer:
    def __init__(self, broker_url: str, record: Callable[[SegmentMessage], None]) -> None:
        self._broker_url = broker_url
        self._record = record
        self._decoder = msgspec.json.Decoder(SegmentMessage)
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._last_message = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    @property
    def quiet_s(self) -> float:
        """Since the last message."""
        return time.monotonic() - self._last_message

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
        self._thread.join(5)

    def _run(self) -> None:
        try:
            with (
                Connection(self._broker_url) as connection,
                Consumer(connection, [BUFFERED_SEGMENTS], on_message=self._take, prefetch_count=100),
            ):
                while not self._stop.is_set():
                    self._drain(connection)
        except Exception as error:  # raised again where somebody waits for segments
            self._error = error

    def _drain(self, connection: Connection) -> None:
        try:
            connection.drain_events(timeout=POLL_S)
        except TimeoutError:
            return

    def _take(self, message: Message) -> None:
        self._record(self._decoder.decode(message.body))
        self._last_message = time.monotonic()
        message.ack()
