"""The whole pipeline on one machine: what it sustains from accepted to published, what a span costs which process.

Sender, broker, buffer, workers with beat, confirmed publishing and consumer share the cores. Wall rates depend on what
else the machine does; CPU a span does not, so `us_by_group` is the figure to work with. The delay is measured from
outside, and strictly: a segment's deadline is taken as the sending of its last batch plus `root_timeout`, so the wait
in the ingest queue counts as delay.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import SecretStr
from rich.console import Console

from benchmarks.course import cut
from benchmarks.library import OTHER_SEED, train
from benchmarks.traffic import POOL_SPANS, Form, Order, Pool, Sent, Taken, send, take
from benchmarks.yardstick import spans
from buffer import Settings, SpanBuffer
from buffer.settings import env_name
from embedded.child import scratch_directory, signals_exit
from embedded.rabbitmq import RabbitServer
from embedded.redis import RedisServer
from embedded.worker import Beat, Worker

BrokerName = Literal["redis", "rabbitmq"]
WARM_S, QUIET_S, DRAIN_S = 6.0, 8.0, 60.0
BEAT_S = 4.0
"""Beat's start is not a span's cost."""
QUICK = {"root_timeout": 2, "timeout": 4, "max_segment_age": 30}


@dataclass(frozen=True, slots=True)
class Figures:
    broker: str
    form: str
    batch: int
    accepted: int
    """Spans that the broker has taken from the sender."""
    accepted_a_second: float
    published_a_second: float
    """While the sender sent, without the first seconds."""
    us_by_group: Mapping[str, float]
    """CPU microseconds a span."""
    delay_p50_s: float
    delay_p99_s: float
    """Past the deadline, from outside."""
    behind: int
    """Spans that were not published when the sender stopped."""
    lost: int
    repeated: int
    outcomes: Mapping[str, int]

    @property
    def us(self) -> float:
        return sum(self.us_by_group.values())

    @property
    def capacity(self) -> float:
        """Spans a second that two cores with nothing else to do would carry."""
        return 2e6 / self.us


def measure(
    broker: BrokerName,
    *,
    seconds: float,
    rate: float | None,
    batch: int = 500,
    form: Form = "zstd",
    in_flight: int = 80_000,
    children: tuple[int, int] = (1, 1),
    settings: Mapping[str, object] | None = None,
) -> Figures:
    """`rate` None: as fast as `in_flight` spans between sender and consumer allow. `children`: ingest, flush."""
    with scratch_directory("span-buffer-pipeline") as directory, ExitStack() as stack:
        buffer = stack.enter_context(RedisServer(directory / "buffer"))
        queue = (RedisServer if broker == "redis" else RabbitServer)(directory / "broker")
        stack.enter_context(queue)
        environment = {env_name(name): str(value) for name, value in {**QUICK, **(settings or {})}.items()}
        environment |= {"SPANBUF_REDIS_URL": buffer.url, "SPANBUF_BROKER_URL": queue.url}
        order = Order(queue.url, form, batch, seconds, rate, in_flight)
        with buffer.client() as client:
            held = SpanBuffer(client, Settings(redis_url=SecretStr(buffer.url), broker_url=SecretStr("redis://none")))
            # As in a system that has run for a while; the first dictionary of its own would come after half a minute.
            train(held, list(cut(spans(POOL_SPANS, OTHER_SEED), 100)))
            workers = _workers(stack, directory, environment, children)
            groups = {"buffer": buffer.pid, "broker": queue.pid, **{name: each.pid for name, each in workers.items()}}
            return _run(broker, order, groups, held, float(str({**QUICK, **(settings or {})}["root_timeout"])))


def _workers(
    stack: ExitStack, directory: Path, environment: Mapping[str, str], children: tuple[int, int]
) -> dict[str, Worker | Beat]:
    ingest = Worker(directory / "ingest", environment, children=children[0], beat=False, queues=["spans.ingest"])
    flush = Worker(directory / "flush", environment, children=children[1], beat=False, queues=["spans.flush"])
    beat = Beat(directory / "beat", environment)
    for each in (ingest, flush, beat):
        stack.callback(each.kill)
    ingest.start()
    flush.start()
    beat.launch()
    return {"ingest": ingest, "flush": flush, "beat": beat}


def _run(
    broker: str, order: Order, groups: Mapping[str, int | None], held: SpanBuffer, root_timeout_s: float
) -> Figures:
    context = multiprocessing.get_context("spawn")
    published, sent = context.Value("q", 0), context.Value("q", 0)
    stop = context.Value("b", False)
    time.sleep(BEAT_S)
    consumer = _process(context, take, order.broker_url, published, stop)
    sender = _process(context, send, order, published, sent)
    before = _cpu_s(groups)
    sender.send("go")
    rates = list(_watch(sender, published, order.seconds))
    behind = sent.value - published.value
    given: Sent = sender.recv()
    _drain(sent, published)
    spent = {name: total - before[name] for name, total in _cpu_s(groups).items()}
    stop.value = True
    taken: Taken = consumer.recv()
    lost, repeated, delays = books(Pool(order.batch), given, taken, root_timeout_s)
    spent |= {"sender": given.cpu_s, "consumer": taken.cpu_s}
    return Figures(
        broker,
        order.form,
        order.batch,
        sent.value,
        sent.value / (given.at_s[-1] - given.at_s[0]),
        _steady(rates),
        {name: round(seconds * 1e6 / sent.value, 1) for name, seconds in spent.items()},
        _quantile(delays, 0.5),
        _quantile(delays, 0.99),
        behind,
        lost,
        repeated,
        held.outcomes(),
    )


def _process(context: Any, target: Any, *arguments: object) -> Connection:
    """A started process that has said that it is ready."""
    ours, theirs = context.Pipe()
    context.Process(target=target, args=(*arguments, theirs), daemon=True).start()
    theirs.close()  # so that the end of the process is the end of the pipe
    ours.recv()
    return ours  # type: ignore[no-any-return]


def _watch(sender: Connection, published: Any, seconds: float) -> Iterator[tuple[float, int]]:
    """Published by when, until the sender is done."""
    until = time.time() + seconds + DRAIN_S
    while not sender.poll(0.5) and time.time() < until:
        yield time.time(), published.value


def _steady(seen: list[tuple[float, int]]) -> float:
    after = [each for each in seen if each[0] > seen[0][0] + WARM_S]
    return (after[-1][1] - after[0][1]) / (after[-1][0] - after[0][0]) if len(after) > 1 else 0.0


def _drain(sent: Any, published: Any) -> None:
    """Until everything has come, or nothing more comes."""
    before, moved_at = -1, time.monotonic()
    while published.value < sent.value and time.monotonic() < moved_at + QUIET_S:
        if published.value != before:
            before, moved_at = published.value, time.monotonic()
        time.sleep(0.1)


def _cpu_s(groups: Mapping[str, int | None]) -> dict[str, float]:
    """Of each process tree, those that have ended and were waited for included."""
    return {name: sum(map(_of_process, _tree(pid))) for name, pid in groups.items() if pid}


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _of_process(process: psutil.Process) -> float:
    times: Any = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def books(pool: Pool, given: Sent, taken: Taken, root_timeout_s: float) -> tuple[int, int, list[float]]:
    """Lost, repeated, and the delay of each segment, in seconds."""
    came: dict[str, list[str]] = {}
    last_s: dict[str, float] = {}
    for at_s, trace_id, _, found in taken.messages:
        came.setdefault(trace_id, []).extend(found)
        last_s[trace_id] = at_s
    lost = repeated = 0
    delays: list[float] = []
    for trace_id, batch, span_ids in pool.expected(len(given.at_s)):
        got = came.get(trace_id, [])
        lost += len(span_ids - set(got))
        repeated += len(got) - len(set(got))
        if got:
            delays.append(last_s[trace_id] - given.at_s[batch] - root_timeout_s)
    return lost, repeated, delays


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, help="spans a second; without: what is sustained, then half of it")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--form", choices=("lines", "zstd"), default="zstd")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    how: dict[str, Any] = {"seconds": options.seconds, "batch": options.batch, "form": options.form}
    with signals_exit():
        found = [measure(options.broker, rate=options.rate, **how)]
        if options.rate is None:
            found.append(measure(options.broker, rate=found[0].published_a_second / 2, **how))
    console = Console()
    for figures in found:
        console.print(figures, f"{figures.us:.1f} us a span, {figures.capacity:,.0f} spans/s on two cores")
    if options.json:
        options.json.write_text(json.dumps([asdict(figures) for figures in found], indent=1))


if __name__ == "__main__":
    main()
