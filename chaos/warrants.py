"""Who is to be killed where: the paper between the conductor, who signs, and the process that finds its name on it.

A warrant is an empty file ``STEP.WHOM.NUMBER`` in one directory. A process that reaches the step takes it away, which
only one can, notes it in ``executed``, and kills itself. So each kill happens exactly at its step, and is counted.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path


class Step(StrEnum):
    """The gaps on a span's way, each named by what has happened and what has not."""

    QUEUE = "append | queue"
    INGESTED = "queue | acknowledge"
    FAN_OUT = "claim | fan-out"
    PUBLISH = "read | publish"
    CONFIRM = "publish | confirm"
    CLEAN_UP = "confirm | clean-up"
    HALVES = "clean-up: data | queue"
    CLEANED = "clean-up | acknowledge"


class Whom(StrEnum):
    CHILD = "child"
    WORKER = "worker"
    """With all its children."""


class Warrants:
    def __init__(self, directory: Path) -> None:
        self._open = directory / "warrants"
        self._executed = directory / "executed"
        self._number = 0

    def sign(self, step: Step, whom: Whom) -> None:
        self._open.mkdir(parents=True, exist_ok=True)
        self._number += 1
        (self._open / f"{step.name}.{whom.name}.{self._number}").touch()

    def take(self, step: Step) -> Whom | None:
        """Called by a process that is at the step. Notes it first: afterwards nobody is there to do it."""
        for warrant in self._open.glob(f"{step.name}.*"):
            try:
                warrant.unlink()
            except FileNotFoundError:  # somebody else was quicker
                continue
            whom = Whom[warrant.name.split(".")[1]]
            with self._executed.open("a") as executed:
                executed.write(f"{step.name} {whom.name}\n")
            return whom
        return None

    def withdraw(self) -> int:
        """Those that nobody has come to yet."""
        withdrawn = 0
        for warrant in self._open.glob("*"):
            warrant.unlink(missing_ok=True)
            withdrawn += 1
        return withdrawn

    def executed(self) -> Counter[tuple[Step, Whom]]:
        if not self._executed.exists():
            return Counter()
        lines = (line.split() for line in self._executed.read_text().splitlines())
        return Counter((Step[step], Whom[whom]) for step, whom in lines)
