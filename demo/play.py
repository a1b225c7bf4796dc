"""The demo itself: servers, worker, sender and consumer, the kill in the middle, and the wait for the last span.

Sender -> broker -> worker -> buffer -> worker -> broker -> consumer, each a process or thread of its own as in use.
Everything is started here and ends with the block, however that is left; nothing is decided here about spans.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from pydantic import SecretStr

from buffer import Settings, SpanBuffer
from demo.consumer import SegmentConsumer
from demo.ledger import Balance, Ledger, SegmentMessage
from demo.otlp import SpanObject
from demo.recordings import Recorded
from demo.replay import REDELIVERY_S, Pace, Sender, replay
from demo.screen import Screen, State
from embedded.child import scratch_directory
from embedded.stack import Stack
from embedded.worker import WorkerFailed

LOOK_EVERY_S = 0.25
FLUSH_WITHIN_S = 3.0
SPARE_S = 10.0
QUIET_S = 1.0
"""Without a message for so long, and with an empty buffer, nothing more comes."""


class Play:
    """One run of ``batches``; afterwards what it saw."""

    def __init__(self, batches: Sequence[Recorded], pace: Pace, watched: str | None, screen: Screen) -> None:
        self.ledger = Ledger()
        self.published: list[SpanObject] = []
        """The spans of the trace ``watched``, as they were published."""
        self._batches = batches
        self._pace = pace
        self._watched = watched
        self._screen = screen
        self._total = sum(len(batch.spans) for batch in batches)
        self._flushing = threading.Event()
        self._killed = False
        self._worker_ready = True
        self._looked_at = 0.0

    def run(self) -> Balance:
        with (
            self._servers() as self._stack,
            self._stack.buffer.client() as redis,
            closing(Sender(self._stack.broker.url)) as self._sender,
            SegmentConsumer(self._stack.broker.url, self._record) as self._consumer,
        ):
            self._buffer = SpanBuffer(redis, _settings(self._stack))
            self._screen.doing(f"replaying at {self._pace.multiple:.1f} times the recorded speed")
            replay(self._batches, self._pace, self._send, self._tick)
            self._screen.doing("all sent; waiting for the rest")
            return self._wait()

    @contextmanager
    def _servers(self) -> Iterator[Stack]:
        with scratch_directory("span-buffer-demo") as directory:
            self._screen.doing("starting two Redis and a worker")
            # A worker that is killed leaves its temporary directory behind; inside this one it goes along.
            stack = Stack(directory, settings=self._pace.environment())
            try:
                yield stack.start()
                self._screen.doing("stopping")
            finally:
                stack.stop(0.0)  # what it had in hand was scratch

    def _send(self, spans: list[SpanObject]) -> None:
        kill = not self._killed and (self.ledger.sent + len(spans)) * 2 >= self._total
        if kill:
            self._await_flush()
        self.ledger.send(spans)
        self._sender.send(spans)
        if kill:
            self._kill()

    def _await_flush(self) -> None:
        """The worst moment for a kill: a batch just taken, and segments published that are not cleaned up yet."""
        self._flushing.clear()
        self._flushing.wait(FLUSH_WITHIN_S)

    def _kill(self) -> None:
        self._stack.worker.kill()
        self._stack.worker.launch()
        self._killed, self._worker_ready = True, False
        self._screen.say(f"[bold]worker killed[/] with SIGKILL and started again; its tasks return in {REDELIVERY_S} s")

    def _record(self, message: SegmentMessage) -> None:
        """In the consumer's thread."""
        self._flushing.set()
        self.ledger.publish(message)
        if message.trace_id == self._watched:
            self.published.extend(message.spans)

    def _wait(self) -> Balance:
        """Until the buffer is empty and every span has come out, or nothing has moved for too long: to call spans
        lost that are on their way would be worse than to wait."""
        patience_s = REDELIVERY_S + self._pace.timeout_s + SPARE_S
        moved_at, before = time.monotonic(), None
        while True:
            state = self._look()
            if state != before:
                moved_at, before = time.monotonic(), state
            if self._all_out(state) or time.monotonic() - moved_at > patience_s:
                return state.balance
            time.sleep(LOOK_EVERY_S)

    def _all_out(self, state: State) -> bool:
        return not state.balance.lost and not state.buffered and self._consumer.quiet_s > QUIET_S

    def _tick(self) -> None:
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._look()

    def _look(self) -> State:
        """Everything that could have gone wrong meanwhile, and then the figures."""
        self._looked_at = time.monotonic()
        self._consumer.check()
        self._check_worker()
        state = State(self.ledger.balance(self._buffer.outcomes()), self._total, self._buffer.depth())
        self._screen.show(state)
        return state

    def _check_worker(self) -> None:
        worker = self._stack.worker
        if not worker.running():
            last = "\n".join(worker.log.read_text(errors="replace").splitlines()[-15:])
            raise WorkerFailed(f"The worker ended by itself. Its log ends:\n{last}")
        if not self._worker_ready and worker.ready():
            self._worker_ready = True
            self._screen.say("worker takes tasks again")


def _settings(stack: Stack) -> Settings:
    return Settings(redis_url=SecretStr(stack.buffer.url), broker_url=SecretStr(stack.broker.url))
