"""The curves: flat cost, script calls, memory in time, balance of a cluster."""

from __future__ import annotations

from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.drawing import CLIENT, INK, LINES, REDIS, titled
from benchmarks.figures import Balance, Point, Report


def flat(report: Report) -> Figure:
    series = {name: list(points) for name, points in groupby(report.flat, lambda point: point.series)}
    curves = {name: points for name, points in series.items() if len(points) > 1}
    single = [points[0] for points in series.values() if len(points) == 1]
    figure = Figure(figsize=(9, 6), layout="constrained")
    places = figure.subplots(2, (len(curves) + 2) // 2).flat
    for axes, (name, points) in zip(places, curves.items(), strict=False):
        _curve(axes, name, points)
    last = figure.axes[len(curves)]
    _singles(last, single)
    for axes in figure.axes[len(curves) + 1 :]:
        axes.remove()
    figure.axes[0].legend()
    return figure


def _curve(axes: Axes, name: str, points: list[Point]) -> None:
    at = [point.at for point in points]
    axes.plot(at, [p.ingest.us for p in points], "o-", color=CLIENT, label="ingest")
    axes.plot(at, [p.flush.us for p in points], "s-", color=REDIS, label="flush")
    axes.set_xscale("log")
    axes.set_xticks(at, [_short(each) for each in at], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    titled(axes, name, "CPU a span, µs")


def _short(number: int) -> str:
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if number >= size and number % size == 0:
            return f"{number // size}{letter}"
    return str(number)


def _singles(axes: Axes, points: list[Point]) -> None:
    names = [f"{point.series}\n({point.at:,})" for point in points]
    axes.bar(names, [p.ingest.us for p in points], 0.5, color=CLIENT)
    axes.bar(names, [p.flush.us for p in points], 0.5, [p.ingest.us for p in points], color=REDIS)
    titled(axes, "the worst shapes", "CPU a span, µs")
    axes.grid(axis="x", visible=False)


def calls(report: Report) -> Figure:
    figure = Figure(figsize=(9, 0.28 * len(report.calls) + 1), layout="constrained")
    axes = figure.subplots()
    rows = list(reversed(report.calls))
    for name, marker, color in (
        ("p50_us", "|", INK),
        ("p99_us", "o", LINES[0]),
        ("p999_us", "s", LINES[1]),
        ("max_us", "D", LINES[3]),
    ):
        shown = [(getattr(c, name), at) for at, c in enumerate(rows) if getattr(c, name) is not None]
        if shown:
            axes.plot(
                *zip(*shown, strict=True), marker, color=color, label=name.removesuffix("_us").replace("999", "99.9")
            )
    axes.set_yticks(range(len(rows)), [f"{c.verb}: {c.load}" for c in rows])
    axes.axvline(5000, color=INK, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    titled(axes, "how long one script call keeps Redis; the dashed line is 5 ms", xlabel="µs")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def steady(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    run = report.steady[0]
    seconds, held, _ = zip(*run.samples, strict=True)
    axes.plot(seconds, [each / 1e6 for each in held], color=CLIENT, label="measured")
    axes.axhline(run.expected_bytes / 1e6, color=INK, linestyle="--", linewidth=1, label="expected once it is flat")
    axes.set_ylim(bottom=0)
    titled(axes, f"Redis memory at {run.rate:,.0f} spans/s", "MB", "seconds")
    axes.legend()
    return figure


def balance(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    rates = sorted({each.rate for each in report.balance})
    for axes, rate in zip(figure.subplots(1, len(rates), sharey=True, squeeze=False).flat, rates, strict=True):
        _balance_at(axes, [each for each in report.balance if each.rate == rate])
        first = axes is figure.axes[0]
        titled(axes, f"{rate:,} spans/s", "busiest node, times the mean of all" if first else "", "nodes")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    figure.axes[0].legend(title="in one trace", fontsize=8)
    return figure


def _balance_at(axes: Axes, every: list[Balance]) -> None:
    by_share = groupby(sorted(every, key=lambda b: (b.hot_share, b.nodes)), lambda b: b.hot_share)
    for color, (share, each) in zip(LINES, by_share, strict=False):
        points = list(each)
        nodes, typical = [p.nodes for p in points], [p.typical for p in points]
        axes.plot(nodes, typical, "o-", color=color, label=f"{100 * share:g} %")
        axes.fill_between(nodes, typical, [p.worst for p in points], color=color, alpha=0.2)
