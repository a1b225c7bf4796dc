"""Runs the buffer's steps, and what may go wrong between them, in many orders on a real Redis: none may lose a span."""

from __future__ import annotations

import sys

import click

from embedded.child import signals_exit
from prove.report import Report
from prove.run import Plan, replay_seed, run


@click.command(help=__doc__)
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long to try schedules by chance.")
@click.option("--schedules", type=int, help="Stop after so many by chance instead.")
@click.option("--seed", type=int, default=1, show_default=True, help="The first seed; the schedules follow from it.")
@click.option("--only", type=int, help="Run this schedule of the seed alone, and print every step of it.")
@click.option("--processes", type=int, default=2, show_default=True, help="Each with a Redis of its own.")
def main(minutes: float, schedules: int | None, seed: int, only: int | None, processes: int) -> None:
    with signals_exit():
        if only is not None:
            sys.exit(replay_seed(seed, only))
        sys.exit(run(Plan(seed, None if schedules else minutes * 60, schedules, processes), Report()))


if __name__ == "__main__":
    main()
