"""The ledger of a run, and the sentence under it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from chaos.result import Result
from chaos.warrants import Step, Whom


def ledger(result: Result) -> Table:
    balance = result.balance
    rate = balance.sent / result.seconds
    outcomes = ", ".join(f"{name} {spans:,}" for name, spans in sorted(balance.outcomes.items()) if spans)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    table.add_row("sent", f"{balance.sent:,}", f"spans in {balance.batches:,} batches, {result.resent:,} sent again")
    table.add_row("published", f"{balance.published:,}", "spans, compared one by one with those sent")
    table.add_row("segments", f"{balance.segments:,}", f"in {balance.messages:,} messages")
    table.add_row("outcomes", f"{sum(balance.outcomes.values()):,}", outcomes or "none")
    table.add_row("repeats", f"{balance.repeats:,}", _repeats(result))
    table.add_row("orphans", f"{result.orphans:,}", "segments that a sweep had to queue again")
    table.add_row("lost", f"{balance.lost:,}", style="bold red" if balance.lost else "bold green")
    table.add_row("kills", f"{result.kills:,}", "by SIGKILL:")
    for step in Step:
        killed = {whom: result.at_steps[step, whom] for whom in Whom}
        whoms = ", ".join(f"{whom} {kills}" for whom, kills in killed.items())
        table.add_row("", f"{sum(killed.values()):,}", f"between {step} ({whoms})")
    whoms = ", ".join(f"{whom} {kills}" for whom, kills in sorted(result.at_random.items()))
    table.add_row("", f"{result.at_random.total():,}", f"at random ({whoms})")
    table.add_row("events", f"{result.events.total():,}", _events(result))
    table.add_row("seconds", f"{result.seconds:.0f}", f"with the wait for the last span, {rate:,.0f} spans/s")
    return table


def _repeats(result: Result) -> str:
    balance = result.balance
    if not balance.repeats:
        return "no span came out twice"
    same = "all" if balance.repeats == balance.repeats_same_flush else f"{balance.repeats_same_flush:,}"
    return f"{same} under the flush id that they had, {result.changed:,} of them in a message that had changed"


def _events(result: Result) -> str:
    told = ", ".join(f"{name} {times}" for name, times in sorted(result.events.items()))
    return f"{told}; at most {result.fullest:,} messages waited" if result.fullest else told


def verdict(result: Result) -> Iterator[str]:
    """A line for each thing that is wrong, or one that says that nothing is."""
    balance = result.balance
    if balance.lost:
        yield f"[bold red]lost {balance.lost:,}[/]: these spans were sent, and neither published nor counted:"
        yield from (f"  {name}" for name in result.missing)
    if balance.unknown:
        yield f"[bold red]{balance.unknown:,} spans came out that were never sent like this[/]"
    if balance.repeats != balance.repeats_same_flush:
        other = balance.repeats - balance.repeats_same_flush
        yield f"[bold red]{other:,} repeats came under another flush id[/]: a consumer could not have dropped them"
    if result.changed:
        yield f"[bold red]{result.changed:,} repeats came under the same flush id in another message[/]"
    if result.buffered:
        yield f"[bold red]{result.buffered:,} segments are still in the buffer[/]"
    if not result.complete:
        yield f"[bold red]given up[/] after {result.seconds:.0f} s: not all was sent and killed that was planned"
    if result.sound:
        yield f"[bold green]{result.broker.title}: lost 0[/] over {result.kills:,} kills"
