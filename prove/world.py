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
from buffer.codec import unpack
from buffer.errors import BufferUnavailable
from buffer.model import Appended, Digest, Outcomes
from buffer.scripts import Client
from prove.actors import Actor, Message, Task
from prove.client import How, StepClient
from prove.decision import Decision, Kind
from prove.scenario import Scenario
from prove.story import told
from prove.wire import Wire

START_MS = 1_700_000_000_000
SCRIPT_NAMES = ("APPEND", "CLAIM", "LOAD", "CLEANUP_SEGMENT", "CLEANUP_QUEUE", "REQUEUE")
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
        self.earliest_ms = START_MS
        self.latest_ms = START_MS + max(scenario.ahead_ms)
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
        self._deliver(message)

    def acknowledged(self, message: Message, appended: Appended) -> None:
        self.acknowledgements[message.name] += 1
        self.outcomes.update(appended.outcomes)

    @property
    def promised(self) -> set[Span]:
        """The spans of acknowledged batches."""
        return {span for name in self.acknowledgements for span in self.messages[name].batch}

    def published(self, segment: Segment) -> None:
        self.publications.append(Published(segment, tuple(segment.messages())))

    # What the scheduler decides

    def apply(self, decision: Decision) -> bool:
        """False when the decision does not apply now."""
        done = HANDLERS[decision.kind](self, decision)
        if done:
            self.happened[decision.kind] += 1
        return done

    def _step(self, decision: Decision) -> bool:
        actor = self.waiting.get(decision.target)
        if actor is None:
            return False
        actor.start()
        how = {Kind.REPEAT: How.REPEAT, Kind.REFUSE: How.REFUSED}.get(decision.kind, How.RUN)
        if how is not How.RUN and not isinstance(actor.waiting_for, tuple):
            return False
        self.note(actor.name, how)
        actor.step(how)
        if actor.ended:
            del self.waiting[actor.name]
        return True

    def _crash(self, decision: Decision) -> bool:
        actor = self.waiting.get(decision.target)
        if actor is None or not actor.steps:
            return False
        self.say(f"{actor.name} crashes before: {self.describe(actor.waiting_for)}")
        actor.crash()
        del self.waiting[actor.name]
        self.may_repeat |= actor.message.task in FLUSH_SIDE
        if actor.message.task is Task.INGEST:
            self._deliver(actor.message)
        return True

    def _redeliver(self, decision: Decision) -> bool:
        message = self.messages.get(decision.target)
        if message is None or (message.name in self.waiting and not self.waiting[message.name].steps):
            return False
        self.may_repeat |= message.task in FLUSH_SIDE
        self._deliver(message)
        self.say(f"{message.name} is delivered again")
        return True

    def _drop(self, decision: Decision) -> bool:
        actor = self.waiting.get(decision.target)
        if actor is None or actor.steps or actor.message.task not in (*FLUSH_SIDE, Task.INGEST):
            return False
        if actor.message.task is Task.INGEST:
            if self.deliveries[actor.message.name] == 1:
                return False
            self.abandoned |= not self.acknowledgements[actor.message.name]
        self.may_repeat |= actor.message.task is Task.CLEANUP
        del self.waiting[actor.name]
        self.say(f"{actor.name} never arrives")
        return True

    def _clock(self, decision: Decision) -> bool:
        self.now_ms += decision.number
        self.latest_ms, self.earliest_ms = max(self.latest_ms, self.now_ms), min(self.earliest_ms, self.now_ms)
        if self.latest_ms - self.earliest_ms >= self.settings.lease_ms:
            self.may_repeat = True
        self.say(f"the clock moves by {decision.number / 1000:+g} s")
        return True

    def _forget(self, decision: Decision) -> bool:
        self.wire.forget_scripts()
        self.say("SCRIPT FLUSH")
        return True

    def _expire(self, decision: Decision) -> bool:
        segments = sorted(self.wire.call(("KEYS", b"p:s:*")))
        if not segments or self.abandoned or self._ingest_half_done():
            return False
        key = segments[decision.number % len(segments)]
        trace, _ = self.buffer.keys.parse_segment(key)
        content = self.wire.calls((("HGETALL", key), ("DEL", key)))[0]
        for field, value in zip(content[::2], content[1::2], strict=True):
            if len(field) == 16:
                self.expired.update(unpack(trace, Digest(field), value))
        self.may_repeat = True
        self.say(f"the TTL of {self.describe((key,))} runs out")
        return True

    def _ingest_half_done(self) -> bool:
        """An ingest is over, or given up, long before a TTL."""
        at_work = (actor.message for actor in self.waiting.values() if actor.message.task is Task.INGEST)
        return any(self.deliveries[m.name] > 1 or self.actors[m.name].steps for m in at_work)

    def _grace(self, decision: Decision) -> bool:
        indexes = sorted(self.wire.call(("KEYS", b"p:l:*")))
        over = [key for key in indexes if self.wire.call(("PTTL", key)) <= self.settings.late_grace_ms]
        if not over:
            return False
        self.wire.call(("DEL", over[decision.number % len(over)]))
        self.say("the late grace of a trace runs out")
        return True

    def _shards(self, decision: Decision) -> bool:
        self.use_shards(decision.number)
        self.may_repeat = True
        self.say(f"from here on there are {decision.number} shards")
        return True

    def _deliver(self, message: Message) -> None:
        self.deliveries[message.name] += 1
        number = self.deliveries[message.name]
        name = message.name if number == 1 else f"{message.name}#{number}"
        self.actors[name] = self.waiting[name] = Actor(name, message, self)

    # To the end

    def finish(self) -> None:
        while self.waiting:
            self._step(Decision(Kind.STEP, min(self.waiting)))

    def drain(self) -> None:
        for _ in range(MAX_ROUNDS):
            self.now_ms = self.latest_ms = max(self.latest_ms, self.now_ms) + 400_000
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

    def note(self, name: str, how: How) -> None:
        if self.trail is not None:
            actor = self.actors[name]
            self.say(f"{name}: {self.describe(actor.waiting_for)}{'' if how is How.RUN else ' ' + how.value}")

    def describe(self, step: object) -> str:
        return told(step)


HANDLERS = {
    Kind.STEP: World._step,
    Kind.REPEAT: World._step,
    Kind.REFUSE: World._step,
    Kind.CRASH: World._crash,
    Kind.REDELIVER: World._redeliver,
    Kind.DROP: World._drop,
    Kind.CLOCK: World._clock,
    Kind.FORGET: World._forget,
    Kind.EXPIRE: World._expire,
    Kind.GRACE: World._grace,
    Kind.SHARDS: World._shards,
}

__all__ = ["BufferUnavailable", "NotDrained", "Published", "World"]
