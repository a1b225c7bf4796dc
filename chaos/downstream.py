"""Who takes the segments, in good times and bad: reconnects, and can stall.

Acknowledges a message only after it was booked. On Redis it takes messages as the workers do, atomically: with kombu's
own transport the *consumer* would lose those that a dying broker had just handed out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError
from kombu.message import Message
from kombu.messaging import Consumer

# Declared by the workers, who know of what type it is.
SEGMENTS = Queue(
    "buffered-segments", Exchange("segments", no_declare=True), routing_key="buffered-segments", no_declare=True
)
POLL_S = 0.2
AGAIN_S = 0.5
PREFETCH = 50


class Downstream:
    def __init__(self, broker_url: str, transport_options: Mapping[str, object], book: Callable[[bytes], None]) -> None:
        self._broker_url = broker_url
        self._options = dict(transport_options)
        self._book = book
        self._stop = threading.Event()
        self._stalled = threading.Event()
        self._error: Exception | None = None
        self._last_message = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="downstream", daemon=True)

    @property
    def quiet_s(self) -> float:
        """Since the last message."""
        return time.monotonic() - self._last_message

    def check(self) -> None:
        if self._error:
            raise self._error

    def stall(self) -> None:
        """Takes nothing more, and keeps what it has in hand."""
        self._stalled.set()

    def go_on(self) -> None:
        self._stalled.clear()

    def waiting(self) -> int:
        """Messages in the queue that nobody has in hand."""
        with Connection(self._broker_url, transport_options=self._options, connect_timeout=5) as connection:
            with suppress(*connection.channel_errors):  # on Redis an empty queue does not exist
                return int(connection.default_channel.queue_declare(SEGMENTS.name, passive=True).message_count)
            return 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.is_set():
            connection = Connection(self._broker_url, transport_options=self._options, connect_timeout=5)
            away = (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)
            try:
                self._consume(connection)
            except away:
                self._stop.wait(AGAIN_S)
            except Exception as error:  # raised again where the run is watched
                self._error = error
                return
            finally:
                with suppress(Exception):
                    connection.collect()

    def _consume(self, connection: Connection) -> None:
        with Consumer(connection, [SEGMENTS], on_message=self._take, prefetch_count=PREFETCH):
            while not self._stop.is_set():
                if self._stalled.is_set():
                    self._stop.wait(POLL_S)
                    continue
                with suppress(TimeoutError):
                    connection.drain_events(timeout=POLL_S)

    def _take(self, message: Message) -> None:
        body = message.body
        self._book(body if isinstance(body, bytes) else str(body).encode())
        self._last_message = time.monotonic()
        message.ack()
