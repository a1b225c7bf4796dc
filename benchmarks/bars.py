"""The bars: CPU and bytes a span against the others, and the pipeline."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.bench import BATCHES
from benchmarks.drawing import CLIENT, INK, REDIS, titled
from benchmarks.figures import Report, Yardstick
from benchmarks.peers import GOAL, PEER, SKETCH


def cost(report: Report) -> Figure:
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
        titled(axes, f"batches of {batch:,}", "CPU a span, µs, ingest to clean-up" if batch == BATCHES[0] else "")
        axes.grid(axis="x", visible=False)
    figure.axes[1].legend()
    return figure


def bytes_held(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, batch in zip(figure.subplots(1, 2, sharey=True), BATCHES, strict=True):
        bars = [(side.name, side.bytes_held[batch]) for side in (PEER, SKETCH)]
        bars += [(_label(y), y.best.ingest.bytes_held) for y in _of(report, batch)]
        axes.bar(*zip(*bars, strict=True), color=REDIS, width=0.6)
        for at, (_, value) in enumerate(bars):
            axes.annotate(f"{value:,.0f}", (at, value), ha="center", va="bottom")
        _goal(axes, GOAL.bytes_held[batch])
        titled(axes, f"batches of {batch:,}", "bytes in Redis a span held" if batch == BATCHES[0] else "")
        axes.grid(axis="x", visible=False)
    return figure


def pipeline(report: Report) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    throughput, delay, cpu = figure.subplots(1, 3)
    names = [f"{each['broker']}\n{each['load']}" for each in report.pipeline]
    throughput.bar(names, [each["published_a_second"] for each in report.pipeline], 0.6, color=CLIENT)
    titled(throughput, "published, spans/s")
    for key, color in (("delay_p99_s", REDIS), ("delay_p50_s", CLIENT)):
        delay.bar(names, [each[key] for each in report.pipeline], 0.6, color=color, label=key[6:9])
    titled(delay, "delay past the deadline, s")
    delay.legend()
    bottom = [0.0] * len(names)
    groups = list(report.pipeline[0]["us_by_group"])
    for number, group in enumerate(groups):
        part = [each["us_by_group"].get(group, 0.0) for each in report.pipeline]
        cpu.bar(names, part, 0.6, bottom, label=group, color=mpl.colormaps["tab10"](number))
        bottom = [a + b for a, b in zip(bottom, part, strict=True)]
    titled(cpu, "CPU a span, µs")
    cpu.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    return figure


def _of(report: Report, batch: int) -> list[Yardstick]:
    return [y for y in report.yardstick if y.batch == batch]


def _label(y: Yardstick) -> str:
    return "ours,\ntrained" if y.training else "ours"


def _goal(axes: Axes, value: float) -> None:
    axes.axhline(value, color=INK, linestyle="--", linewidth=1)
    axes.annotate(
        f"goal {value:g}", (1, value), (0, 2), ("axes fraction", "data"), "offset points", ha="right", va="bottom"
    )
