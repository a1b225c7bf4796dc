"""Processes and directories that do not outlive this one.

Every child leads its own process group, so that one signal reaches all it started, and Ctrl-C in a terminal
none of it. A shell of one line tells the guard the group's id *before* it becomes the program: whatever
instant this process is killed at, the guard knows everybody there is to end.
"""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Never

from embedded import guard

# Standard input is the guard's pipe until the program starts.
_ANNOUNCE = 'echo "+$$" >&0; exec "$@" </dev/null'


class Child:
    """A running program, its output appended to `log`."""

    def __init__(self, argv: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._reaped = False
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _ANNOUNCE, "sh", *argv],
                stdin=_guard_pipe(),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Also the id of its process group."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs, minus the signal's number if one killed it."""
        return self._process.poll()

    def signal(self, signum: int) -> None:
        """To the program alone; what it started is its own affair until the group is killed."""
        self._process.send_signal(signum)

    def freeze(self) -> None:
        """SIGSTOP to the whole group: it holds what it has, and answers nobody."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def wait(self, timeout_s: float | None = None) -> bool:
        """True when it has ended; then nothing of its group is left."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        if not self._reaped:  # once: the id may be another's later
            guard.kill_group(self.pid)
            _tell(f"-{self.pid}")
            self._reaped = True
        return True

    def stop(self, grace_s: float) -> bool:
        """SIGTERM, and SIGKILL to the group after the grace. True when SIGTERM was enough."""
        self.signal(signal.SIGTERM)
        if self.wait(grace_s):
            return True
        self.kill()
        return False

    def kill(self) -> None:
        if not self._reaped:
            guard.kill_group(self.pid)
        self.wait()


@contextmanager
def scratch_directory(prefix: str) -> Iterator[Path]:
    """A new directory for this process alone, removed at the end whatever the end is."""
    path = Path(tempfile.gettempdir(), f"{prefix}-{secrets.token_hex(6)}").absolute()
    _tell(str(path))  # first: a kill in between must not leave it behind
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def signals_exit() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP leave the block through SystemExit(128 + signal), so that clean-up runs.

    A second signal cuts that short; the guard then finishes it, and this process waits for the guard.
    """

    def leave(signum: int, _frame: FrameType | None) -> Never:
        raise SystemExit(128 + signum)

    signums = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {signum: signal.signal(signum, leave) for signum in signums}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@cache
def _guard_pipe() -> int:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    os.close(reading)
    atexit.register(_close_guard, writing, process)
    return writing


def _close_guard(writing: int, process: subprocess.Popen[bytes]) -> None:
    os.close(writing)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)


def _tell(line: str) -> None:
    # Without the guard, killed by somebody, this process still cleans up unless it is killed too.
    with suppress(BrokenPipeError):
        os.write(_guard_pipe(), line.encode() + b"\n")
