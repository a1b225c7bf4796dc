"""What is seen while chaos reigns: what happened, line by line, and one line with where things stand.

In a terminal that line stays at the bottom; elsewhere (a file, a CI log) it comes every ten seconds.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status

PLAIN_EVERY_S = 10.0


class Screen:
    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._last_line = 0.0
        self._status = Status("", console=console)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def say(self, happened: str) -> None:
        self.console.print(f"[dim]{self.elapsed_s:6.1f} s[/]  {escape(happened)}", soft_wrap=True)

    def show(self, state: str) -> None:
        if self.console.is_terminal:
            self._status.update(f"{self.elapsed_s:6.1f} s  {escape(state)}")
        elif time.monotonic() - self._last_line >= PLAIN_EVERY_S:
            self._last_line = time.monotonic()
            self.say(state)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()
