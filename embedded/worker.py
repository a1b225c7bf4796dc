"""One Celery worker as the processes of one group, with beat inside or apart.

On a span's way it runs every task. It may be killed at any instant: what it had not acknowledged comes back.
Beat keeps no schedule file: every entry is a matter of seconds, and a file cut short by SIGKILL is refused.
"""

import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from embedded.child import Child

_ROOT = Path(__file__).parents[1]  # the tasks are importable from here, installed or not
_START_S = 60.0
_CELERY = [sys.executable, "-m", "celery", "-A", "tasks"]


class WorkerFailed(RuntimeError):
    """A worker did not become ready; carries the end of its log."""


class Worker:
    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        *,
        children: int = 2,
        include: str = "embedded.quiet",
        beat: bool = True,
        queues: Sequence[str] = (),
    ) -> None:
        """`include`: a module that the worker loads beside the tasks. `beat`: inside it, or elsewhere (`Beat`).
        `queues`: those that it takes from, all by default."""
        self.directory = directory
        self._environment = dict(environment)
        self._options = [f"--concurrency={children}", f"--include={include}"]
        if beat:
            self._options.append("--beat")
        if queues:
            self._options += ["--queues", ",".join(queues)]
        self._child: Child | None = None
        self._log_start = 0

    @property
    def log(self) -> Path:
        return self.directory / "worker.log"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def running(self) -> bool:
        return self._child is not None and self._child.exit_status is None

    def start(self) -> Self:
        """Returns when it takes tasks."""
        self.launch()
        until = time.monotonic() + _START_S
        while not self.ready():
            if not self.running() or time.monotonic() > until:
                last = "\n".join(self.said().decode(errors="replace").splitlines()[-15:])
                self.kill()
                raise WorkerFailed(f"The worker did not get ready. Its log, {self.log}, ends:\n{last}")
            time.sleep(0.02)
        return self

    def launch(self) -> None:
        """Starts it and does not wait."""
        self.kill()  # what is left of one that ended by itself
        self.directory.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._child = Child(
            self._argv(), log=self.log, cwd=self.directory, env=_environment(self.directory, self._environment)
        )

    def ready(self) -> bool:
        return b" ready." in self.said()

    def kill(self) -> None:
        """SIGKILL to the whole group: the worker, its children and beat."""
        if self._child:
            self._child.kill()
            self._child = None

    def stop(self, grace_s: float) -> bool:
        """Takes no more tasks and ends when those in hand are done. False: the grace was too short, so it was
        killed; its tasks run again after the next start."""
        in_time = self._child is None or self._child.stop(grace_s)
        self._child = None
        return in_time

    def _argv(self) -> list[str]:
        # A name of its own for every start: a successor must not be taken for the one that was killed.
        name = f"spans-{secrets.token_hex(4)}@%h"
        said = ["--loglevel=INFO", "--without-gossip", "--without-mingle", "-n", name]
        return [*_CELERY, "worker", *said, *self._options]

    def said(self) -> bytes:
        """Since its last start."""
        return self.log.read_bytes()[self._log_start :] if self.log.exists() else b""


class Beat:
    """A beat of its own. Several at once are harmless: claims are atomic, so nothing is flushed twice."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self._environment = dict(environment)
        self._child: Child | None = None

    @property
    def log(self) -> Path:
        return self.directory / "beat.log"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def running(self) -> bool:
        return self._child is not None and self._child.exit_status is None

    def launch(self) -> None:
        """Starts it and does not wait."""
        self.kill()
        self.directory.mkdir(parents=True, exist_ok=True)
        # No file of its process id: one that is left by SIGKILL keeps the next from starting.
        argv = [*_CELERY, "beat", "--loglevel=WARNING", "--pidfile="]
        self._child = Child(argv, log=self.log, cwd=self.directory, env=_environment(self.directory, self._environment))

    def kill(self) -> None:
        if self._child:
            self._child.kill()
            self._child = None


def _environment(directory: Path, settings: Mapping[str, str]) -> dict[str, str]:
    temporary = directory / "tmp"  # a killed worker leaves what multiprocessing has made there
    temporary.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary), **settings}
