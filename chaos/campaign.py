"""One broker's run: everything is started, spans are sent, things die, calm returns, and the books are closed.

Sender -> broker -> workers -> buffer -> workers -> broker -> consumer, each a process or a thread of its own as in use.
Everything is started here and ends with the block, however that is left; nothing is decided here about spans.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from pydantic import SecretStr

from buffer import Settings, SpanBuffer
from buffer.errors import BufferUnavailable
from chaos.account import Account
from chaos.brokers import REDELIVERY_S, Broker, Server
from chaos.downstream import Downstream
from chaos.executioner import Executioner
from chaos.files import ORPHANS
from chaos.fleet import Fleet
from chaos.plan import Plan
from chaos.result import Result
from chaos.screen import Screen
from chaos.sender import PersistentSender
from chaos.warrants import Warrants
from chaos.weather import CLOCK_JUMPS_MS, Weather
from chaos.workload import workload
from demo.ledger import Balance
from embedded.redis import RedisServer

MAX_QUEUED = 400
SETTINGS = {
    "SPANBUF_ROOT_TIMEOUT": "1",
    "SPANBUF_TIMEOUT": "4",
    "SPANBUF_FLUSH_INTERVAL": "0.5",
    "SPANBUF_FLUSH_CHUNK": "20",
    "SPANBUF_TASK_TIME_LIMIT": "8",
    "SPANBUF_LEASE": str(REDELIVERY_S),
    "SPANBUF_VISIBILITY_TIMEOUT": str(REDELIVERY_S),
    "SPANBUF_PUBLISH_TIMEOUT": "3",
    "SPANBUF_SWEEP_INTERVAL": "15",
    "SPANBUF_MAX_QUEUED_MESSAGES": str(MAX_QUEUED),
    "SPANBUF_MAX_DELIVERIES": "100000",  # so many kills in so little time: a batch that meets ten is no poison
}
"""Recovery in seconds where in use it is minutes."""
LOOK_EVERY_S = 0.1
COUNT_EVERY_S = 1.0
SETTLED_S = REDELIVERY_S + 2.0
"""Without a message for so long, and with an empty buffer, nothing more comes, no repeat either."""
PATIENCE_S = 2 * REDELIVERY_S + max(CLOCK_JUMPS_MS) / 1000 + 60.0
"""To call spans lost that are on their way would be worse than to wait."""
SLACK = 3
"""Times the planned seconds after which a run that does not get through is given up."""


class Campaign:
    def __init__(self, broker: Broker, plan: Plan, directory: Path, screen: Screen) -> None:
        self._broker = broker
        self._plan = plan
        self._directory = directory
        self._screen = screen
        self._account = Account()
        self._server: Server = broker.server(directory / "broker")
        self._buffer = RedisServer(directory / "buffer", keep=True)
        self._counted = (0.0, 0, dict[str, int]())

    def run(self) -> Result:
        with self._servers(), self._workers() as self._fleet, self._clients():
            self._screen.say(f"{self._broker.title}: sending and killing for {self._plan.seconds:.0f} s")
            self._reign()
            self._screen.say("calm; waiting for the rest")
            self._weather.calm()
            self._executioner.warrants.withdraw()
            self._await_rest()
            return self._result()

    @contextmanager
    def _servers(self) -> Iterator[None]:
        self._screen.say(f"{self._broker.title}: starting")
        try:
            self._buffer.start()
            self._server.start()
            yield
        finally:
            self._server.kill()
            self._buffer.kill()

    @contextmanager
    def _workers(self) -> Iterator[Fleet]:
        environment = {
            **SETTINGS,
            **self._broker.settings,
            "SPANBUF_REDIS_URL": self._buffer.url,
            "SPANBUF_BROKER_URL": self._server.url,
            "TMPDIR": str(self._directory),
        }
        fleet = Fleet(self._directory, environment, self._plan.chance("fleet"))
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.kill()

    @contextmanager
    def _clients(self) -> Iterator[None]:
        address = (self._server.url, self._broker.client_options)
        self._executioner = Executioner(self._plan, Warrants(self._directory), self._fleet)
        self._started = time.monotonic()
        with (
            PersistentSender(*address, workload(self._plan.spans), self._account.ledger, self._allowed) as self._sender,
            Downstream(*address, self._account.publish) as self._downstream,
            Weather(
                self._server,
                self._buffer,
                self._fleet,
                self._downstream,
                full=MAX_QUEUED,
                gap_s=self._plan.gap_s,
                chance=self._plan.chance("weather"),
                say=self._screen.say,
            ) as self._weather,
        ):
            yield

    def _allowed(self) -> int:
        """Spans follow the clock, and the kills: the last ones are sent when nearly all are done."""
        by_clock = (time.monotonic() - self._started) / self._plan.seconds
        by_kills = (self._executioner.done + 3) / max(self._plan.kills, 1)
        return round(self._plan.spans * min(by_clock, by_kills, 1.0)) + 1

    def _reign(self) -> None:
        until = self._started + SLACK * self._plan.seconds
        while time.monotonic() < until:
            self._fleet.tend()
            kills = self._executioner.work(last_spans=self._sender.done)
            self._look(kills)
            if self._sender.done and kills >= self._plan.kills:
                return
            time.sleep(LOOK_EVERY_S)

    def _await_rest(self) -> None:
        moved_at, before = time.monotonic(), (-1, -1)
        while time.monotonic() - moved_at < PATIENCE_S:
            self._fleet.tend()
            balance = self._look(self._executioner.done)
            buffered = self._counted[1]
            if (balance.published, buffered) != before:
                moved_at, before = time.monotonic(), (balance.published, buffered)
            if not balance.lost and not buffered and self._downstream.quiet_s > SETTLED_S:
                return
            time.sleep(LOOK_EVERY_S)

    def _look(self, kills: int) -> Balance:
        """What went wrong in another thread is raised here, and else the figures are shown."""
        for part in (self._sender, self._downstream, self._weather):
            part.check()
        at, buffered, outcomes = self._counted
        if time.monotonic() - at > COUNT_EVERY_S:
            with suppress(BufferUnavailable):  # it is being killed
                buffered, outcomes = self._count()
            self._counted = (time.monotonic(), buffered, outcomes)
        balance = self._account.ledger.balance(outcomes)
        self._screen.show(
            f"kills {kills}/{self._plan.kills}  sent {balance.sent:,}/{self._plan.spans:,}  "
            f"published {balance.published:,}  repeats {balance.repeats:,}  buffered {buffered:,} segments"
        )
        return balance

    def _count(self) -> tuple[int, dict[str, int]]:
        with redis.Redis(port=self._buffer.port, socket_timeout=2, socket_connect_timeout=1) as client:
            buffer = SpanBuffer(client, Settings(redis_url=SecretStr(self._buffer.url)))
            return buffer.depth(), dict(buffer.outcomes())

    def _result(self) -> Result:
        buffered, outcomes = self._count()
        orphans = self._directory / ORPHANS
        missing = self._account.ledger.missing()
        return Result(
            broker=self._broker,
            plan=self._plan,
            balance=self._account.ledger.balance(outcomes),
            resent=self._sender.resent,
            changed=self._account.changed,
            orphans=sum(map(int, orphans.read_text().split())) if orphans.exists() else 0,
            buffered=buffered,
            at_steps=self._executioner.warrants.executed(),
            at_random=self._fleet.killed,
            events=self._weather.events,
            fullest=self._weather.fullest,
            seconds=time.monotonic() - self._started,
            missing=[f"project {n.project_id}, trace {n.trace_id}, span {n.span_id}" for n in missing[:5]],
        )
