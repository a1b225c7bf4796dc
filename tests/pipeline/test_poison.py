"""A batch that kills whoever decodes it: set aside after a few deliveries, to look at and to send again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from buffer import Settings, SpanBuffer
from embedded.rabbitmq import RabbitMissing, RabbitServer, server_program
from embedded.redis import RedisServer
from embedded.worker import Worker
from tests.pipeline.killer import ARMED
from tests.pipeline.outside import span, span_id
from tests.pipeline.workers import environment_of

ROOT = Path(__file__).parents[2]
# Declared by the worker, who knows of what type it is.
INGEST = Queue("spans.ingest", Exchange("spans.ingest", no_declare=True), "spans.ingest", no_declare=True)
QUEUES = ("spans.ingest", "spans.flush", "spans.set-aside", "buffered-segments")
PATIENCE_S = 60.0
DEADLY = [span(1, name="deadly"), span(2, parent=1), span(3, parent=1)]


class Station:
    """A worker on one of the brokers, and what its neighbours see of it."""

    def __init__(self, directory: Path, settings: Settings, buffer_redis: RedisServer) -> None:
        self.environment = environment_of(settings)
        self.broker_url = settings.broker_url.get_secret_value()
        self.worker = Worker(directory, self.environment, include="tests.pipeline.killer")
        self.buffer = SpanBuffer(buffer_redis.client(), settings)
        self.killer = directory / ARMED

    def send(self, *batches: object) -> None:
        with Celery(broker=self.broker_url) as app:
            for batch in batches:
                app.send_task("spans.ingest", args=[batch], queue=INGEST)

    def set_aside(self, *options: str) -> list[str]:
        """What the command says, by lines."""
        command = [sys.executable, "-m", "celery", "-A", "tasks", "set-aside", *options]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | self.environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout.splitlines()

    def published(self, count: int) -> list[str]:
        """The ids of the next spans that come out."""
        found: list[str] = []

        def enough() -> bool:
            with Connection(self.broker_url) as connection:
                queue: Any = Queue("buffered-segments", channel=connection.default_channel)
                while message := queue.get():
                    found.extend(each["span_id"] for each in json.loads(message.body)["spans"])
                    message.ack()
            return len(found) >= count

        self.until(enough, f"{count} spans")
        return sorted(found)

    def until(self, condition: Callable[[], object], what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > until:
                said = self.worker.said().decode(errors="replace")[-6000:]
                raise AssertionError(f"Waited for {what} in vain. The worker said:\n{said}")
            time.sleep(0.1)


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    try:
        server_program()
    except RabbitMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with RabbitServer(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings that name it; ``redis`` is the one every pipeline test has."""
    kind = getattr(request, "param", "redis")
    if kind == "redis":
        yield {}
        return
    rabbit: RabbitServer = request.getfixturevalue("rabbit")
    yield {"broker_url": rabbit.url, "queue_type": kind}
    with Connection(rabbit.url) as connection:  # they keep their type as long as they live
        for queue in QUEUES:
            connection.default_channel.queue_delete(queue)


@pytest.fixture
def station(settings: Settings, broker: dict[str, str], buffer_redis: RedisServer, tmp_path: Path) -> Iterator[Station]:
    told = {**settings.model_dump(exclude_unset=True), **broker}
    station = Station(tmp_path / "station", Settings(**told), buffer_redis)
    station.worker.start()
    yield station
    station.worker.kill()
    station.buffer.client.close()


@pytest.mark.spanbuf(max_deliveries=2)
@pytest.mark.parametrize("broker", ["redis", "classic", "quorum"], indirect=True)
def test_a_batch_that_kills_is_set_aside_its_neighbours_go_on_and_it_can_be_sent_again(station: Station) -> None:
    station.killer.touch()
    station.send([span(11)], DEADLY, [span(12)])
    station.until(station.buffer.outcomes, "the batch to be set aside")
    station.send([span(13)])

    assert station.published(3) == [span_id(number) for number in (11, 12, 13)]
    assert station.buffer.outcomes() == {"set_aside.deliveries": 3}
    assert station.worker.said().count(b"WorkerLostError") >= 1

    [shown] = station.set_aside()
    assert "deadly" in shown
    station.killer.unlink()
    [told] = station.set_aside("--send-again")
    assert told == f"sent again: {shown.split()[0]}"
    assert station.published(3) == [span_id(number) for number in (1, 2, 3)]
    assert station.set_aside() == []


@pytest.mark.spanbuf(max_deliveries=1)
def test_a_batch_that_is_handed_back_because_the_buffer_takes_nothing_is_no_poison(station: Station) -> None:
    """Redis answers, also when asked how often it came, but stores nothing."""
    with station.buffer.client as redis:
        redis.execute_command("ACL", "SETUSER", "default", "-evalsha")
        station.send([span(1)])
        station.until(lambda: station.worker.said().count(b"Batch not acknowledged") >= 3, "it to be handed back")

        redis.execute_command("ACL", "SETUSER", "default", "+@all")

    assert station.published(1) == [span_id(1)]
    assert station.buffer.outcomes() == {}
    assert station.set_aside() == []
