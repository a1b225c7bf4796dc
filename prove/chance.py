"""Schedules by chance: a policy that chooses the next decision, from one seed."""

from __future__ import annotations

from random import Random

from prove.actors import Task
from prove.decision import Decision, Kind
from prove.world import FLUSH_SIDE, World

EVENTS = (
    (Kind.CRASH,) * 6
    + (Kind.REDELIVER,) * 4
    + (Kind.DROP,) * 2
    + (Kind.CLOCK,) * 4
    + (Kind.REPEAT,) * 2
    + (Kind.REFUSE,) * 2
    + (Kind.FORGET, Kind.EXPIRE, Kind.GRACE, Kind.SHARDS)
)
JUMPS_MS = (11_000, 11_000, 61_000, 61_000, 181_000, 601_000, -30_000, -200_000)
QUIET_MS = 61_000


class Chance:
    """How eventful, and how often somebody else is next, is drawn for each schedule: calm ones find other faults."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.eventful = random.choice((0.0, 0.05, 0.12, 0.25))
        self.restless = random.choice((0.1, 0.4, 1.0))
        self.events_left = random.randint(1, 5) if self.eventful else 0
        self.at_work = ""
        self.given_up = ""

    def next(self, world: World) -> Decision:
        if self.given_up:
            decision, self.given_up = Decision(Kind.DROP, self.given_up), ""
            return decision
        if self.events_left and self.random.random() < self.eventful:
            self.events_left -= 1
            return self._event(world)
        if self.at_work not in world.waiting or self.random.random() < self.restless:
            self.at_work = self.random.choice(list(world.waiting))
            actor = world.waiting[self.at_work]
            if actor.message.task is Task.FLUSH_DUE and actor.waiting_for is None and self.random.random() < 0.7:
                return Decision(Kind.CLOCK, number=QUIET_MS)
        return Decision(Kind.STEP, self.at_work)

    def _event(self, world: World) -> Decision:
        random, kind = self.random, self.random.choice(EVENTS)
        match kind:
            case Kind.CRASH:
                return self._crash(world)
            case Kind.DROP:
                on_their_way = [n for n, a in world.waiting.items() if a.message.task in FLUSH_SIDE and not a.steps]
                return Decision(kind, random.choice(on_their_way or [""]))
            case Kind.REPEAT | Kind.REFUSE:
                return Decision(kind, random.choice([n for n, a in world.waiting.items() if a.steps] or [""]))
            case Kind.REDELIVER:
                late = [name for name, m in world.messages.items() if m.task is Task.CLEANUP]
                return Decision(kind, random.choice(late if late and random.random() < 0.5 else list(world.messages)))
            case Kind.CLOCK:
                return Decision(kind, number=random.choice(JUMPS_MS))
            case Kind.SHARDS:
                return Decision(kind, number=random.choice((1, 2, 3)))
            case _:
                return Decision(kind, number=random.randrange(4))

    def _crash(self, world: World) -> Decision:
        """Of somebody at work; most ingests come again, some never do."""
        at_work = [actor for actor in world.waiting.values() if actor.steps]
        if not at_work:
            return Decision(Kind.CRASH)
        actor = self.random.choice(at_work)
        if actor.message.task is Task.INGEST and self.random.random() < 0.4:
            self.given_up = f"{actor.message.name}#{world.deliveries[actor.message.name] + 1}"
        return Decision(Kind.CRASH, actor.name)
