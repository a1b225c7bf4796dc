"""`make run`: the pipeline in the foreground, for real use on one machine.

Spans and tasks are kept in `.span-buffer/` under the current directory: each is on disk before it is
acknowledged, so neither Ctrl-C nor a power cut takes one away, and the next start goes on where this one was,
on the same ports. Access is open to every user of this machine, and to nobody else.
"""

import fcntl
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape

from buffer import Settings, SpanBuffer
from embedded.child import signals_exit
from embedded.redis import RedisFailed, RedisMissing
from embedded.stack import Stack
from embedded.worker import WorkerFailed

DIRECTORY = Path(".span-buffer")
_DRAIN_S = 60.0


class AlreadyRunning(RuntimeError):
    """Another `make run` uses this directory."""


def main() -> int:
    console = Console(highlight=False, soft_wrap=True)
    try:
        with signals_exit(), exclusive(DIRECTORY):
            run(console)
            return 0
    except (AlreadyRunning, RedisFailed, RedisMissing, WorkerFailed) as error:
        console.print(f"[bold red]span-buffer does not run:[/] {escape(str(error))}")
        return 1


def run(console: Console) -> None:
    with Stack(DIRECTORY, keep=True, ports=stored_ports(DIRECTORY)) as stack:
        store_ports(DIRECTORY, stack)
        console.print(greeting(stack))
        try:
            watch(stack, console)
        except SystemExit:
            said = f"Draining: no new tasks, up to {_DRAIN_S:.0f} s for those in hand. Once more stops now."
            console.print("\n" + said)
            drained = stack.worker.stop(_DRAIN_S)
            console.print(farewell(stack, drained))


def watch(stack: Stack, console: Console) -> NoReturn:
    """Starts a worker that ended again; without one of its Redis the pipeline cannot go on."""
    while True:
        time.sleep(1.0)
        for server in (stack.buffer, stack.broker):
            if not server.running():
                raise RedisFailed(f"A Redis server ended; see {server.log}. What was acknowledged is on disk.")
        if not stack.worker.running():
            console.print(f"The worker ended, see {stack.worker.log}. Starting it again; its tasks come back.")
            stack.worker.start()


def greeting(stack: Stack) -> str:
    return f"""\
[bold]span-buffer runs[/], everything in {DIRECTORY}/ and kept there. Ctrl-C drains and stops.

[bold]Send[/]      from celery import Celery
          Celery(broker="{stack.broker.url}").send_task("spans.ingest", args=[[...]], queue="spans.ingest")
[bold]Receive[/]   queue buffered-segments on {stack.broker.url}, one message a segment
[bold]Watch[/]     tail -f {stack.worker.log}
"""


def farewell(stack: Stack, drained: bool) -> str:
    done = "Drained." if drained else "Stopped; tasks that were cut short run again after the next start."
    with stack.buffer.client() as client:
        kept = SpanBuffer(client, Settings(redis_url=SecretStr(stack.buffer.url))).depth()
    return f"{done} Segments that stay in {DIRECTORY}/: {kept:,}. `make run` goes on with them."


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Two pipelines in one directory would write the same files. The lock goes with the process."""
    directory.mkdir(mode=0o700, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"another `make run` uses {directory.absolute()}. Stop it, or run this one elsewhere."
            ) from None
        yield


def stored_ports(directory: Path) -> tuple[int, int] | None:
    """Chosen at the first start and then kept: senders are told an address once."""
    file = directory / "ports.json"
    if not file.exists():
        return None
    ports = json.loads(file.read_text())
    return int(ports["buffer"]), int(ports["broker"])


def store_ports(directory: Path, stack: Stack) -> None:
    ports = {"buffer": stack.buffer.port, "broker": stack.broker.port}
    (directory / "ports.json").write_text(json.dumps(ports) + "\n")


if __name__ == "__main__":
    sys.exit(main())
