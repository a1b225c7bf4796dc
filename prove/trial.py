"""One trial: a scenario and a schedule, made up on the way or given, run to the end and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from buffer.errors import SpanBufferError
from prove import checks
from prove.chance import Chance
from prove.decision import Schedule
from prove.events import apply
from prove.ground import no_lots
from prove.scenario import Scenario, random_scenario
from prove.wire import Wire
from prove.world import NotDrained, World


@dataclass(frozen=True, slots=True)
class Trial:
    scenario: Scenario
    schedule: Schedule
    faults: list[str]
    trail: list[str]
    commands: int


def by_chance(wire: Wire, seed: int, number: int) -> Trial:
    random = Random(f"{seed} {number}")
    scenario = random_scenario(random)
    chance = Chance(random)
    world = World(wire, scenario)
    schedule: Schedule = []
    before = wire.commands

    def decide() -> None:
        while world.waiting:
            decision = chance.next(world)
            schedule.append(decision)
            if not apply(world, decision):
                schedule.pop()

    faults = judged(world, decide)
    return Trial(scenario, schedule, faults, [], wire.commands - before)


def replay(wire: Wire, scenario: Scenario, schedule: Schedule, *, trail: bool = False) -> Trial:
    world = World(wire, scenario)
    if trail:
        world.trail = []
    before = wire.commands
    done: Schedule = []

    def decide() -> None:
        done.extend(decision for decision in schedule if apply(world, decision))
        world.finish()

    faults = judged(world, decide)
    return Trial(scenario, done, faults, world.trail or [], wire.commands - before)


def judged(world: World, decide: Callable[[], None]) -> list[str]:
    """The faults after these decisions, the most telling first. An error that leaves the library is one."""
    try:
        with no_lots():
            decide()
            return judge(world)
    except (SpanBufferError, TypeError, ValueError, LookupError, NotDrained) as error:
        return [f"{type(error).__name__}: {error}"]


def judge(world: World) -> list[str]:
    faults = list(checks.at_rest(world))
    world.drain()
    return faults + list(checks.when_drained(world))
