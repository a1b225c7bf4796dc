"""The two ends of the measured pipeline: a sender of yardstick spans, and a consumer of segments, each a process.

Both are as cheap as they can be, for they share the machine with what is measured: the batches are encoded before the
run and sent again and again, each round under new trace ids; the consumer takes many messages at once and only notes
what came when.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Literal

import amqp
import msgspec
import zstandard
from celery import Celery
from kombu.utils.url import parse_url
from redis import Redis

from benchmarks.yardstick import spans
from chaos.sender import INGEST
from demo.consumer import BUFFERED_SEGMENTS

Form = Literal["lines", "zstd"]
POOL_SPANS = 20_000
MARK = b"@@@@@@@@"
"""Stands for the first eight digits of every trace id, which are the round's number."""
TAKE = 100
REST_S = 0.02


@dataclass(frozen=True, slots=True)
class Order:
    broker_url: str
    form: Form
    batch: int
    seconds: float
    rate: float | None
    """Spans a second; None: as fast as `in_flight` allows."""
    in_flight: int
    """Spans that may be sent and not yet published."""


@dataclass(frozen=True, slots=True)
class Sent:
    at_s: list[float]
    """When the broker had each batch."""
    cpu_s: float


class _PublishedSpan(msgspec.Struct, gc=False):
    span_id: str


class _Envelope(msgspec.Struct, gc=False):
    """Kombu's; msgspec decodes base64 five times as fast as the standard library."""

    body: bytes


class Published(msgspec.Struct, gc=False):
    """What the consumer reads of a message."""

    trace_id: str
    flush_id: str
    spans: list[_PublishedSpan]


@dataclass(frozen=True, slots=True)
class Taken:
    messages: list[tuple[float, str, str, tuple[str, ...]]]
    """Arrival, trace, flush id, span ids."""
    cpu_s: float


class Pool:
    """The batches of one round: their text, and where the spans of each trace are."""

    def __init__(self, batch: int) -> None:
        wanted = spans(POOL_SPANS)
        cut = [wanted[start : start + batch] for start in range(0, len(wanted), batch)]
        self.texts = [b"\n".join(_marked(span.payload, span.trace_id) for span in some) for some in cut]
        self.counts = [len(some) for some in cut]
        self.last_batch: dict[str, int] = {}
        self.span_ids: dict[str, set[str]] = {}
        for number, some in enumerate(cut):
            for span in some:
                self.last_batch[span.trace_id[8:]] = number
                self.span_ids.setdefault(span.trace_id[8:], set()).add(span.span_id)

    def text(self, number: int) -> tuple[bytes, int]:
        """The text of the run's batch of this number, and how many spans it holds."""
        turn, index = divmod(number, len(self.texts))
        return self.texts[index].replace(MARK, b"%08x" % (turn + 1)), self.counts[index]

    def expected(self, batches: int) -> Iterator[tuple[str, int, set[str]]]:
        """Trace, the batch that completes it, span ids; of whole rounds and the last one as far as it went."""
        for turn in range(-(-batches // len(self.texts))):
            for tail, last in self.last_batch.items():
                number = turn * len(self.texts) + last
                if number < batches:
                    yield f"{turn + 1:08x}{tail}", number, self.span_ids[tail]


def _marked(payload: bytes, trace_id: str) -> bytes:
    return payload.replace(trace_id.encode(), MARK + trace_id[8:].encode())


def send(order: Order, published: "Synchronized[int]", sent: "Synchronized[int]", answer: Connection) -> None:
    """Begins when told, and answers with Sent."""
    pool = Pool(order.batch)
    squeeze = zstandard.ZstdCompressor(level=1).compress
    app = Celery("traffic", broker=order.broker_url, set_as_current=False)
    app.conf.task_serializer = "msgpack"
    app.conf.broker_transport_options = {"confirm_publish": True} if order.broker_url.startswith("amqp") else {}
    at_s: list[float] = []
    with app.producer_or_acquire() as producer:
        answer.send("ready")
        answer.recv()
        begun, cpu = time.time(), time.process_time()
        while time.time() < begun + order.seconds:
            text, count = pool.text(len(at_s))
            due = begun + sent.value / order.rate if order.rate else begun
            while time.time() < due or sent.value - published.value > order.in_flight:
                time.sleep(REST_S)
            body = squeeze(text) if order.form == "zstd" else text
            app.send_task("spans.ingest", args=[body], queue=INGEST, ignore_result=True, producer=producer)
            at_s.append(time.time())
            sent.value += count
        answer.send(Sent(at_s, time.process_time() - cpu))


def take(broker_url: str, published: "Synchronized[int]", stop: "Synchronized[bool]", answer: Connection) -> None:
    """Until told to stop, and answers with Taken."""
    decode = msgspec.json.Decoder(Published).decode
    messages: list[tuple[float, str, str, tuple[str, ...]]] = []
    cpu = time.process_time()
    with (_rabbitmq if broker_url.startswith("amqp") else _redis)(broker_url) as bodies:
        answer.send("ready")
        while not stop.value:
            for body in bodies():
                message = decode(body)
                ids = tuple([span.span_id for span in message.spans])
                messages.append((time.time(), message.trace_id, message.flush_id, ids))
                published.value += len(ids)
    answer.send(Taken(messages, time.process_time() - cpu))


@contextmanager
def _redis(url: str) -> Iterator[Any]:
    """Straight from the list: kombu's consumer costs more than all that is measured here."""
    envelope = msgspec.json.Decoder(_Envelope).decode
    with Redis.from_url(url) as client:

        def bodies() -> list[bytes]:
            found: Any = client.rpop(BUFFERED_SEGMENTS.name, TAKE)
            if not found:
                time.sleep(REST_S)
                return []
            return [envelope(message).body for message in found]

        yield bodies


@contextmanager
def _rabbitmq(url: str) -> Iterator[Any]:
    parts = parse_url(url)
    found: list[Any] = []
    with amqp.Connection(f"{parts['hostname']}:{parts['port']}", parts["userid"], parts["password"]) as connection:
        channel = _once_declared(connection, BUFFERED_SEGMENTS.name)
        channel.basic_qos(0, 2 * TAKE, False)
        channel.basic_consume(BUFFERED_SEGMENTS.name, callback=found.append)

        def bodies() -> Sequence[bytes]:
            found.clear()
            with suppress(TimeoutError):
                while len(found) < TAKE:
                    connection.drain_events(timeout=0.05)
            if found:
                channel.basic_ack(found[-1].delivery_tag, multiple=True)
            return [message.body for message in found]

        yield bodies


def _once_declared(connection: amqp.Connection, queue: str) -> Any:
    """A channel, when the workers have declared the queue: only they know of what type it is."""
    while True:
        channel = connection.channel()
        try:
            channel.queue_declare(queue, passive=True)
            return channel
        except amqp.NotFound:  # closes the channel
            time.sleep(0.1)
