"""Every schedule of a small scenario, up to the order of steps that do not touch the same keys.

Depth first, each schedule from its beginning. Sleep sets (Godefroid) leave out orders that differ from one already
tried only by swapping independent neighbours: a step in the trace's slot and one in the shard's, say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from prove.decision import Decision, Kind, Schedule
from prove.events import apply
from prove.scenario import DUE, PAYLOAD_BYTES, TAKEN_OVER, Scenario, span
from prove.trial import Trial, judged
from prove.wire import Wire
from prove.world import FLUSH_SIDE, World

NOWHERE = b""
HARMLESS = ("PEXPIRE", "EXISTS", "SCRIPT")
"""Others do not see whether these came before or after."""


@dataclass(frozen=True, slots=True)
class Small:
    """A scenario small enough, and what may go wrong in it, at most once a schedule."""

    name: str
    scenario: Scenario
    events: tuple[Kind, ...] = ()


class Touch(NamedTuple):
    """What a decision has to do with: two that have nothing in common may change places."""

    owner: str
    slot: bytes
    event: bool

    def independent(self, other: Touch) -> bool:
        if self.owner == other.owner or (self.event and other.event):
            return False
        return self.slot != other.slot or self.slot == NOWHERE


class NotApplicable(Exception):
    """The search offered a decision that the world refused: a fault of the explorer."""


class _SeenBefore(Exception):
    """Every end from here on differs from an earlier one only in the order of independent steps."""


@dataclass(slots=True)
class _Node:
    """One point of the search."""

    todo: list[Decision]
    asleep: dict[Decision, Touch]
    """Tried at an earlier point, and independent of everything since: need not be tried here."""
    tried: dict[Decision, Touch] = field(default_factory=dict)


def every_schedule(wire: Wire, small: Small) -> Iterator[Trial]:
    path: list[_Node] = []
    while True:
        if trial := _descend(wire, small, path):
            yield trial
        while path and not path[-1].todo:
            path.pop()
        if not path:
            return


def _descend(wire: Wire, small: Small, path: list[_Node]) -> Trial | None:
    world = World(wire, small.scenario)
    schedule: Schedule = []
    before = wire.commands
    try:
        faults = judged(world, lambda: _go(world, small, path, schedule))
    except _SeenBefore:
        return None
    return Trial(small.scenario, schedule, faults, [], wire.commands - before)


def _go(world: World, small: Small, path: list[_Node], schedule: Schedule) -> None:
    """Repeats the path, takes the next choice at its last node, and goes on down to an end."""
    asleep: dict[Decision, Touch] = {}
    while world.waiting:
        for actor in world.waiting.values():
            actor.start()  # so that the next step of each is known
        if len(schedule) == len(path):
            path.append(_node(world, small, asleep))
        node = path[len(schedule)]
        if node is path[-1]:
            if not node.todo:
                raise _SeenBefore
            decision = node.todo.pop(0)
            touch = touched(world, decision)
            asleep = {d: t for d, t in {**node.asleep, **node.tried}.items() if t.independent(touch)}
            node.tried[decision] = touch
        else:
            decision = next(reversed(node.tried))
        if not apply(world, decision):
            raise NotApplicable(decision)
        schedule.append(decision)


def _node(world: World, small: Small, asleep: dict[Decision, Touch]) -> _Node:
    steps = [Decision(Kind.STEP, name) for name in world.waiting]
    over = any(world.happened[kind] for kind in small.events)
    events = [] if over else [event for kind in small.events for event in _events(world, kind)]
    for step in steps:
        touch = touched(world, step)
        if touch.slot == NOWHERE and all(touched(world, event).owner != touch.owner for event in events):
            # It changes places with all that others can do, so it may as well be next.
            return _Node([] if step in asleep else [step], asleep)
    return _Node([d for d in [*steps, *events] if d not in asleep], asleep)


def _events(world: World, kind: Kind) -> Iterator[Decision]:
    at_work = world.waiting.items()
    match kind:
        case Kind.REDELIVER:
            targets = [name for name in world.messages if name not in world.waiting]
        case Kind.CRASH:
            targets = [name for name, actor in at_work if actor.steps]
        case Kind.DROP:
            targets = [name for name, actor in at_work if actor.message.task in FLUSH_SIDE and not actor.steps]
        case _:
            targets = [name for name, actor in at_work if isinstance(actor.waiting_for, tuple)]
    return (Decision(kind, target) for target in targets)


def touched(world: World, decision: Decision) -> Touch:
    owner, runs = decision.target.split("#")[0], decision.kind in (Kind.STEP, Kind.REPEAT, Kind.REFUSE)
    where = slot(world.waiting[decision.target].waiting_for) if runs else NOWHERE
    return Touch(owner, where, decision.kind is not Kind.STEP)


def slot(step: object) -> bytes:
    """The hash tag of the key that a step reads or writes."""
    if not isinstance(step, tuple) or step[0] in HARMLESS:
        return NOWHERE
    keys = step[3 : 3 + step[2]] if step[0] == "EVALSHA" else step[1:2]
    [tag] = {re.findall(rb"{.*?}", key)[0] for key in keys}  # a small case has one trace and one shard
    assert isinstance(tag, bytes)
    return tag


A, B, C = span("a"), span("b", "a"), span("c", "b")
CONFIGURATIONS = (
    Small("child, root; one flush", Scenario(((B,), (A,)), ahead_ms=DUE)),
    Small("grandchild, child, root; one flush", Scenario(((C,), (B,), (A,)), ahead_ms=DUE)),
    Small("child, root; two flushes", Scenario(((B,), (A,)), flushes=2, ahead_ms=DUE)),
    Small("child, root; one flush; one crash", Scenario(((B,), (A,)), ahead_ms=DUE), (Kind.CRASH,)),
    Small(
        "two children; a flush that takes over another's; one message lost",
        Scenario(((B,), (span("c", "a"),)), flushes=2, ahead_ms=TAKEN_OVER),
        (Kind.DROP,),
    ),
    Small("child, root; one flush; one message twice", Scenario(((B,), (A,)), ahead_ms=DUE), (Kind.REDELIVER,)),
    Small(
        "two children that overflow; one flush; one crash",
        Scenario(((B,), (span("c", "a"),)), ahead_ms=DUE, chunk=2, max_segment_bytes=PAYLOAD_BYTES),
        (Kind.CRASH,),
    ),
    Small("child; one flush; one step refused", Scenario(((B,),), ahead_ms=DUE), (Kind.REFUSE,)),
    Small("child; one flush; one step done twice", Scenario(((B,),), ahead_ms=DUE), (Kind.REPEAT,)),
)
