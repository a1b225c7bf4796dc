"""`make chaos`: real workers and real brokers, killed again and again; at the end every span is accounted for.

Exit status 0: nothing was lost, and every repeat was a true one. 1: not so, or it could not be run; then it says why.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from chaos.brokers import BROKERS, Broker
from chaos.campaign import Campaign
from chaos.plan import Plan
from chaos.report import ledger, verdict
from chaos.result import Result
from chaos.screen import Screen
from embedded.child import scratch_directory, signals_exit
from embedded.rabbitmq import RabbitFailed, RabbitMissing
from embedded.redis import RedisFailed, RedisMissing
from embedded.worker import WorkerFailed
from tasks.transport import claim_atomically

SPANS, KILLS = 100_000, 300


@click.command(help="Kills the pipeline's processes while real spans run through it, and compares what comes out.")
@click.option("--broker", type=click.Choice([*BROKERS, "all"]), default="all", show_default=True)
@click.option("--spans", type=click.IntRange(1), default=SPANS, show_default=True, help="For each broker.")
@click.option("--kills", type=click.IntRange(0), default=KILLS, show_default=True, help="For each broker.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides the order of kills and events.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this directory, and leave the logs there.")
def main(broker: str, spans: int, kills: int, seed: int, keep: Path | None) -> None:
    for name in [name for name in os.environ if name.startswith("SPANBUF_")]:
        del os.environ[name]  # chaos is the same for everybody
    claim_atomically()
    console = Console(highlight=False)
    plan = Plan(spans, kills, seed)
    chosen = list(BROKERS.values()) if broker == "all" else [BROKERS[broker]]
    try:
        with signals_exit():
            sound = [run(console, one, plan, keep, may_miss=broker == "all") for one in chosen]
    except SystemExit:
        console.print("Stopped. Its processes are gone.")
        raise
    sys.exit(0 if all(sound) else 1)


def run(console: Console, broker: Broker, plan: Plan, keep: Path | None, *, may_miss: bool) -> bool:
    try:
        with Screen(console) as screen, directory_for(broker, keep) as directory:
            result = Campaign(broker, plan, directory, screen).run()
    except RabbitMissing as missing:
        skipped = may_miss and not os.environ.get("CI")
        console.print(f"{broker.title}: {'skipped' if skipped else 'cannot be run'}. {missing}", soft_wrap=True)
        return skipped
    except (RedisFailed, RedisMissing, RabbitFailed, WorkerFailed) as error:
        console.print(f"[bold red]{broker.title} could not be run.[/] {escape(str(error))}", soft_wrap=True)
        return False
    tell(console, result)
    return result.sound


def tell(console: Console, result: Result) -> None:
    console.print("", f"[bold]{result.broker.title}[/]", ledger(result), "", sep="\n")
    for line in verdict(result):
        console.print(line, soft_wrap=True)


@contextmanager
def directory_for(broker: Broker, keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        directory = (keep / broker.name).absolute()
        directory.mkdir(parents=True)
        yield directory
        return
    with scratch_directory("span-buffer-chaos") as directory:
        yield directory


if __name__ == "__main__":
    main()
