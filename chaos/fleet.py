"""The processes that are killed: workers with their children, and beats. Whoever ended is started again at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random

from chaos.files import CLOCK
from chaos.plan import Victim
from embedded.worker import Beat, Worker, WorkerFailed

WORKERS, BEATS, CHILDREN = 2, 2, 2
READY_S = 90.0


class Fleet:
    def __init__(self, directory: Path, environment: Mapping[str, str], chance: Random) -> None:
        self.workers = [
            Worker(directory / f"worker-{n}", environment, children=CHILDREN, include="chaos.steps", beat=False)
            for n in range(WORKERS)
        ]
        self.beats = [Beat(directory / f"beat-{n}", environment) for n in range(BEATS)]
        self._processes: list[Worker | Beat] = [*self.workers, *self.beats]
        self.killed: Counter[Victim] = Counter()
        """At random."""
        self._chance = chance

    def start(self) -> None:
        """Returns when all workers take tasks."""
        self.tend()
        until = time.monotonic() + READY_S
        while not all(worker.ready() for worker in self.workers):
            if time.monotonic() > until or not all(worker.running() for worker in self.workers):
                raise WorkerFailed("\n".join(["A worker did not get ready. Its log ends:", *self._last_said()]))
            time.sleep(0.1)

    def _last_said(self) -> list[str]:
        silent = next(worker for worker in self.workers if not (worker.running() and worker.ready()))
        return silent.said().decode(errors="replace").splitlines()[-15:]

    def tend(self) -> None:
        """Starts again whoever ended."""
        for process in self._processes:
            if not process.running():
                process.launch()

    def kill_one(self, victim: Victim) -> bool:
        """One of them, if there is one that works."""
        working = [worker for worker in self.workers if worker.running() and worker.ready()]
        beats = [beat for beat in self.beats if beat.running()]
        if not (beats if victim is Victim.BEAT else working):
            return False
        match victim:
            case Victim.WORKER:
                self._chance.choice(working).kill()
            case Victim.BEAT:
                self._chance.choice(beats).kill()
            case Victim.CHILD:
                children = _children(self._chance.choice(working).pid)
                try:
                    os.kill(self._chance.choice(children), signal.SIGKILL)
                except (IndexError, ProcessLookupError):
                    return False
        self.killed[victim] += 1
        return True

    def set_clock(self, wrong_by_ms: int) -> None:
        """Of one worker or of all."""
        for worker in self._chance.choice(([self._chance.choice(self.workers)], self.workers)):
            (worker.directory / CLOCK).write_text(f"{wrong_by_ms}")

    def clocks_right(self) -> None:
        for worker in self.workers:
            (worker.directory / CLOCK).unlink(missing_ok=True)

    def kill(self) -> None:
        for process in self._processes:
            process.kill()


def _children(parent: int | None) -> list[int]:
    """Of a worker's main process; ps knows on every POSIX system."""
    told = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid="], text=True)
    pairs = (line.split() for line in told.splitlines())
    return [int(pid) for pid, of in pairs if int(of) == parent]
