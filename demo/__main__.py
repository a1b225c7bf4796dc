"""`make demo`: recorded spans through the whole pipeline, with the worker killed on the way.

Exit status 0: every span that was sent came out. 1: not so, or it could not be run; then it says why.
"""

from __future__ import annotations

import gc
import os
import sys

import click
from rich.console import Console

from demo.play import Play
from demo.recordings import NAMES, Recorded, batches
from demo.replay import Pace, first_spans
from demo.report import failure, introduction, ledger_table, verdict
from demo.screen import Screen
from demo.waterfall import choose, waterfall
from embedded.child import signals_exit
from embedded.redis import RedisFailed, RedisMissing
from embedded.worker import WorkerFailed

WIDEST = 120


@click.command(help="Replays recorded spans through the whole pipeline and kills the worker on the way.")
@click.option("--recording", type=click.Choice(NAMES), default=NAMES[0], show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=20, show_default=True, help="To replay all of it in.")
@click.option("--spans", type=click.IntRange(1), help="Send only so many, at the same speed.")
def main(recording: str, seconds: float, spans: int | None) -> None:
    for name in [name for name in os.environ if name.startswith("SPANBUF_")]:
        del os.environ[name]  # the demo is the same for everybody
    console = Console(highlight=False)
    try:
        with signals_exit():
            sound = run(console, recording, seconds, spans)
    except (RedisFailed, RedisMissing, WorkerFailed) as error:
        console.print(failure(error), soft_wrap=True)
        sound = False
    except SystemExit:
        console.print("Stopped. Its processes and its directory are gone.")
        raise
    sys.exit(0 if sound else 1)


def run(console: Console, recording: str, seconds: float, most: int | None) -> bool:
    with Screen(console) as screen:
        screen.doing(f"reading {recording}")
        whole = read(recording)
        pace = Pace.to_last(seconds, whole)
        sent = list(first_spans(whole, most or sys.maxsize))
        watched = choose(span for batch in sent for span in batch.spans)
        screen.say(introduction(recording, sent, pace))
        play = Play(sent, pace, watched, screen)
        balance = play.run()
    width = min(console.width, WIDEST)
    console.print("", waterfall(play.published, width=width), "", sep="\n")
    console.print(ledger_table(balance, seconds=screen.elapsed_s), "", sep="\n")
    for line in verdict(balance, play.ledger.missing()):
        console.print(line, soft_wrap=True)
    return balance.sound


def read(recording: str) -> list[Recorded]:
    """In memory, and out of the collector's sight: it would look at a million values again and again."""
    gc.disable()
    whole = list(batches(recording))
    gc.freeze()
    gc.enable()
    return whole


if __name__ == "__main__":
    main()
