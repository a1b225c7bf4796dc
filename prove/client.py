"""What the library holds for its Redis client: every command is handed to the scheduler before it runs.

Inside an actor, a pipeline is what it is on a real connection: commands of others may run between its commands, and a
crash may leave any prefix of it done. Outside of actors (drain, checks) a pipeline goes out in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from types import TracebackType
from typing import Any, Self

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from prove.wire import Wire, Word, Words

PROBES = ("EXISTS", "OBJECT")
"""Reads that no promise rests on: a pipeline of them is one step."""


class How(Enum):
    """What becomes of a step."""

    RUN = "runs"
    REFUSED = "is refused: out of memory"
    REPEAT = "timed out, the client sends its pipeline again"


class Crashed(BaseException):
    """Thrown into an actor: its process is gone."""


class StepEncoder:
    decode_responses = False


class StepClient:
    def __init__(self, wire: Wire, scheduler: greenlet) -> None:
        self.wire = wire
        self.scheduler = scheduler

    def get_encoder(self) -> StepEncoder:
        return StepEncoder()

    def pipeline(self, transaction: bool) -> StepPipeline:
        if transaction:
            raise ValueError("the buffer uses no transactions")
        return StepPipeline(self)

    def script_load(self, source: str) -> None:
        self.send([("SCRIPT", "LOAD", source)])

    def scan_iter(self, match: bytes, count: int) -> Iterator[bytes]:
        cursor: bytes | int = 0
        while True:
            cursor, found = self.send([("SCAN", cursor, "MATCH", match, "COUNT", count)])[0]
            yield from found
            if int(cursor) == 0:
                return

    def send(self, commands: list[Words]) -> list[Any]:
        if getcurrent() is self.scheduler or not commands:
            return self.wire.calls(commands)
        if all(words[0] in PROBES for words in commands):
            self.step("looks for former shards")
            return self.wire.calls(commands)
        while (replies := self._one_by_one(commands)) is None:
            pass
        return replies

    def _one_by_one(self, commands: list[Words]) -> list[Any] | None:
        replies = []
        for words in commands:
            how = self.step(words)
            replies.append(self.wire.refused(words) if how is How.REFUSED else self.wire.call(words))
            if how is How.REPEAT:
                return None
        return replies

    def step(self, what: Words | str) -> How:
        """Waits for the scheduler; says what becomes of the step."""
        how = self.scheduler.switch(what)
        assert isinstance(how, How)
        return how


class StepPipeline:
    def __init__(self, client: StepClient) -> None:
        self._client = client
        self._commands: list[Words] = []

    def execute_command(self, *words: Word) -> None:
        self._commands.append(words)

    def execute(self, raise_on_error: bool) -> list[Any]:
        if raise_on_error:
            raise ValueError("the buffer looks at each reply itself")
        commands, self._commands = self._commands, []
        return self._client.send(commands)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._commands = []
