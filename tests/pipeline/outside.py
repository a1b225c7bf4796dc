"""The pipeline as others see it: spans are sent as a task, segments are read from a queue."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from kombu.connection import Connection
from kombu.entity import Queue
from pytest_celery import CeleryTestSetup

from buffer import Settings, SpanBuffer
from embedded.redis import RedisServer
from embedded.worker import Worker
from tests.pipeline import stop_at

_PATIENCE_S = 45.0
TRACE = "0af7651916cd43dd8448eb211c80319c"

Message = dict[str, Any]


def span(number: int, parent: int | None = None, **fields: object) -> dict[str, object]:
    """Number 10 has the id 000000000000000a; without a parent it is the root of a segment."""
    return {
        "organization_id": 1,
        "project_id": 1,
        "trace_id": TRACE,
        "span_id": span_id(number),
        "parent_span_id": None if parent is None else span_id(parent),
        "name": f"span {number}",
        "status": "ok",
        "is_remote": False,
        "start_timestamp": 1_700_000_000.0,
        "end_timestamp": 1_700_000_001.0,
        "received": 1_700_000_002.0,
        "retention_days": 30,
        **fields,
    }


def span_id(number: int) -> str:
    return f"{number:016x}"


class Pipeline:
    def __init__(self, setup: CeleryTestSetup, settings: Settings, buffer_redis: RedisServer) -> None:
        self.setup = setup
        self.buffer_redis = buffer_redis
        self.broker_redis: RedisServer = setup.broker.container.server
        self.worker: Worker = setup.worker.container.worker
        self.buffer = SpanBuffer(buffer_redis.client(), settings)
        self._connection = Connection(self.broker_redis.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.release()
        self.setup.app.close()
        self.buffer.client.close()

    def send(self, *args: object, **kwargs: object) -> None:
        """As another service does."""
        self.setup.app.send_task("spans.ingest", args=args, kwargs=kwargs, queue="spans.ingest")

    def segments(self, count: int) -> list[Message]:
        """The next messages, at least `count` of them; fails if they do not come."""
        found: list[Message] = []

        def received() -> bool:
            found.extend(self.waiting_segments())
            return len(found) >= count

        self.until(received, f"{count} segments")
        return found

    def waiting_segments(self) -> list[Message]:
        queue = Queue("buffered-segments", channel=self._connection.default_channel)
        found = []
        while message := queue.get():
            found.append(json.loads(message.body))
            message.ack()
        return found

    def all_segments(self) -> list[Message]:
        """Everything that comes out until nothing is left inside: no message, no segment."""
        found: list[Message] = []

        def settled() -> bool:
            found.extend(self.waiting_segments())
            return self.messages() == 0 and self.buffer.depth() == 0

        self.until(settled, "the pipeline to be empty")
        return found + self.waiting_segments()

    def messages(self) -> int:
        """Waiting for a worker or in its hands; beat's come and go."""
        with self.broker_redis.client() as client, client.pipeline(transaction=True) as at_once:
            at_once.llen("spans.ingest").llen("spans.flush").hlen("unacked")
            return sum(map(int, at_once.execute()))

    def ended(self, task: str) -> int:
        return stop_at.ended(self.worker.directory).count(task)

    def arm(self, step: str) -> None:
        """The worker dies at `before-TASK` or `after-TASK` (see `stop_at`)."""
        stop_at.arm(self.worker.directory, step)

    @contextmanager
    def held(self, step: str) -> Iterator[None]:
        """A task that comes to `before-TASK` waits there to the end of the block."""
        flag = self.worker.directory / f"hold-{step}"
        flag.touch()
        yield
        flag.unlink()

    def until_held(self, step: str) -> None:
        self.until((self.worker.directory / f"held-{step}").exists, f"a task to come to {step}")

    def restart_once_killed(self) -> None:
        """After the armed step took the worker down, and when what it held may be delivered again: a worker looks
        for such messages at its start, and then only every ten seconds."""
        self.until(lambda: not self.worker.running(), "the worker to be killed at the armed step")
        self.until(self._held_for_too_long, "the messages of the killed worker")
        self.worker.start()

    def _held_for_too_long(self) -> bool:
        with self.broker_redis.client() as broker:
            taken = broker.zrange("unacked_index", -1, -1, withscores=True)
        return not taken or taken[0][1] + self.buffer.settings.visibility_timeout < time.time()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not condition():
            if time.monotonic() > until:
                said = self.worker.said().decode(errors="replace")[-6000:]
                raise AssertionError(f"Waited for {what} in vain. The worker said:\n{said}")
            time.sleep(0.05)


def once(segments: Sequence[Message]) -> list[Message]:
    """Without repeats, as a consumer drops them: by flush id. A repeat that differs is a fault."""
    by_flush: dict[str, Message] = {}
    for segment in segments:
        assert by_flush.setdefault(segment["flush_id"], segment) == segment
    return list(by_flush.values())


def span_ids(segments: Sequence[Message]) -> list[str]:
    return sorted(span["span_id"] for segment in segments for span in segment["spans"])
