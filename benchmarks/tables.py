"""The figures as tables, one or more a section."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from benchmarks.bench import BATCHES
from benchmarks.figures import Calls, Point, Report, Yardstick
from benchmarks.meter import Cost
from benchmarks.peers import GOAL, PEER, PEER_SET_REDIS_US, SKETCH, Side
from benchmarks.table import Table

Of = Callable[[Side], dict[int, float]]
Ours = Callable[[Yardstick], float]


def tables(report: Report) -> dict[str, list[Table]]:
    """By section, of those that were measured."""
    made: dict[str, Callable[[Report], Iterator[Table]]] = {
        "yardstick": yardstick,
        "recordings": recordings,
        "steady": steady,
        "flat": flat,
        "calls": calls,
        "balance": balance,
        "pipeline": pipeline,
    }
    return {name: list(make(report)) for name, make in made.items() if getattr(report, name)}


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
    )


def _training(y: Yardstick) -> str:
    t = y.training
    return f"{t.spans:,}, {t.cpu_ms:,.0f}, {t.bytes_held:,}" if t else "-"


def recordings(report: Report) -> Iterator[Table]:
    yield Table(
        "Recorded traffic, in the batches in which it arrived",
        (
            *("recording", "spans", "a batch", "payload, bytes", "ingest, us", "flush, us", "commands", "held, bytes"),
            *("segments", "missing / twice"),
        ),
        [
            (
                f"{r.name}{', trained' if r.trained else ''}",
                f"{r.spans:,}",
                f"{r.spans / r.batches:.0f}",
                f"{r.payload_bytes:.0f}",
                pair(r.course.ingest),
                pair(r.course.flush),
                f"{r.course.ingest.commands:.1f}",
                f"{r.course.ingest.bytes_held:.0f}",
                f"{r.course.segments:,}",
                f"{r.course.missing} / {r.course.twice}",
            )
            for r in report.recordings
        ],
        "Trained: on the first half of the recording, and measured on its second half.",
    )


def steady(report: Report) -> Iterator[Table]:
    for s in report.steady:
        yield Table(
            "Memory at a constant rate",
            ("", "value"),
            [
                ("bytes of a span that waits", f"{s.live_bytes:.0f}"),
                ("bytes of a span that is flushed, while its index is kept", f"{s.index_bytes:.0f}"),
                ("run of", f"{s.rate:,.0f} spans/s for {s.seconds:.0f} s"),
                ("root_timeout, late_grace of that run", f"{s.root_timeout_s:g} s, {s.late_grace_s:g} s"),
                ("expected: rate x (wait x bytes + late_grace x bytes)", f"{s.expected_bytes / 1e6:.1f} MB"),
                ("measured, the last quarter of the run", f"{s.measured_bytes / 1e6:.1f} MB"),
                ("spans that wait, expected / measured", f"{s.rate * s.live_s:,.0f} / {s.live_spans:,.0f}"),
                ("missing / twice", f"{s.missing} / {s.twice}"),
            ],
        )
        yield settings_cost(s.live_bytes, s.index_bytes)


def settings_cost(live_bytes: float, index_bytes: float) -> Table:
    """Megabytes in Redis for every 10,000 spans a second and second of a setting."""
    live, index = live_bytes * 1e4 / 1e6, index_bytes * 1e4 / 1e6
    rows = [
        ("late_grace", f"{index:.2f}", "600 s", f"{600 * index:,.0f}", "of every span, by its index alone"),
        ("root_timeout", f"{live:.2f}", "10 s", f"{10 * live:,.0f}", "of every span whose segment has its root"),
        ("timeout", f"{live:.2f}", "60 s", f"{60 * live:,.0f}", "were no root ever to come; else x the share without"),
        (
            "max_segment_age",
            f"{live:.2f}",
            "600 s",
            f"{600 * live:,.0f}",
            "were no segment ever quiet; else x the share",
        ),
        ("flush_interval", f"{live / 2:.2f}", "1 s", f"{live / 2:,.1f}", "half a round on average"),
        ("lease", f"{live:.2f}", "180 s", f"{180 * live:,.0f}", "of segments whose worker died; else nothing"),
    ]
    return Table(
        "What a setting costs, MB for 10,000 spans/s",
        ("setting", "MB a second of it", "default", "MB at the default", "which spans"),
        rows,
    )


def flat(report: Report) -> Iterator[Table]:
    for series, points in groupby(report.flat, lambda point: point.series):
        yield _series(series, list(points))


def _series(series: str, points: list[Point]) -> Table:
    return Table(
        f"Cost a span by {series}",
        (series, "ingest, us", "flush, us", "together, us", "commands, ingest", "held, bytes", "missing / twice"),
        [
            (
                f"{p.at:,}",
                pair(p.ingest),
                pair(p.flush),
                f"{p.ingest.us + p.flush.us:.1f}",
                f"{p.ingest.commands:.1f}",
                f"{p.ingest.bytes_held:.0f}" if p.ingest.bytes_held else "-",
                f"{p.missing} / {p.twice}",
            )
            for p in points
        ],
    )


def calls(report: Report) -> Iterator[Table]:
    def us(value: float | None) -> str:
        return f"{value:,.0f}" if value is not None else "< 20"

    def row(c: Calls) -> tuple[str, ...]:
        below = "yes" if (c.p999_us or 0) < 5000 else "no"
        return (
            c.load,
            c.verb,
            f"{c.calls:,}",
            us(c.p50_us),
            us(c.p99_us),
            us(c.p999_us),
            us(c.max_us),
            c.longest,
            below,
        )

    yield Table(
        "How long one script call keeps Redis, us of wall time",
        ("load", "verb", "calls", "p50", "p99", "p99.9", "max", "longest", "p99.9 < 5 ms"),
        [row(each) for each in report.calls],
    )


def balance(report: Report) -> Iterator[Table]:
    shares = sorted({b.hot_share for b in report.balance})
    nodes = sorted({b.nodes for b in report.balance})
    found = {(b.nodes, b.hot_share): b for b in report.balance}
    yield Table(
        "Busiest node against the mean, in windows of one second: median (worst)",
        ("nodes", *[f"{100 * share:g} % in one trace" if share else "no hot trace" for share in shares]),
        [
            (f"{n}", *[f"{found[n, share].typical:.2f} ({found[n, share].worst:.2f})" for share in shares])
            for n in nodes
        ],
    )


def pipeline(report: Report) -> Iterator[Table]:
    names = list(report.pipeline[0])
    yield Table(
        "The whole pipeline on this machine",
        ("", *[str(each.get("broker", "")) for each in report.pipeline]),
        [(name.replace("_", " "), *[_shown(each.get(name)) for each in report.pipeline]) for name in names],
    )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
