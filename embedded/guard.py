"""The last one out: a tiny process that ends what its parent started, however the parent ended.

It reads lines from a pipe whose other end only the parent holds: `+PGID` a process group began, `-PGID` it
was reaped, `/PATH` a directory to remove. The end of the pipe means that the parent is gone, by return,
signal or SIGKILL; then the groups still noted are killed and the directories removed.

Why not PR_SET_PDEATHSIG: it follows the parent's *thread*, is lost on fork, so a worker's children outlive
it, and removes no directory. A child forked without exec holds the pipe open, so the guard waits for it.
Run as a file by `child`, so it imports only the standard library.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress


def watch(lines: Iterable[bytes]) -> None:
    groups: dict[int, None] = {}
    directories: list[bytes] = []
    for line in lines:
        kind, rest = line[:1], line.rstrip(b"\n")
        if kind == b"+":
            groups[int(rest)] = None
        elif kind == b"-":
            groups.pop(-int(rest), None)
        elif kind == b"/":
            directories.append(rest)
    for group in groups:
        kill_group(group)
    for directory in directories:
        remove(directory)


def remove(directory: bytes) -> None:
    for _ in range(100):  # a killed process may still finish a write into it
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.exists(directory):
            return
        time.sleep(0.02)


def kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # gone; macOS has the latter for a group of zombies
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watch(sys.stdin.buffer)
