"""Real Celery workers on the transport, killed, cut off and stopped, with a stock sender; no message is lost.

At full length: SPANBUF_TEST_MESSAGES=5000 SPANBUF_TEST_KILLS=31 pytest tests/broker/test_worker_kill.py -s
"""
# mypy: allow-untyped-calls

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from kombu.connection import Connection
from kombu.transport.redis import Transport as StockTransport

from embedded.child import Child
from embedded.redis import RedisServer
from tests.broker.worker_app import QUEUES

MESSAGES = int(os.environ.get("SPANBUF_TEST_MESSAGES", "600"))
KILLS = int(os.environ.get("SPANBUF_TEST_KILLS", "6"))
ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # without a message done: it hangs


class Workers:
    """Workers one after the other, and what they have done together."""

    def __init__(self, broker: RedisServer, directory: Path) -> None:
        self.broker, self._directory = broker, directory
        self._ledger = directory / "ledger"
        self._running: list[Child] = []

    def send(self, numbers: range, takes_s: float = 0) -> None:
        with Connection(self.broker.url, transport=StockTransport) as connection:
            producer = connection.Producer()
            for number in numbers:
                task = [[number, takes_s], {}, {}]
                headers = {"task": "note", "id": str(number)}
                producer.publish(task, routing_key=QUEUES[number % 2], headers=headers, serializer="json")

    def start(self) -> Child:
        options = ["--concurrency=2", "--without-gossip", "--without-mingle", f"--queues={','.join(QUEUES)}"]
        worker = Child(
            [sys.executable, "-m", "celery", "-A", "tests.broker.worker_app", "worker", *options],
            log=self._directory / "worker.log",
            cwd=self._directory,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TEST_BROKER": self.broker.url,
                "TEST_LEDGER": str(self._ledger),
            },
        )
        self._running.append(worker)
        return worker

    def done(self) -> Counter[int]:
        return Counter(map(int, self._ledger.read_text().split())) if self._ledger.exists() else Counter()

    def wait(self, true: Callable[[], bool]) -> None:
        count, deadline = -1, 0.0
        while not true():
            if self.done().total() != count:
                count, deadline = self.done().total(), time.monotonic() + PATIENCE_S
            assert time.monotonic() < deadline, (self._directory / "worker.log").read_text()[-3000:]
            time.sleep(0.02)

    def wait_for(self, numbers: range) -> None:
        self.wait(lambda: self.done().keys() >= set(numbers))

    def nothing_left(self) -> bool:
        with self.broker.client() as redis:
            return not redis.exists(*QUEUES, "unacked", "unacked_index")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._running:
            worker.kill()


@pytest.fixture
def workers(own_redis: RedisServer, tmp_path: Path) -> Iterator[Workers]:
    with Workers(own_redis, tmp_path) as workers:
        yield workers


def test_killed_again_and_again(workers: Workers) -> None:
    chance = random.Random(1)
    workers.send(range(MESSAGES), takes_s=0.004)
    for kill in range(1, KILLS + 1):
        worker = workers.start()
        goal = kill * MESSAGES // (KILLS + 1)
        workers.wait(lambda goal=goal: len(workers.done()) >= goal)  # type: ignore[misc]
        time.sleep(chance.random() / 50)  # at any step of the next message
        worker.kill()
    workers.start()
    workers.wait_for(range(MESSAGES))

    done = workers.done()
    print(f"{MESSAGES} messages, {KILLS} kills: lost 0, run again {done.total() - len(done)}")
    assert set(done) == set(range(MESSAGES))
    workers.wait(workers.nothing_left)


def test_stopped_in_the_middle(workers: Workers) -> None:
    """SIGTERM: what runs is finished, what waits goes back at once, and nothing is done twice."""
    workers.send(range(40), takes_s=0.05)
    worker = workers.start()
    workers.wait(lambda: len(workers.done()) >= 10)
    assert worker.stop(grace_s=30)
    assert worker.exit_status == 0
    done = workers.done()
    with workers.broker.client() as redis:
        assert redis.hlen("unacked") == 0
        assert done.total() + redis.llen(QUEUES[0]) + redis.llen(QUEUES[1]) == 40

    workers.start()
    workers.wait_for(range(40))
    assert workers.done() == Counter(range(40))


def test_cut_off_flushed_and_restarted(workers: Workers) -> None:
    """Each in the midst of work, and again while the worker rests."""

    def cut() -> None:
        with workers.broker.client() as redis:
            redis.client_kill_filter(_type="normal", skipme=True)

    def flush() -> None:
        with workers.broker.client() as redis:
            redis.script_flush()

    def restart() -> None:
        workers.broker.kill()
        workers.broker.start()

    worker = workers.start()
    numbers = range(0)
    for disturb in (cut, flush, restart) * 2:
        numbers = range(numbers.stop, numbers.stop + 40)
        workers.send(numbers, takes_s=0.002)
        workers.wait(lambda numbers=numbers: numbers[10] in workers.done())  # type: ignore[misc]
        disturb()
        workers.wait_for(numbers)
        workers.wait(workers.nothing_left)
        disturb()
    workers.send(range(numbers.stop, numbers.stop + 1))
    workers.wait_for(range(numbers.stop + 1))
    assert worker.exit_status is None  # still the same
