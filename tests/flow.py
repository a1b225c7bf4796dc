"""A buffer with a clock of its own, that remembers what it published: the way of a span, step by step.

TTLs run in real time; everything else in the buffer runs on the clock that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from buffer import Claim, Receipt, Segment, Settings, Span, SpanBuffer, scripts
from buffer.load import Loaded
from buffer.model import Appended, Cleaned, Outcomes
from buffer.scripts import Client, Command

START_MS = 1_800_000_000_000


class Flow:
    def __init__(self, client: Client, **settings: Any) -> None:
        self.client = client
        self.settings = Settings(**{"train_interval": 0, **settings})  # a dictionary is looked for where it matters
        self.buffer = SpanBuffer(client, self.settings)
        self.now_ms = START_MS
        self.published: list[Segment] = []
        self.outcomes = Outcomes()

    def wait(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    def append(self, *spans: Span) -> Appended:
        appended = self.buffer.append(spans, now_ms=self.now_ms)
        self.outcomes += appended.outcomes
        return appended

    def claim(self) -> list[Claim]:
        return self.buffer.claim(now_ms=self.now_ms)

    def load(self, claims: Sequence[Claim] | None = None) -> Loaded:
        """``claims``, or what is due."""
        loaded = self.buffer.load(self.claim() if claims is None else claims, now_ms=self.now_ms)
        self.outcomes += loaded.outcomes
        return loaded

    def publish(self, segments: Sequence[Segment]) -> list[Receipt]:
        self.published += segments
        return [segment.receipt for segment in segments]

    def cleanup(self, receipts: Iterable[Receipt]) -> Cleaned:
        cleaned = self.buffer.cleanup(receipts, now_ms=self.now_ms)
        self.outcomes += cleaned.outcomes
        return cleaned

    def flush(self) -> list[Segment]:
        """Everything that is due now, all the way. The segments of this flush."""
        loaded = self.load()
        self.cleanup(self.publish(loaded))
        return loaded

    def drain(self) -> list[Segment]:
        """Until nothing is queued or claimed. The segments it took."""
        before = len(self.published)
        for _ in range(50):
            if not self.buffer.depth(now_ms=self.now_ms):
                return self.published[before:]
            self.wait(max(self.settings.timeout, self.settings.lease) + 1)
            self.flush()
        raise AssertionError("the queues do not become empty")

    @property
    def spans(self) -> list[Span]:
        """All that was published, in order, repeats included."""
        return [span for segment in self.published for span in segment.spans]


def keys(client: Client, kind: str = "?") -> list[bytes]:
    """Kinds: s segments, l indexes, q queues, c claims, o outcomes."""
    return sorted(client.scan_iter(match=f"span-buf:{kind}:*", count=1000))


def fields(client: Client, key: bytes) -> dict[bytes, bytes]:
    """Of a hash, or of a segment's list: what is named, by its name."""
    if client.type(key) == b"list":
        words: list[Any] = client.lrange(key, 0, -1)
        return dict(zip(words[::2], words[1::2], strict=True))
    return {bytes(field): bytes(value) for field, value in client.hgetall(key).items()}  # type: ignore[arg-type]


def damage(client: Client, segment: bytes, name: bytes, value: bytes | None) -> None:
    """Puts something else in the place of a part or a record, or adds it; None takes it out."""
    stored = fields(client, segment) | ({} if value is None else {name: value})
    if value is None:
        del stored[name]
    ttl_ms = client.pttl(segment)
    client.delete(segment)
    client.rpush(segment, *(word for pair in stored.items() for word in pair))
    client.pexpire(segment, ttl_ms)


def without_ttl(client: Client) -> list[bytes]:
    return [key for key in client.scan_iter(count=1000) if client.pttl(key) < 0]


def leftovers(client: Client) -> list[bytes]:
    """What must not be there after the last clean-up: anything but the traces' indexes."""
    return [key for kind in "sqc" for key in keys(client, kind)]


class Died(BaseException):
    """The process is gone. What it had sent to Redis is done, the rest never will be."""


@contextmanager
def dying_after(pipelines: int) -> Iterator[None]:
    """In this block the process dies before it sends one pipeline more than that to Redis."""
    sent, run = 0, scripts.run

    def dying(client: Client, commands: Sequence[Command], **options: Any) -> list[Any]:
        nonlocal sent
        if sent == pipelines:
            raise Died
        sent += 1
        return run(client, commands, **options)

    with pytest.MonkeyPatch.context() as patch, suppress(Died):
        patch.setattr(scripts, "run", dying)
        yield


@contextmanager
def in_between(pipelines: int, do: Callable[[], object]) -> Iterator[None]:
    """In this block somebody else does something when so many pipelines have been sent to Redis."""
    sent, run = 0, scripts.run

    def interrupted(client: Client, commands: Sequence[Command], **options: Any) -> list[Any]:
        nonlocal sent
        sent += 1
        if sent == pipelines + 1:
            do()
        return run(client, commands, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts, "run", interrupted)
        yield
    assert sent > pipelines
