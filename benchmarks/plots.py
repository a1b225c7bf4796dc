"""The figures as SVG, one file a picture, equal byte for byte for equal figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks import bars, curves
from benchmarks.drawing import STYLE
from benchmarks.figures import Report


def write_plots(report: Report, directory: Path) -> list[Path]:
    """Of the sections that were measured."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, tuple[bool, Callable[[Report], Figure]]] = {
        "cost": (bool(report.yardstick), bars.cost),
        "bytes": (bool(report.yardstick), bars.bytes_held),
        "flat": (bool(report.flat), curves.flat),
        "calls": (bool(report.calls), curves.calls),
        "steady": (bool(report.steady), curves.steady),
        "balance": (bool(report.balance), curves.balance),
        "pipeline": (bool(report.pipeline), bars.pipeline),
    }
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # its keys are literals
        return [_write(draw(report), directory / f"{name}.svg") for name, (there, draw) in drawn.items() if there]


def _write(figure: Figure, path: Path) -> Path:
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return path
