"""How every plot looks."""

from __future__ import annotations

from matplotlib.axes import Axes

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


def titled(axes: Axes, title: str, ylabel: str = "", xlabel: str = "") -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel(ylabel)
    axes.set_xlabel(xlabel)
