"""The end of the demo in words: the ledger, and whether the pipeline kept its promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from demo.ledger import Balance, SpanName
from demo.recordings import Recorded
from demo.replay import Pace
from demo.screen import outcomes

NAMED = 5
"""Lost spans that are named one by one; the rest would be noise."""


def introduction(recording: str, batches: Sequence[Recorded], pace: Pace) -> str:
    spans = [span for batch in batches for span in batch.spans]
    projects = len({span["project_id"] for span in spans})
    seconds = (batches[-1].arrival_ms - batches[0].arrival_ms) / 1000
    return (
        f"[bold]{recording}[/]: {len(spans):,} spans of {projects} services, recorded over {seconds:.0f} s\n"
        f"         {pace.multiple:.1f} times as fast now; timeouts too: "
        f"{pace.root_timeout_s:g} s with a root, {pace.timeout_s:g} s without"
    )


def ledger_table(balance: Balance, *, seconds: float) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    table.add_row("sent", f"{balance.sent:,}", f"spans in {balance.batches:,} batches")
    table.add_row("published", f"{balance.published:,}", "spans, compared one by one with those sent")
    table.add_row("segments", f"{balance.segments:,}", f"in {balance.messages:,} messages")
    table.add_row("repeats", f"{balance.repeats:,}", _repeats(balance))
    table.add_row("outcomes", f"{sum(balance.outcomes.values()):,}", outcomes(balance))
    table.add_row("lost", f"{balance.lost:,}", style="bold red" if balance.lost else "bold green")
    table.add_row("seconds", f"{seconds:.1f}", "with the start of the servers")
    return table


def verdict(balance: Balance, missing: Sequence[SpanName]) -> Iterator[str]:
    """A line for each thing that is wrong, or one that says that nothing is."""
    if balance.lost:
        yield f"[bold red]lost {balance.lost:,}[/]: these spans were sent, and neither published nor counted:"
        yield from (f"  project {n.project_id}, trace {n.trace_id}, span {n.span_id}" for n in missing[:NAMED])
        if len(missing) > NAMED:
            yield f"  and {len(missing) - NAMED:,} more"
    if balance.unknown:
        yield f"[bold red]{balance.unknown:,} spans came out that were never sent like this[/]"
    if balance.repeats != balance.repeats_same_flush:
        other = balance.repeats - balance.repeats_same_flush
        yield f"[bold red]{other:,} repeats came under another flush id[/]: a consumer could not have dropped them"
    if balance.sound:
        yield "[bold green]lost 0[/]: every span came out as it went in, though the worker was killed."


def failure(error: Exception) -> str:
    return f"[bold red]The demo could not be run.[/] {escape(str(error))}"


def _repeats(balance: Balance) -> str:
    if not balance.repeats:
        return "the kill hit nothing between publishing and clean-up"
    same = "all" if balance.repeats == balance.repeats_same_flush else f"{balance.repeats_same_flush:,}"
    return f"after the kill, {same} under the flush id that they had"
