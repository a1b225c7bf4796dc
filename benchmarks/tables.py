"""The figures as tables, one or more a section."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from benchmarks.comparison import pair, yardstick
from benchmarks.figures import Balance, Calls, Point, Report, Steady
from benchmarks.table import Table
from buffer import Settings

TOO_LONG_US = 5000
TEN_THOUSAND = 10_000


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
                ("at 10,000 spans/s, all settings at their defaults", _at_defaults(s)),
                ("validated by a run of", f"{s.rate:,.0f} spans/s for {s.seconds:.0f} s"),
                ("root_timeout, late_grace of that run", f"{s.root_timeout_s:g} s, {s.late_grace_s:g} s"),
                ("expected: rate x (wait x bytes + late_grace x bytes)", f"{s.expected_bytes / 1e6:.1f} MB"),
                ("measured, the last quarter of the run", f"{s.measured_bytes / 1e6:.1f} MB"),
                ("spans that wait, expected / measured", f"{s.rate * s.live_s:,.0f} / {s.live_spans:,.0f}"),
                ("missing / twice", f"{s.missing} / {s.twice}"),
            ],
        )
        yield settings_cost(s.live_bytes, s.index_bytes)


def _at_defaults(s: Steady) -> str:
    settings = Settings()
    wait_s = s.spread_s * s.rate / TEN_THOUSAND + settings.root_timeout + settings.flush_interval / 2
    waiting = TEN_THOUSAND * wait_s * s.live_bytes / 1e6
    flushed = TEN_THOUSAND * settings.late_grace * s.index_bytes / 1e6
    return f"{waiting + flushed:,.0f} MB: {waiting:,.0f} that wait, {flushed:,.0f} of indexes"


def settings_cost(live_bytes: float, index_bytes: float) -> Table:
    """Megabytes in Redis for every 10,000 spans a second and second of a setting."""
    live, index = live_bytes * TEN_THOUSAND / 1e6, index_bytes * TEN_THOUSAND / 1e6
    costs = (
        ("late_grace", index, "of every span, by its index alone"),
        ("root_timeout", live, "of every span whose segment has its root"),
        ("timeout", live, "were no root ever to come; else x the share without"),
        ("max_segment_age", live, "were no segment ever quiet; else x the share"),
        ("flush_interval", live / 2, "half a round on average"),
        ("lease", live, "of segments whose worker died; else nothing"),
    )
    rows = [
        (name, f"{megabytes:.2f}", f"{default:g} s", f"{default * megabytes:,.1f}", which)
        for name, megabytes, which in costs
        for default in (float(Settings.model_fields[name].default),)
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
        below = "yes" if (c.p999_us or 0) < TOO_LONG_US else "no"
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
        "The lowest of the repeats. With fewer than 1,000 calls p99.9 is the longest call.",
    )


def balance(report: Report) -> Iterator[Table]:
    for rate in sorted({b.rate for b in report.balance}):
        yield _balance([b for b in report.balance if b.rate == rate], rate)


def _balance(every: list[Balance], rate: int) -> Table:
    shares = sorted({b.hot_share for b in every})
    nodes = sorted({b.nodes for b in every})
    found = {(b.nodes, b.hot_share): b for b in every}
    return Table(
        f"Busiest node against the mean at {rate:,} spans/s, in windows of one second: median (worst)",
        ("nodes", *[f"{100 * share:g} % in one trace" if share else "no hot trace" for share in shares]),
        [
            (f"{n}", *[f"{found[n, share].typical:.2f} ({found[n, share].worst:.2f})" for share in shares])
            for n in nodes
        ],
    )


def pipeline(report: Report) -> Iterator[Table]:
    """Whatever the pipeline's own figures are called; the CPU of its processes a row each."""
    columns = [
        dict(_flat_rows({**each, "us_together": sum(each.get("us_by_group", {}).values())})) for each in report.pipeline
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    yield Table(
        "The whole pipeline on this machine",
        ("", *[f"{each['broker']}, {each['load']}" for each in report.pipeline]),
        [(name.replace("_", " "), *[column.get(name, "-") for column in columns]) for name in names],
    )


def _flat_rows(found: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _flat_rows(value, f"{name}: ")
        else:
            yield before + name, _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
