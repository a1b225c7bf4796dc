"""One schedule at work: the clock, the messages on their way, the tasks that run, and what has come out.

`apply` does one decision; `finish` lets everybody go on to the end; `drain` flushes until nothing is due. What was
sent, acknowledged, published and expired is written down here; `checks.py` judges it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import cast

from greenlet import getcurrent  # type: ignore[import-untyped]

from buffer import Segment, Span, SpanBuffer, scripts
from buffer.model import Appended, Outcomes
from buffer.scripts import Client
from prove.actors import Actor, Message, Task
from prove.client import How, StepClient
from prove.decision import Kind
from prove.scenario import Scenario
from prove.story import told
from prove.wire import Wire

START_MS = 1_700_000_000_000
SCRIPT_NAMES = ("APPEND", "CLAIM", "LOAD", "CLEANUP_SEGMENT", "CLEANUP_QUEUE", "REQUEUE", "ENQUEUE")
LONG_MS = 400_000
"""Longer than any lease and deadline, shorter than the late grace."""
MAX_ROUNDS = 60
FLUSH_SIDE = (Task.PRODUCE, Task.CLEANUP)


class NotDrained(Exception):
    """Something is due again and again."""


@dataclass(frozen=True, slots=True)
class Published:
    segment: Segment
    messages: tuple[bytes, ...]


class World:
    def __init__(self, wire: Wire, scenario: Scenario) -> None:
        self.scenario = scenario
        self.wire = wire
        self.client = StepClient(wire, getcurrent())
        self.now_ms = START_MS
        self.latest_ms = self.earliest_ms = START_MS
        self.use_shards(scenario.shards)
        self.messages: dict[str, Message] = {}
        self.deliveries: Counter[str] = Counter()
        self.actors: dict[str, Actor] = {}
        self.waiting: dict[str, Actor] = {}
        """Actors that have not ended, the started and the others."""
        self.acknowledgements: Counter[str] = Counter()
        self.publications: list[Published] = []
        self.outcomes: Outcomes = Counter()
        self.expired: set[Span] = set()
        self.happened: Counter[Kind] = Counter()
        self.may_repeat = max(scenario.ahead_ms) > self.settings.lease_ms
        """A flush was interrupted, or its lease may have ended: a flush record may come out more than once."""
        self.abandoned = False
        """An ingest crashed and never came again: nothing is promised for its batch, but all else stands."""
        self.trail: list[str] | None = None
        wire.call(("FLUSHDB",))
        wire.know_scripts(getattr(scripts, name).source for name in SCRIPT_NAMES)
        for i, batch in enumerate(scenario.batches):
            self.send(Message(f"ingest{i}", Task.INGEST, batch=batch))
        for i in range(scenario.flushes):
            self.send(Message(f"flush{i}", Task.FLUSH_DUE, ahead_ms=scenario.ahead_ms[i % len(scenario.ahead_ms)]))
        for i in range(scenario.sweeps):
            self.send(Message(f"sweep{i}", Task.SWEEP))

    def use_shards(self, shards: int) -> None:
        self.buffer = SpanBuffer(cast("Client", self.client), self.scenario.settings(shards))
        self.settings = self.buffer.settings

    # What the tasks tell

    def send(self, message: Message) -> None:
        self.messages[message.name] = message
        self.deliver(message)

    def acknowledged(self, message: Message, appended: Appended) -> None:
        self.acknowledgements[message.name] += 1
        self.outcomes.update(appended.outcomes)

    @property
    def promised(self) -> set[Span]:
        """The spans of acknowledged batches."""
        return {span for name in self.acknowledgements for span in self.messages[name].batch}

    @property
    def out(self) -> set[Span]:
        """The spans that were published."""
        return {span for p in self.publications for span in p.segment.spans}

    def published(self, segment: Segment) -> None:
        self.publications.append(Published(segment, tuple(segment.messages())))

    # What the scheduler does

    def deliver(self, message: Message) -> None:
        self.deliveries[message.name] += 1
        number = self.deliveries[message.name]
        name = message.name if number == 1 else f"{message.name}#{number}"
        self.actors[name] = self.waiting[name] = Actor(name, message, self)

    def step(self, actor: Actor, how: How) -> None:
        if self.trail is not None:
            actor.start()
            self.say(f"{actor.name}: {told(actor.waiting_for)}{'' if how is How.RUN else ' ' + how.value}")
        actor.step(how)
        if actor.ended:
            del self.waiting[actor.name]

    # To the end

    def finish(self) -> None:
        while self.waiting:
            self.step(self.waiting[min(self.waiting)], How.RUN)

    def drain(self) -> None:
        self.now_ms = self.latest_ms + max(self.scenario.ahead_ms)
        for _ in range(MAX_ROUNDS):
            self.now_ms = self.latest_ms = self.now_ms + LONG_MS
            claims = self.buffer.claim(now_ms=self.now_ms)
            if not claims:
                return
            loaded = self.buffer.load(claims)
            self.outcomes.update(loaded.outcomes)
            for segment in loaded:
                self.say(f"drain publishes {segment.flush_id[:6]}")
                self.published(segment)
            cleaned = self.buffer.cleanup([segment.receipt for segment in loaded], now_ms=self.now_ms)
            self.outcomes.update(cleaned.outcomes)
        raise NotDrained(f"still claiming after {MAX_ROUNDS} rounds")

    # For people

    def say(self, line: str) -> None:
        if self.trail is not None:
            self.trail.append(line)
