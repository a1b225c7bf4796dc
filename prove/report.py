"""What people see: how far it is while it runs, then one table, then the schedules that failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prove.jobs import Done

PLAIN_EVERY_S = 15.0
CHANCE = "by chance"


@dataclass(slots=True)
class Row:
    schedules: int = 0
    failed: int = 0


class Report:
    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._started = time.monotonic()
        self._last_line = self._started
        self._commands = 0
        self._rows: dict[str, Row] = {}
        self._controls: dict[str, Done] = {}
        self._stories: list[str] = []
        self._live = Live(console=self.console, get_renderable=self._line, refresh_per_second=4, transient=True)

    def tried(self, name: str) -> Callable[[Done], None]:
        def add(done: Done) -> None:
            row = self._rows.setdefault(name, Row())
            row.schedules += done.schedules
            row.failed += done.failed
            self._stories += done.stories
            self._count(done)

        return add

    def caught(self, name: str) -> Callable[[Done], None]:
        def add(done: Done) -> None:
            self._controls[name] = done
            self._count(done)

        return add

    def conclude(self) -> int:
        for story in self._stories[:5]:
            self.console.print(Text(story), soft_wrap=True)
        self.console.print(self._table())
        failed = sum(row.failed for row in self._rows.values())
        missed = [name for name, done in self._controls.items() if not done.failed]
        tried = sum(row.schedules for row in self._rows.values())
        passed = not failed and not missed
        self.console.print(
            f"[{'green' if passed else 'red'}]{tried:,} schedules, {failed} failed; {len(self._controls)} controls, "
            f"{len(missed)} not caught[/]; {self._commands:,} commands to Redis in {self._elapsed_s:,.0f} s."
        )
        return int(not passed)

    def _count(self, done: Done) -> None:
        self._commands += done.commands
        if not self.console.is_terminal and time.monotonic() - self._last_line > PLAIN_EVERY_S:
            self._last_line = time.monotonic()
            self.console.print(self._line())

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def _line(self) -> Text:
        schedules = sum(row.schedules for row in self._rows.values())
        schedules += sum(done.schedules for done in self._controls.values())
        failed = sum(row.failed for row in self._rows.values())
        caught = sum(done.failed for done in self._controls.values())
        rate = schedules / self._elapsed_s
        told = f"{self._elapsed_s:5.0f} s  {schedules:,} schedules ({rate:,.0f}/s)  {failed} failed"
        if self._controls:
            told += f"  {caught} of {len(self._controls)} controls caught"
        return Text(told, style="red" if failed else "")

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("")
        table.add_column("schedules", justify="right")
        table.add_column("")
        for name, row in sorted(self._rows.items(), key=lambda item: item[0] == CHANCE):
            label = CHANCE if name == CHANCE else f"in every order: {name}"
            table.add_row(label, f"{row.schedules:,}", f"{row.failed} failed")
        for name, done in self._controls.items():
            table.add_row(f"control: {name}", f"{done.schedules:,}", "caught" if done.failed else "NOT CAUGHT")
        return table

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
