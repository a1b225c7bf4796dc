"""What goes wrong around the workers: brokers, the buffer's Redis, the consumer and the clocks, one after another.

In a thread of its own. Each event ends with everything as it was, so the next one, and the end, find a whole house.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Self

import redis

from chaos.brokers import Server
from chaos.downstream import Downstream
from chaos.fleet import Fleet
from embedded.redis import RedisServer

AWAY_S = (0.2, 2.0)
FROZEN_S = (1.0, 5.0)
"""Beyond the time that a publish waits for its confirm, too."""
STALLED_S = 20.0
"""At the most, until the queue is full."""
WRONG_S = (3.0, 6.0)
CLOCK_JUMPS_MS = (-15_000, -3_000, 3_000, 15_000)
"""Beyond a lease either way."""


class Weather:
    def __init__(
        self,
        broker: Server,
        buffer: RedisServer,
        fleet: Fleet,
        downstream: Downstream,
        *,
        full: int,
        gap_s: float,
        chance: Random,
        say: Callable[[str], None],
    ) -> None:
        """``full``: messages in the queue beyond which nothing is flushed."""
        self.events: Counter[str] = Counter()
        self.fullest = 0
        """Messages that waited for the consumer, at the most."""
        self._broker = broker
        self._buffer = buffer
        self._fleet = fleet
        self._downstream = downstream
        self._full = full
        self._gap_s = gap_s
        self._chance = chance
        self._say = say
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="weather", daemon=True)

    @property
    def _all(self) -> dict[str, Callable[[], None]]:
        return {
            "broker stopped and started": self._broker_stopped,
            "broker killed and started": self._broker_killed,
            "broker frozen": self._broker_frozen,
            "buffer killed and started": self._buffer_killed,
            "buffer frozen": self._buffer_frozen,
            "scripts flushed": self._scripts_flushed,
            "consumer stalled": self._consumer_stalled,
            "clocks jumped": self._clocks_jumped,
        }

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
        if kind is not None:  # what is being started is not wanted any more
            self._broker.kill()
            self._buffer.kill()
        self._thread.join()

    def calm(self) -> None:
        """No more events. Returns when the last one is over."""
        self._stop.set()
        self._thread.join()
        self.check()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                events = list(self._all.items())
                self._chance.shuffle(events)
                for name, event in events:
                    if self._pause(0.5 * self._gap_s, 1.5 * self._gap_s):
                        return
                    self._say(name)
                    event()
                    self.events[name] += 1
        except Exception as error:  # raised again where the run is watched
            self._error = error

    def _pause(self, least_s: float, most_s: float) -> bool:
        """True when it is over; then what was begun is still ended."""
        return self._stop.wait(self._chance.uniform(least_s, most_s))

    def _broker_stopped(self) -> None:
        self._broker.stop()
        self._pause(*AWAY_S)
        self._broker.start()

    def _broker_killed(self) -> None:
        self._broker.kill()
        self._pause(*AWAY_S)
        self._broker.start()

    def _broker_frozen(self) -> None:
        self._broker.freeze()
        self._pause(*FROZEN_S)
        self._broker.thaw()

    def _buffer_killed(self) -> None:
        """It comes back with what its append-only file has: everything that it ever confirmed."""
        self._buffer.kill()
        self._pause(*AWAY_S)
        self._buffer.start()

    def _buffer_frozen(self) -> None:
        self._buffer.freeze()
        self._pause(*FROZEN_S)
        self._buffer.thaw()

    def _scripts_flushed(self) -> None:
        for _ in range(5):
            with redis.Redis(port=self._buffer.port, socket_timeout=10) as client:
                client.script_flush()
            if self._pause(0.1, 0.5):
                return

    def _consumer_stalled(self) -> None:
        """Until the queue is full, and a moment longer."""
        self._downstream.stall()
        until = time.monotonic() + STALLED_S
        while (waiting := self._downstream.waiting()) < self._full and time.monotonic() < until:
            if self._pause(0.3, 0.3):
                break
        self._pause(1.0, 2.0)
        self.fullest = max(self.fullest, waiting)
        self._downstream.go_on()

    def _clocks_jumped(self) -> None:
        self._fleet.set_clock(self._chance.choice(CLOCK_JUMPS_MS))
        self._pause(*WRONG_S)
        self._fleet.clocks_right()
