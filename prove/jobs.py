"""What one worker process does at a time. Each process has its own Redis, started with it and ended with it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from multiprocessing.util import Finalize

from prove import story
from prove.controls import CONTROLS
from prove.exhaustive import CONFIGURATIONS, every_schedule
from prove.ground import own_redis
from prove.shrink import shrink
from prove.trial import Trial, by_chance, replay
from prove.wire import Wire

CONTROL_LIMIT = 3_000
"""Schedules by chance to catch a control."""
TOLD = 3
"""Failing schedules that are shrunk and told, at the most, of one job."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one job."""

    schedules: int
    commands: int
    failed: int = 0
    stories: tuple[str, ...] = ()
    """Some of the failing schedules, as short as they could be made."""


_open = ExitStack()
_wires: list[Wire] = []


def begin() -> None:
    """Once in each process."""
    gc.freeze()
    Finalize(None, _open.close, exitpriority=1)  # a pool's process ends without atexit
    _wires.append(_open.enter_context(own_redis()))


def chance(seed: int, first: int, count: int) -> Done:
    return _judge(f"seed {seed}, number ", ((n, by_chance(_wires[0], seed, n)) for n in range(first, first + count)))


def exhaustive(number: int) -> Done:
    return _judge("exhaustive ", enumerate(every_schedule(_wires[0], CONFIGURATIONS[number])))


def control(number: int, seed: int) -> Done:
    """How many schedules it takes until the fault is caught; none failed means that it was not."""
    n = commands = 0
    with CONTROLS[number].put_in():
        for n, trial in enumerate(attempts(_wires[0], seed), 1):
            commands += trial.commands
            if trial.faults:
                return Done(n, commands, 1, (trial.faults[0],))
    return Done(n, commands)


def attempts(wire: Wire, seed: int) -> Iterator[Trial]:
    """To catch a control: by chance, then in the small cases, for a fault may need two rare events in one place."""
    yield from (by_chance(wire, seed, n) for n in range(CONTROL_LIMIT))
    for small in CONFIGURATIONS:
        yield from every_schedule(wire, small)


def _judge(name: str, trials: Iterator[tuple[int, Trial]]) -> Done:
    schedules = commands = 0
    failed: list[tuple[int, Trial]] = []
    for n, trial in trials:
        schedules += 1
        commands += trial.commands
        if trial.faults:
            failed.append((n, trial))
    stories = tuple(told(_wires[0], f"{name}{n}", trial) for n, trial in islice(failed, TOLD))
    return Done(schedules, commands, len(failed), stories)


def told(wire: Wire, name: str, trial: Trial) -> str:
    """The failing schedule, shrunk, as lines for people."""
    fault = story.kind(trial.faults[0])

    def fails(scenario: object, schedule: object) -> bool:
        return any(story.kind(f) == fault for f in replay(wire, scenario, schedule).faults)  # type: ignore[arg-type]

    small = replay(wire, *shrink(trial.scenario, trial.schedule, fails), trail=True)
    return "\n".join([f"{name}:", *story.lines(small.scenario, small.trail, small.faults)])
