"""One trace in the terminal: its spans as a tree by parent, across projects, with a bar for when each ran.

Made from the published segments, so what it shows came through the whole pipeline. It shows what it is given and
cuts nothing out but the end of a trace that is too long for a screen; ``choose`` finds one that is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from demo.otlp import SpanObject

MOST_ROWS = 32
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_red", "bright_green", "bright_cyan")


class Attribute(msgspec.Struct):
    value: object = None


class Bar(msgspec.Struct):
    """What of a span can be seen."""

    trace_id: str
    span_id: str
    project_id: int
    start_timestamp: float
    end_timestamp: float
    parent_span_id: str | None = None
    name: str | None = None
    status: str = "ok"
    is_segment: bool | None = False
    attributes: dict[str, Attribute | None] | None = None

    @property
    def service(self) -> str:
        named = (self.attributes or {}).get("service.name")
        return str(named.value) if named else f"project {self.project_id}"

    @property
    def duration(self) -> float:
        return max(0.0, self.end_timestamp - self.start_timestamp)


@dataclass(frozen=True, slots=True)
class Row:
    guide: str
    bar: Bar


def choose(spans: Iterable[SpanObject]) -> str | None:
    """The trace that tells most on one screen: one tree over many services, with bars long enough to be seen."""
    traces: dict[str, list[Bar]] = defaultdict(list)
    for span in spans:
        bar = msgspec.convert(span, Bar)
        traces[bar.trace_id].append(bar)
    return max(traces, key=lambda trace_id: _worth(traces[trace_id]), default=None)


def _worth(bars: Sequence[Bar]) -> tuple[bool, bool, float]:
    whole = sum(not row.guide for row in tree(bars)) == 1
    services = len({bar.project_id for bar in bars})
    scale = Scale.over(bars, cells=32)
    seen = sum(scale.visible(bar) for bar in bars) / len(bars)
    return len(bars) <= MOST_ROWS, whole, services + 2 * seen + len(bars) / MOST_ROWS


def waterfall(spans: Iterable[SpanObject], *, width: int = 100) -> RenderableType:
    """The trace as a table. ● begins a segment, ✗ ended with an error. A span published twice is shown once."""
    found = {bar.span_id: bar for bar in (msgspec.convert(span, Bar) for span in spans)}
    bars = sorted(found.values(), key=lambda bar: bar.start_timestamp)
    if not bars:
        return Text("no span of it was published")
    scale = Scale.over(bars, cells=max(12, width * 2 // 5))
    rows = list(tree(bars))
    services = dict.fromkeys(row.bar.service for row in rows)
    colours = {service: COLOURS[n % len(COLOURS)] for n, service in enumerate(services)}
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, max_width=max(16, width - scale.cells - max(map(len, services)) - 11))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, width=scale.cells)
    table.add_column(no_wrap=True, justify="right")
    for row in rows[:MOST_ROWS]:
        bar, colour = row.bar, colours[row.bar.service]
        table.add_row(_name(row), Text(bar.service, colour), Text(scale.draw(bar), colour), _duration(bar.duration))
    return Group(_title(bars, scale.end - scale.begin), table, *_rest(len(rows)))


def tree(bars: Iterable[Bar]) -> Iterator[Row]:
    """Depth first, in the order given; a span whose parent is not among them begins a tree of its own.

    Spans that are each other's ancestors hang from no root, and are listed after the trees.
    """
    known = {bar.span_id: bar for bar in bars}
    children: dict[str | None, list[Bar]] = defaultdict(list)
    for bar in known.values():
        children[bar.parent_span_id if bar.parent_span_id in known else None].append(bar)
    shown: set[str] = set()
    for start in (*children[None], *known.values()):
        if start.span_id not in shown:
            yield from _subtree(start, children, shown)


def _subtree(start: Bar, children: Mapping[str | None, list[Bar]], shown: set[str]) -> Iterator[Row]:
    """A stack, not recursion: a trace may be deeper than Python's."""
    stack = [(start, "", "")]
    while stack:
        bar, guide, below = stack.pop()
        if bar.span_id in shown:
            continue
        shown.add(bar.span_id)
        yield Row(guide, bar)
        under = children.get(bar.span_id, [])
        for child in reversed(under):
            last = child is under[-1]
            stack.append((child, below + ("└ " if last else "├ "), below + ("  " if last else "│ ")))


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds of the trace to cells of the screen."""

    begin: float
    end: float
    cells: int

    @classmethod
    def over(cls, bars: Iterable[Bar], *, cells: int) -> Scale:
        ends = [(bar.start_timestamp, bar.end_timestamp) for bar in bars]
        return cls(min(begin for begin, _ in ends), max(end for _, end in ends), cells)

    @property
    def per_second(self) -> float:
        return self.cells / max(self.end - self.begin, 1e-9)

    def visible(self, bar: Bar) -> bool:
        return bar.duration * self.per_second >= 0.5

    def draw(self, bar: Bar) -> str:
        """At least one cell a span, and none beyond the last."""
        left = min(int((bar.start_timestamp - self.begin) * self.per_second), self.cells - 1)
        right = min(max(left + 1, round((bar.end_timestamp - self.begin) * self.per_second)), self.cells)
        return " " * left + ("█" * (right - left) if self.visible(bar) else "▏")


def _name(row: Row) -> Text:
    text = Text.assemble((row.guide, "dim"))
    if row.bar.is_segment:
        text.append("● ", "bold")
    text.append(row.bar.name or "(no name)")
    if row.bar.status == "error":
        text.append(" ✗", "bold red")
    return text


def _title(bars: Sequence[Bar], seconds: float) -> Text:
    segments = sum(bar.is_segment is True for bar in bars)
    services = len({bar.service for bar in bars})
    return Text.assemble(
        ("trace ", "bold"),
        (bars[0].trace_id, "bold"),
        f"  {_count(len(bars), 'span')}, {_count(segments, 'segment')}, {_count(services, 'service')}, ",
        _duration(seconds),
    )


def _rest(rows: int) -> list[Text]:
    return [Text(f"… and {_count(rows - MOST_ROWS, 'span')} more", "dim")] if rows > MOST_ROWS else []


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"
