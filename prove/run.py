"""The whole proof: the small scenarios exhaustively, the controls, and chance for the rest of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import inf
from multiprocessing import active_children, get_context
from sys import maxsize

from prove import jobs
from prove.controls import CONTROLS
from prove.exhaustive import CONFIGURATIONS
from prove.ground import own_redis
from prove.jobs import Done
from prove.report import CHANCE, Report
from prove.story import lines
from prove.trial import by_chance, replay

CHUNK = 200


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    seconds: float | None
    schedules: int | None
    """By chance; one of the two is given."""
    processes: int

    def chunks(self) -> Iterator[tuple[int, int]]:
        """First number and count, until the time is up or the schedules are all there."""
        until = time.monotonic() + (self.seconds or inf)
        for first in range(0, self.schedules or maxsize, CHUNK):
            if time.monotonic() > until:
                return
            yield first, min(CHUNK, (self.schedules or maxsize) - first)


def run(plan: Plan, report: Report) -> int:
    """0 when nothing was lost and every control was caught."""
    waiting: dict[Future[Done], Callable[[Done], None]] = {}
    with report, _processes(plan.processes) as pool:
        for number, small in enumerate(CONFIGURATIONS):
            waiting[pool.submit(jobs.exhaustive, number)] = report.tried(small.name)
        for number, control in enumerate(CONTROLS):
            waiting[pool.submit(jobs.control, number, plan.seed)] = report.caught(control.name)
        chunks = plan.chunks()
        while waiting:
            for first, size in islice(chunks, max(0, 2 * plan.processes - len(waiting))):
                waiting[pool.submit(jobs.chance, plan.seed, first, size)] = report.tried(CHANCE)
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                waiting.pop(future)(future.result())
    return report.conclude()


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Left in a hurry, they are ended where they are; their guards see to the servers and directories."""
    with ProcessPoolExecutor(count, get_context("spawn"), jobs.begin) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise


def replay_seed(seed: int, number: int) -> int:
    """Every step of one schedule, as it was made up."""
    with own_redis() as wire:
        made = by_chance(wire, seed, number)
        trial = replay(wire, made.scenario, made.schedule, trail=True)
    print("\n".join(lines(trial.scenario, trial.trail, trial.faults or ["no fault"])))
    return bool(trial.faults)
