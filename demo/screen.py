"""What the demo shows while it runs: what happened, line by line, and below it where things stand.

In a terminal the state moves in place; elsewhere (a file, a CI log) it is a plain line every two seconds. Shows figures
that others give it and computes none but the rates.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.ledger import Balance

PLAIN_EVERY_S = 2.0
RATE_OVER_S = 3.0


@dataclass(frozen=True, slots=True)
class State:
    """The demo at one moment."""

    balance: Balance
    total: int
    """Spans that will have been sent at the end."""
    buffered: int
    """Segments in the buffer."""


class Screen:
    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._doing = ""
        self._state: State | None = None
        self._history: deque[tuple[float, Balance]] = deque()
        self._last_line = self._started
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=8, transient=True)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._started

    def doing(self, what: str) -> None:
        """The present step, which may take a while."""
        self._doing = what
        if not self.console.is_terminal:
            self.say(what)

    def say(self, happened: str) -> None:
        self.console.print(f"[dim]{self.elapsed_s:5.1f} s[/]  {happened}", soft_wrap=True)

    def show(self, state: State) -> None:
        now = time.monotonic()
        self._state = state
        self._history.append((now, state.balance))
        while len(self._history) > 2 and now - self._history[0][0] > RATE_OVER_S:
            self._history.popleft()
        if not self.console.is_terminal and now - self._last_line >= PLAIN_EVERY_S:
            self._last_line = now
            self.say(self._line(state))

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _line(self, state: State) -> str:
        balance = state.balance
        return (
            f"sent {balance.sent:,}  buffered {state.buffered:,} segments  published {balance.published:,}"
            f"  outcomes {outcomes(balance)}  {self._rates()[1]:,.0f} spans/s"
        )

    def render(self) -> RenderableType:
        """What moves in place at the bottom of a terminal."""
        spinner = Spinner("dots", Text(f"{self._doing}, {self.elapsed_s:.0f} s"), style="cyan")
        return Group(spinner, *([self._table(self._state)] if self._state else []))

    def _table(self, state: State) -> Table:
        balance = state.balance
        sent_rate, published_rate = self._rates()
        table = Table.grid(padding=(0, 2))
        table.add_column(width=11)
        table.add_column(justify="right", width=7)
        table.add_column(width=24)
        table.add_column(justify="right")
        for name, count, rate in (
            ("sent", balance.sent, sent_rate),
            ("published", balance.published, published_rate),
        ):
            table.add_row(f"  {name}", f"{count:,}", ProgressBar(state.total, count), f"{rate:,.0f} spans/s")
        table.add_row("  buffered", f"{state.buffered:,}", "segments")
        table.add_row("  outcomes", f"{sum(balance.outcomes.values()):,}", _reasons(balance))
        return table

    def _rates(self) -> tuple[float, float]:
        """Spans a second over the last moments: sent, published."""
        if len(self._history) < 2:
            return 0.0, 0.0
        (then, before), (now, after) = self._history[0], self._history[-1]
        seconds = max(now - then, 1e-3)
        return (after.sent - before.sent) / seconds, (after.published - before.published) / seconds


def outcomes(balance: Balance) -> str:
    return _reasons(balance) or "none"


def _reasons(balance: Balance) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(balance.outcomes.items()) if count)
