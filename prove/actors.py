"""The tasks of the pipeline as actors: the same verbs in the same order as in `tasks/`, without Celery.

An actor runs one message. Each of its Redis commands, and each publish, is a step that the scheduler decides on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from buffer import Claim, Receipt
from buffer.errors import BufferUnavailable
from prove.client import Crashed, How
from prove.scenario import Batch

if TYPE_CHECKING:
    from prove.world import World


T = TypeVar("T")


class Task(StrEnum):
    INGEST = "ingest"
    FLUSH_DUE = "flush_due"
    PRODUCE = "produce"
    CLEANUP = "cleanup"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Message:
    name: str
    task: Task
    batch: Batch = ()
    claims: tuple[Claim, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    ahead_ms: int = 0


@dataclass(slots=True)
class Actor:
    """One delivery of one message. Not started until its first step."""

    name: str
    message: Message
    world: World
    waiting_for: object = None
    """The next step, once started."""
    steps: int = 0
    ended: bool = False
    _run: greenlet = field(init=False)

    def __post_init__(self) -> None:
        self._run = greenlet(self._body, getcurrent())

    def start(self) -> None:
        """Runs up to its first step."""
        if self.waiting_for is None:
            self.waiting_for = self._run.switch()

    def step(self, how: How) -> None:
        """Does the step it waits for, and runs on to the next."""
        self.start()
        if not self.ended:
            self.steps += 1
            self.waiting_for = self._run.switch(how)

    def crash(self) -> None:
        if self.waiting_for is not None and not self.ended:
            self._run.throw(Crashed)
        self.ended = True

    def _body(self) -> None:
        try:
            TASKS[self.message.task](self.world, self.message)
        except Crashed:
            pass
        finally:
            self.ended = True


def ingest(world: World, message: Message) -> None:
    buffer = world.buffer
    appended = _patiently(lambda: buffer.append(message.batch, now_ms=world.now_ms))
    world.client.step("acknowledges its message")
    world.acknowledged(message, appended)


def flush_due(world: World, message: Message) -> None:
    try:
        claims = world.buffer.claim(now_ms=world.now_ms + message.ahead_ms)
    except BufferUnavailable:
        return
    for start in range(0, len(claims), world.scenario.chunk):
        chunk = tuple(claims[start : start + world.scenario.chunk])
        world.send(Message(f"{message.name}.produce{start}", Task.PRODUCE, claims=chunk))


def produce(world: World, message: Message) -> None:
    try:
        loaded = world.buffer.load(message.claims)
    except BufferUnavailable:
        return
    world.outcomes.update(loaded.outcomes)
    receipts = []
    for segment in loaded:
        world.client.step(f"publishes {segment.flush_id[:6]}")
        world.published(segment)
        receipts.append(segment.receipt)
    if receipts:
        world.send(Message(f"{message.name}.cleanup", Task.CLEANUP, receipts=tuple(receipts)))


def cleanup(world: World, message: Message) -> None:
    buffer = world.buffer
    cleaned = _patiently(lambda: buffer.cleanup(message.receipts, now_ms=world.now_ms))
    world.outcomes.update(cleaned.outcomes)


def sweep(world: World, message: Message) -> None:
    try:
        world.buffer.sweep(now_ms=world.now_ms)
    except BufferUnavailable:
        return


def _patiently(call: Callable[[], T]) -> T:
    while True:
        try:
            return call()
        except BufferUnavailable:
            continue


TASKS: dict[Task, Callable[[World, Message], None]] = {
    Task.INGEST: ingest,
    Task.FLUSH_DUE: flush_due,
    Task.PRODUCE: produce,
    Task.CLEANUP: cleanup,
    Task.SWEEP: sweep,
}
