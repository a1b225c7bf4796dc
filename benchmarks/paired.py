"""Two versions of the library against each other: the yardstick on both, by turns, A B A B.

Machines drift: what ran ten minutes ago is no measure of what runs now. Both sides run this checkout's benchmarks on
the same spans; only `buffer` and `lua` are the other's, so an older version needs none of what measures it. Every run
is a process of its own with a Redis of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console

from benchmarks.bench import Plan
from benchmarks.figures import Report, Yardstick
from benchmarks.machine import ROOT, commit
from benchmarks.table import Table
from embedded.child import scratch_directory

MEASURED = ("buffer", "lua")
MEASURING = ("benchmarks", "demo", "embedded")


class ComparisonFailed(RuntimeError):
    """One side did not come to figures; carries the end of what it said."""


def compare(against: str, plan: Plan, pairs: int, console: Console) -> Table:
    with scratch_directory("span-buffer-paired") as directory, _checkout(against, directory) as other:
        sides = {"this": _side(directory / "this", ROOT), "other": _side(directory / "other", other)}
        found: dict[str, list[Report]] = {name: [] for name in sides}
        for number in range(pairs):
            for name, side in sides.items():
                with console.status(f"pair {number + 1} of {pairs}: {name}"):
                    found[name].append(_measured(side, plan))
        return _table(found["this"], found["other"], f"{commit(ROOT)} against {against} ({commit(other)})")


@contextmanager
def _checkout(against: str, directory: Path) -> Iterator[Path]:
    """A directory as it is, or a git ref in a worktree for as long as it is needed."""
    if Path(against, "buffer").is_dir():
        yield Path(against).resolve()
        return
    tree = directory / "tree"
    _git("worktree", "add", "--detach", "--force", str(tree), against)
    try:
        yield tree
    finally:
        _git("worktree", "remove", "--force", str(tree))


def _git(*words: str) -> None:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ComparisonFailed(f"git {' '.join(words)} failed, nothing was measured: {done.stderr.strip()}")


def _side(directory: Path, tree: Path) -> Path:
    """This checkout's benchmarks beside that tree's library: first on the path, before anything that is installed."""
    directory.mkdir()
    for name in MEASURING:
        (directory / name).symlink_to(ROOT / name)
    for name in MEASURED:
        (directory / name).symlink_to(tree / name)
    return directory


def _measured(side: Path, plan: Plan) -> Report:
    figures = side / "figures.json"
    size = ["--short"] if plan.short else []
    words = ["--only", "yardstick", "--repeats", "1", "--spans", str(plan.spans), "--json", str(figures), *size]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks", *words],
        cwd=side, env={**os.environ, "PYTHONPATH": str(side)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ComparisonFailed(f"The side {side.name} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return msgspec.json.decode(figures.read_bytes(), type=Report)


MEASURES: dict[str, Callable[[Yardstick], float]] = {
    "ingest: client CPU, us": lambda y: y.best.ingest.client_us,
    "ingest: Redis CPU, us": lambda y: y.best.ingest.redis_us,
    "flush: client CPU, us": lambda y: y.best.flush.client_us,
    "flush: Redis CPU, us": lambda y: y.best.flush.redis_us,
    "together, us": lambda y: y.best.us,
    "together, in SETs": lambda y: y.together_in_sets,
    "commands in ingest": lambda y: y.best.ingest.commands,
    "bytes held": lambda y: y.best.ingest.bytes_held,
    "bytes after clean-up": lambda y: y.best.left_bytes,
    "floor: SET a span, us": lambda y: y.floor.set_a_span.us,
    "missing + twice": lambda y: y.best.missing + y.best.twice,
}


def _table(ours: list[Report], theirs: list[Report], title: str) -> Table:
    rows: list[tuple[str, ...]] = []
    for first in ours[0].yardstick:
        trained = bool(first.training)
        a, b = ([_same(report, first.batch, trained) for report in side] for side in (ours, theirs))
        label = f"{first.batch:,}{', trained' if trained else ''}"
        for name, of in MEASURES.items():
            rows.append((name, label, *_compared(list(map(of, a)), list(map(of, b)))))
    return Table(
        title,
        ("a span", "batch", "this", "other", "this / other", "from", "to"),
        rows,
        "Medians of the runs; the ratio is the median of the pairs, with the lowest and the highest. A side that "
        "cannot be trained stands without a dictionary.",
    )


def _same(report: Report, batch: int, trained: bool) -> Yardstick:
    """The other side may have nothing to train."""
    found = [y for y in report.yardstick if y.batch == batch]
    return next((y for y in found if bool(y.training) is trained), found[0])


def _compared(a: list[float], b: list[float]) -> tuple[str, ...]:
    ratios = [x / y for x, y in zip(a, b, strict=True) if y]
    spread = (f"{median(ratios):.2f}", f"{min(ratios):.2f}", f"{max(ratios):.2f}") if ratios else ("-", "-", "-")
    return (f"{median(a):,.1f}", f"{median(b):,.1f}", *spread)
