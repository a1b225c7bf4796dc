"""The figures as SVG, one file a picture, equal byte for byte for equal figures."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.bench import BATCHES
from benchmarks.figures import Point, Report, Yardstick
from benchmarks.peers import GOAL, PEER, SKETCH

CLIENT, REDIS, INK, GRID = "#4477aa", "#ee9944", "#333333", "#dddddd"
LINES = ("#4477aa", "#ee9944", "#228833", "#aa3377")
STYLE = {
    "svg.hashsalt": "span-buffer",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "axes.edgecolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def write_plots(report: Report, directory: Path) -> list[Path]:
    """Of the sections that were measured."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, tuple[bool, Callable[[Report], Figure]]] = {
        "cost": (bool(report.yardstick), _cost),
        "bytes": (bool(report.yardstick), _bytes),
        "flat": (bool(report.flat), _flat),
        "calls": (bool(report.calls), _calls),
        "steady": (bool(report.steady), _steady),
        "balance": (bool(report.balance), _balance),
        "pipeline": (bool(report.pipeline), _pipeline),
    }
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # its keys are literals
        return [_write(draw(report), directory / f"{name}.svg") for name, (there, draw) in drawn.items() if there]


def _write(figure: Figure, path: Path) -> Path:
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return path


def _of(report: Report, batch: int) -> list[Yardstick]:
    return [y for y in report.yardstick if y.batch == batch]


def _label(y: Yardstick) -> str:
    return "ours,\ntrained" if y.training else "ours"


def _cost(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, batch in zip(figure.subplots(1, 2, sharey=True), BATCHES, strict=True):
        bars = [(side.name, side.client_us[batch], side.us[batch]) for side in (PEER, SKETCH)]
        for y in _of(report, batch):
            bars.append((_label(y), y.best.ingest.client_us + y.best.flush.client_us, y.best.us))
        names, client, whole = zip(*bars, strict=True)
        axes.bar(names, client, color=CLIENT, width=0.6, label="client")
        axes.bar(names, [w - c for w, c in zip(whole, client, strict=True)], 0.6, client, color=REDIS, label="Redis")
        for at, total in enumerate(whole):
            axes.annotate(f"{total:.0f}", (at, total), ha="center", va="bottom")
        _goal(axes, GOAL.us[batch])
        _titled(axes, f"batches of {batch:,}", "CPU a span, µs, ingest to clean-up" if batch == BATCHES[0] else "")
        axes.grid(axis="x", visible=False)
    figure.axes[1].legend()
    return figure


def _bytes(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, batch in zip(figure.subplots(1, 2, sharey=True), BATCHES, strict=True):
        bars = [(side.name, side.bytes_held[batch]) for side in (PEER, SKETCH)]
        bars += [(_label(y), y.best.ingest.bytes_held) for y in _of(report, batch)]
        axes.bar(*zip(*bars, strict=True), color=REDIS, width=0.6)
        for at, (_, value) in enumerate(bars):
            axes.annotate(f"{value:,.0f}", (at, value), ha="center", va="bottom")
        _goal(axes, GOAL.bytes_held[batch])
        _titled(axes, f"batches of {batch:,}", "bytes in Redis a span held" if batch == BATCHES[0] else "")
        axes.grid(axis="x", visible=False)
    return figure


def _goal(axes: Axes, value: float) -> None:
    axes.axhline(value, color=INK, linestyle="--", linewidth=1)
    axes.annotate(
        f"goal {value:g}", (1, value), (0, 2), ("axes fraction", "data"), "offset points", ha="right", va="bottom"
    )


def _titled(axes: Axes, title: str, ylabel: str = "", xlabel: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel(ylabel)
    axes.set_xlabel(xlabel)


def _flat(report: Report) -> Figure:
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
    axes.set_ylim(bottom=0)
    _titled(axes, name, "CPU a span, µs")


def _singles(axes: Axes, points: list[Point]) -> None:
    names = [f"{point.series}\n({point.at:,})" for point in points]
    axes.bar(names, [p.ingest.us for p in points], 0.5, color=CLIENT)
    axes.bar(names, [p.flush.us for p in points], 0.5, [p.ingest.us for p in points], color=REDIS)
    _titled(axes, "the worst shapes", "CPU a span, µs")
    axes.grid(axis="x", visible=False)


def _calls(report: Report) -> Figure:
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
    _titled(axes, "how long one script call keeps Redis; the dashed line is 5 ms", xlabel="µs")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _steady(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    run = report.steady[0]
    seconds, held, _ = zip(*run.samples, strict=True)
    axes.plot(seconds, [each / 1e6 for each in held], color=CLIENT, label="measured")
    axes.axhline(run.expected_bytes / 1e6, color=INK, linestyle="--", linewidth=1, label="expected once it is flat")
    axes.set_ylim(bottom=0)
    _titled(axes, f"Redis memory at {run.rate:,.0f} spans/s", "MB", "seconds")
    axes.legend()
    return figure


def _balance(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    by_share = groupby(sorted(report.balance, key=lambda b: (b.hot_share, b.nodes)), lambda b: b.hot_share)
    for color, (share, each) in zip(LINES, by_share, strict=False):
        points = list(each)
        label = f"{100 * share:g} % of all spans in one trace" if share else "no hot trace"
        axes.plot([p.nodes for p in points], [p.typical for p in points], "o-", color=color, label=label)
        axes.fill_between(
            [p.nodes for p in points], [p.typical for p in points], [p.worst for p in points], color=color, alpha=0.2
        )
    axes.set_ylim(bottom=1)
    _titled(
        axes,
        "busiest node against the mean, windows of one second; shaded up to the worst window",
        "times the mean",
        "nodes",
    )
    axes.legend()
    return figure


def _pipeline(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    throughput, delay, cpu = figure.subplots(1, 3)
    names = [f"{each['broker']}\n{each['load']}" for each in report.pipeline]
    throughput.bar(names, [each["published_a_second"] for each in report.pipeline], 0.6, color=CLIENT)
    _titled(throughput, "published, spans/s")
    for key, color in (("delay_p99_s", REDIS), ("delay_p50_s", CLIENT)):
        delay.bar(names, [each[key] for each in report.pipeline], 0.6, color=color, label=key[6:9])
    _titled(delay, "delay past the deadline, s")
    delay.legend()
    bottom = [0.0] * len(names)
    groups = list(report.pipeline[0]["us_by_group"])
    for number, group in enumerate(groups):
        part = [each["us_by_group"].get(group, 0.0) for each in report.pipeline]
        cpu.bar(names, part, 0.6, bottom, label=group, color=mpl.colormaps["tab10"](number))
        bottom = [a + b for a, b in zip(bottom, part, strict=True)]
    _titled(cpu, "CPU a span, µs")
    cpu.legend(fontsize=8)
    return figure
