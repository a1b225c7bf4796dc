"""The yardstick as tables: against the peer, the first sketch and the goal, and in detail."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.bench import BATCHES
from benchmarks.figures import Report, Yardstick
from benchmarks.meter import Cost
from benchmarks.peers import GOAL, PEER, PEER_SET_REDIS_US, SKETCH, Side
from benchmarks.table import Table

Of = Callable[[Side], dict[int, float]]
Ours = Callable[[Yardstick], float]


def pair(cost: Cost) -> str:
    return f"{cost.client_us:.1f} + {cost.redis_us:.1f}"


def yardstick(report: Report) -> Iterator[Table]:
    yield _against_others(report)
    yield _in_detail(report)


MEASURES: list[tuple[str, str, Of, Ours]] = [
    ("client + Redis CPU, ingest to clean-up, us", "{:.1f}", lambda side: side.us, lambda y: y.best.us),
    ("Redis commands in ingest", "{:.1f}", lambda side: side.commands, lambda y: y.best.ingest.commands),
    ("Redis memory held, bytes", "{:,.0f}", lambda side: side.bytes_held, lambda y: y.best.ingest.bytes_held),
    ("Redis CPU of ingest, in SETs", "{:.1f}", lambda side: side.times_set, lambda y: y.times_set),
]


def _against_others(report: Report) -> Table:
    untrained = {y.batch: y for y in report.yardstick if not y.training}
    trained = {y.batch: y for y in report.yardstick if y.training}
    rows: list[tuple[str, ...]] = []
    for name, form, side, ours in MEASURES:
        for batch in BATCHES:
            values = [form.format(side(each)[batch]) for each in (PEER, SKETCH, GOAL)]
            found = [form.format(ours(each[batch])) if each else "-" for each in (untrained, trained)]
            best = ours((trained or untrained)[batch])
            rows.append((name, f"{batch:,}", *values, *found, verdict(best, side(GOAL)[batch])))
    for batch in BATCHES:
        found = [f"{each[batch].together_in_sets:.1f}" if each else "-" for each in (untrained, trained)]
        rows.append(("together, in SETs (client + Redis)", f"{batch:,}", "", "", "", *found, ""))
    floor = ", ".join(f"{untrained[batch].floor.set_a_span.redis_us:.1f} us at {batch:,}" for batch in BATCHES)
    return Table(
        "What a span costs",
        ("a span", "batch", "peer", "first sketch", "goal", "ours", "ours, trained", "goal reached"),
        rows,
        f"Peer and sketch are literature: another run of this class of machine, where a SET cost Redis "
        f"{PEER_SET_REDIS_US} us. Here a SET costs Redis {floor}.",
    )


def verdict(ours: float, goal: float) -> str:
    return "yes" if ours <= goal else f"{ours / goal:.2f}x short"


def _in_detail(report: Report) -> Table:
    every = report.yardstick

    def row(name: str, show: Callable[[Yardstick], str]) -> tuple[str, ...]:
        return (name, *map(show, every))

    return Table(
        "The yardstick in detail: lowest of the repeats, median in brackets",
        ("a span", *[f"batch {y.batch:,}{', trained' if y.training else ''}" for y in every]),
        [
            row("ingest: client + Redis CPU, us", lambda y: f"{pair(y.best.ingest)} ({pair(y.typical.ingest)})"),
            row("flush and clean-up, us", lambda y: f"{pair(y.best.flush)} ({pair(y.typical.flush)})"),
            row("together, us", lambda y: f"{y.best.us:.1f} ({y.typical.us:.1f})"),
            row("Redis commands, ingest", lambda y: f"{y.best.ingest.commands:.2f}"),
            row("Redis commands, flush", lambda y: f"{y.best.flush.commands:.2f}"),
            row("Redis memory held, bytes", lambda y: f"{y.best.ingest.bytes_held:.0f}"),
            row("after the last clean-up, bytes", lambda y: f"{y.best.left_bytes:.0f}"),
            row("to Redis, bytes", lambda y: f"{y.best.ingest.sent_bytes + y.best.flush.sent_bytes:.0f}"),
            row("from Redis, bytes", lambda y: f"{y.best.ingest.received_bytes + y.best.flush.received_bytes:.0f}"),
            row("floor: SET a span, us", lambda y: f"{pair(y.floor.set_a_span)} ({pair(y.typical_floor.set_a_span)})"),
            row("floor: zstd SET a batch, us", lambda y: pair(y.floor.zstd_set_a_batch)),
            row("Redis CPU of ingest, in SETs", lambda y: f"{y.times_set:.1f}x"),
            row("missing / twice / keys left", lambda y: f"{y.best.missing} / {y.best.twice} / {y.best.keys_left}"),
            row("training: spans, CPU ms, bytes", _training),
        ],
        " ".join(f"Batch {y.batch:,}: {y.training.came_of_it}" for y in every if y.training),
    )


def _training(y: Yardstick) -> str:
    t = y.training
    return f"{t.spans:,}, {t.cpu_ms:,.0f}, {t.bytes_held:,}" if t else "-"
