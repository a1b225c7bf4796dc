"""Loaded into the workers under chaos (``--include``): they die at named steps, and their clock can be set.

The functions at each boundary are replaced by themselves plus a look at the warrants; the code under test knows
nothing of it. The worker's directory lies in that of the run: warrants are there, its clock's offset is in its own.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import amqp

import embedded.quiet  # noqa: F401
from buffer import SpanBuffer, scripts
from buffer.scripts import Command, Script
from chaos.files import CLOCK, ORPHANS
from chaos.warrants import Step, Warrants, Whom

RUN = Path.cwd().parent
_warrants = Warrants(RUN)
_Function = Callable[..., Any]


def reached(step: Step) -> None:
    match _warrants.take(step):
        case Whom.CHILD:
            os.kill(os.getpid(), signal.SIGKILL)
        case Whom.WORKER:
            os.killpg(0, signal.SIGKILL)


def dies_after(owner: object, name: str, step: Step) -> None:
    """At the step when the function has returned something."""
    function: _Function = getattr(owner, name)

    def then(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if result:
            reached(step)
        return result

    setattr(owner, name, then)


def dies_after_script(script: Script, step: Step, function: _Function) -> _Function:
    def then(client: object, commands: Sequence[Command], *args: Any, **kwargs: Any) -> Any:
        replies = function(client, commands, *args, **kwargs)
        if commands and commands[0].script is script:
            reached(step)
        return replies

    return then


def dies_after_publishing() -> None:
    """RabbitMQ has not confirmed yet; Redis has the message, and nobody has been told."""
    rabbitmq: _Function = amqp.Channel.basic_publish
    own: Any = import_module("tasks.transport").Channel
    redis: _Function = own.publish_together

    def to_rabbitmq(self: object, message: object, exchange: str = "", *args: Any, **kwargs: Any) -> Any:
        sent = rabbitmq(self, message, exchange, *args, **kwargs)
        if exchange == "segments":
            reached(Step.CONFIRM)
        return sent

    def to_redis(self: object, *args: Any, **kwargs: Any) -> None:
        redis(self, *args, **kwargs)
        reached(Step.CONFIRM)

    setattr(amqp.Channel, "basic_publish", to_rabbitmq)  # noqa: B010
    setattr(own, "publish_together", to_redis)  # noqa: B010


def clock_of_its_own() -> None:
    """Wherever the pipeline reads its clock by name."""
    right: Callable[[], int] = import_module("buffer.buffer").now

    def now() -> int:
        try:
            return right() + int(Path(CLOCK).read_text() or 0)
        except FileNotFoundError:
            return right()

    for name, module in list(sys.modules.items()):
        if name.startswith(("buffer", "tasks")) and getattr(module, "now", None) is right:
            setattr(module, "now", now)  # noqa: B010


def counts_orphans() -> None:
    sweep: _Function = SpanBuffer.sweep

    def counting(self: SpanBuffer, **kwargs: Any) -> Any:
        swept = sweep(self, **kwargs)
        if swept.requeued:
            with (RUN / ORPHANS).open("a") as orphans:
                orphans.write(f"{swept.requeued}\n")
        return swept

    setattr(SpanBuffer, "sweep", counting)  # noqa: B010


def install() -> None:
    for script, step in ((scripts.APPEND, Step.QUEUE), (scripts.CLEANUP_SEGMENT, Step.HALVES)):
        setattr(scripts, "run", dies_after_script(script, step, scripts.run))  # noqa: B010
    dies_after(SpanBuffer, "append", Step.INGESTED)
    dies_after(SpanBuffer, "claim", Step.FAN_OUT)
    dies_after(SpanBuffer, "load", Step.PUBLISH)
    dies_after_publishing()
    dies_after(import_module("tasks.flush"), "_publish", Step.CLEAN_UP)
    dies_after(SpanBuffer, "cleanup", Step.CLEANED)
    clock_of_its_own()
    counts_orphans()


install()
