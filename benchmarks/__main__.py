"""``make bench``: what a span costs, against floors measured in the same run. Tables, JSON, plots and documents."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.bench import SHORT, Plan
from benchmarks.documents import write_documents, write_json
from benchmarks.figures import Report
from benchmarks.paired import compare
from benchmarks.plots import write_plots
from benchmarks.scaling import scaling
from benchmarks.sections import SECTIONS, run
from benchmarks.tables import tables
from embedded.child import signals_exit

PRINTED = 180
"""Columns, into a file or a pipe."""


def main(argv: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(argv)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PRINTED)
    with signals_exit():
        if options.against:
            console.print(compare(options.against, _plan(options), options.pairs, console).rich())
            return
        report = _stored(options.show) if options.show else _run(options, console)
    for made in [*tables(report).values(), scaling(report)]:
        console.print(*[table.rich() for table in made], sep="\n")
    console.print(f"{report.machine.processor}, {report.machine.cores} cores, Redis {report.machine.redis}, "
                  f"commit {report.machine.commit}, {report.took_s:.0f} s")  # fmt: skip
    if options.json:
        write_json(report, options.json)
    if options.plots:
        write_plots(report, options.plots)
    if options.write_docs:
        write_documents(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="this section; may be given again")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="small counts, under a minute: that it runs, not how fast")
    size.add_argument("--long", action="store_true", help="ten million spans buffered, too, and RabbitMQ")
    parser.add_argument("--spans", type=int, help="of the yardstick")
    parser.add_argument("--repeats", type=int, help="of the yardstick")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--plots", type=Path, help="write the plots into that directory")
    parser.add_argument("--write-docs", action="store_true", help="put tables and plots into docs/")
    parser.add_argument("--show", type=Path, metavar="JSON", help="measure nothing, show figures written before")
    parser.add_argument("--against", metavar="REF", help="compare the yardstick with a git ref's or another checkout's")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each side, alternating, with --against")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    plan = SHORT if options.short else Plan()
    if options.long:
        plan = replace(plan, buffered=(*plan.buffered, 10_000_000), brokers=("redis", "rabbitmq"))
    given = {name: getattr(options, name) for name in ("spans", "repeats") if getattr(options, name)}
    return replace(plan, **given)


def _stored(path: Path) -> Report:
    return msgspec.json.decode(path.read_bytes(), type=Report)


def _run(options: argparse.Namespace, console: Console) -> Report:
    names = options.only or list(SECTIONS)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        return run(names, _plan(options), _Screen(progress, len(names)))


class _Screen:
    def __init__(self, progress: Progress, sections: int) -> None:
        self._progress = progress
        self._task = progress.add_task("starting Redis", total=sections)

    def doing(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def done(self, section: str) -> None:
        self._progress.advance(self._task)
        self._progress.print(f"{section} done")


if __name__ == "__main__":
    main()
