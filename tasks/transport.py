"""The Redis broker with messages claimed atomically: where batches of spans wait for `spans.ingest`.

Kombu pops a message and stores it in `unacked` one round trip later; a worker killed in between loses it. Here one
script moves it (lua/take-message.lua), so at any time it is in its queue or in `unacked`. What the script read, the
connection tracks: when all queues are empty it rests until Redis reports that one of them changed.

Messages, publishing, acknowledging, restoring, pub/sub and reconnecting stay kombu's. For its poller this is still the
BRPOP connection: `_in_poll` is set while a reply or a report is awaited. The reasons: docs/broker.md.
"""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha1
from importlib.resources import files
from queue import Empty
from time import monotonic, time
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import kombu
import msgspec
from kombu.exceptions import OperationalError, VersionMismatch
from kombu.log import get_logger
from kombu.transport import TRANSPORT_ALIASES, _transport_cache, virtual
from kombu.transport import redis as stock
from kombu.utils.json import dumps, loads
from redis.connection import Connection
from redis.exceptions import NoScriptError, ResponseError

TESTED_KOMBU = "5.7."
OLDEST_REDIS = (6, 2)
_SCRIPT = (files("lua") / "take-message.lua").read_bytes()
_SHA = sha1(_SCRIPT, usedforsecurity=False).hexdigest()
_base64 = msgspec.json.Encoder().encode
_logger = get_logger(__name__)


def claim_atomically() -> None:
    """From now on `redis://` and `rediss://` brokers use this transport, in this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
        _transport_cache.pop(scheme, None)


def kombu_url(url: str) -> str:
    """A broker's URL as kombu spells it: `unix://` in its own way, `rediss://` so that it verifies the server."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "unix":
        query["virtual_host"] = query.pop("db", "0")
        return f"redis+socket://{parts.netloc}{parts.path}?{urlencode(query)}"
    if parts.scheme == "rediss":
        return urlunsplit(parts._replace(query=urlencode({"ssl_cert_reqs": "required", **query})))
    if parts.scheme == "amqps":
        return urlunsplit(parts._replace(query=""))
    return url


def broker_ssl(url: str) -> dict[str, object] | None:
    """What py-amqp needs to verify the name as well as the authority: by itself it looks at the authority alone.

    Redis is told in its URL. ``server_hostname`` None means the host of the URL; kombu fills it in, so every connection
    needs a copy of its own.
    """
    parts = urlsplit(url)
    if parts.scheme != "amqps":
        return None
    authority = dict(parse_qsl(parts.query)).get("ssl_ca_certs")
    return {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": authority, "server_hostname": None}


@contextmanager
def _connection_of(client: Any) -> Iterator[Connection]:
    connection = client.connection_pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()  # a reply that comes late must not be taken for the next one's
        raise
    finally:
        client.connection_pool.release(connection)


def _packed(*words: bytes) -> list[bytes]:
    """A command of megabytes, in pieces: to copy it together, as hiredis does, takes up to 6 us a span."""
    return [b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)]


class QoS(stock.QoS):
    def append(self, message: virtual.Message, delivery_tag: str) -> None:
        """The script has stored it already. What came another way, by pub/sub, kombu stores."""
        stored = delivery_tag == self.channel.taken
        (virtual.QoS if stored else stock.QoS).append(self, message, delivery_tag)

    def _remove_from_indices(self, delivery_tag: str, pipe: Any = None) -> Any:
        """Without MULTI, inside which a full server refuses even this. An index entry left alone restores nothing."""
        if pipe is not None:
            return super()._remove_from_indices(delivery_tag, pipe)
        with self.channel.conn_or_acquire() as client:
            pipeline = client.pipeline(transaction=False)
            return pipeline.hdel(self.unacked_key, delivery_tag).zrem(self.unacked_index_key, delivery_tag)


class Channel(stock.Channel):
    QoS = QoS
    taken: str | None = None  # the last delivery tag that the script stored
    _in_poll: Any = None
    _brpop_sent_at: Any = None
    _ask_at: float | None = None  # when the script runs next; None while its reply is awaited
    _prepared: object = None  # the socket that has tracking on and the script loaded
    _no_ack_queues: frozenset[str] = frozenset()

    def __init__(self, connection: Any, **kwargs: object) -> None:
        if not connection.client.transport_options.get("ack_emulation", True):
            raise ValueError("ack_emulation=False gives up what a killed worker held: take the option away.")
        super().__init__(connection, **kwargs)

    def basic_consume(self, queue: str, no_ack: bool, *args: object, **kwargs: object) -> object:
        self._no_ack_queues = self._no_ack_queues - {queue} | ({queue} if no_ack else set())
        self._ask_in(0)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: object) -> Any:
        if no_ack:
            return super().basic_get(queue, no_ack=True, **kwargs)
        with self.conn_or_acquire() as client:
            found = self._unpack(client.execute_command("EVAL", _SCRIPT, *self._arguments([queue])))
        if found:
            message = self.Message(found[1], channel=self)
            self.taken = message.delivery_tag
            self.qos.append(message, message.delivery_tag)
            return message
        return None

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: object = None,
        **options: object,
    ) -> None:
        """Also when this process has bound it before: the server may have lost it since, and what is published to an
        exchange without binding is gone."""
        exchange = exchange or "amq.direct"
        bound_before = self.state.has_binding(queue, exchange, routing_key)
        super().queue_bind(queue, exchange, routing_key, arguments, **options)
        if bound_before:
            binding = self.typeof(exchange).prepare_bind(queue, exchange, routing_key, arguments)
            self._queue_bind(exchange, *binding)

    def publish_together(self, bodies: Sequence[bytes], exchange: str, routing_key: str, **properties: object) -> None:
        """With one command for each bound queue: all of them are in it, or none. Without a binding it raises."""
        queues = self._lookup(exchange, routing_key)
        if not queues:
            raise OperationalError(f"No queue is bound to the exchange {exchange}: nothing was published.")
        messages = [self._ready(body, exchange, routing_key, **properties) for body in bodies]
        with self.conn_or_acquire() as client, _connection_of(client) as connection:
            for queue in queues:
                key = self.global_keyprefix + self._q_for_pri(queue, 0)
                connection.send_packed_command(_packed(b"LPUSH", key.encode(), *messages))
                connection.read_response()

    def _ready(self, body: bytes, exchange: str, routing_key: str, **properties: object) -> bytes:
        """As kombu writes it, and the base64 as it is: to look for what JSON must escape in 30 KB costs 3 us a span."""
        message = self.prepare_message(b"", **properties)
        self._inplace_augment_message(message, exchange, routing_key)
        del message["body"]
        message["properties"]["body_encoding"] = "base64"
        return b'{"body": ' + _base64(body) + b", " + str(dumps(message)).encode()[1:]

    def resume(self) -> None:
        """Lets the poller run the script again, when it is time and another message may be held."""
        if self._ask_at is not None and monotonic() >= self._ask_at and self.qos.can_consume():
            self._in_poll = None
            self._flush_brpop_reauth()

    def close(self) -> None:
        # Kombu delivers what is on its way, to nobody if this channel is the last, and stops half-way at a dead server.
        if self._in_poll and self._ask_at is None:
            with suppress(*self.connection_errors):
                if found := self._unpack(self._read(self._in_poll)):
                    self.qos.restore_by_tag(found[1]["properties"]["delivery_tag"])
        self._in_poll = None
        super().close()

    def _ask_in(self, seconds: float) -> None:
        if self._ask_at is not None:
            self._ask_at = monotonic() + seconds

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        connection = self.client.connection
        if self._prepared is not connection._sock:
            self._prepare(connection)
        # No health check by redis-py: it would reconnect without telling the poller. Kombu's watches over the reply.
        connection.send_command("EVALSHA", _SHA, *self._arguments(queues), check_health=False)
        self._in_poll, self._ask_at, self._brpop_sent_at = connection, None, monotonic()

    def _prepare(self, connection: Connection) -> None:
        server: Any = connection.handshake_metadata or {}
        version: bytes = server.get(b"version", b"0")
        if tuple(map(int, version.split(b".")[:2])) < OLDEST_REDIS:
            raise VersionMismatch(
                f"The broker must be Redis 6.2 or newer, spoken to in RESP3; it is {version.decode()}."
            )
        for command in (("CLIENT", "TRACKING", "ON", "NOLOOP"), ("SCRIPT", "LOAD", _SCRIPT)):
            connection.send_command(*command, check_health=False)
            connection.read_response()
        self._prepared = connection._sock

    def _arguments(self, queues: list[str]) -> list[object]:
        prefix = self.global_keyprefix
        names = queues * len(self.priority_steps)
        keys = [prefix + self._q_for_pri(queue, step) for step in self.priority_steps for queue in queues]
        return [len(keys), *keys, prefix + self.unacked_key, prefix + self.unacked_index_key, time(), *names]

    def _brpop_read(self, **options: object) -> bool:
        connection = self.client.connection
        try:
            found = self._unpack(self._read(connection))
        except self.connection_errors:
            connection.disconnect()
            raise
        if not found:
            raise Empty
        queue, message = found
        self._queue_cycle.rotate(queue)
        self.taken = message["properties"]["delivery_tag"]
        if queue in self._no_ack_queues:
            self.qos._remove_from_indices(self.taken).execute()
        self.connection._deliver(message, queue)
        return True

    def _read(self, connection: Connection) -> list[bytes]:
        if self._ask_at is not None:  # resting: this reports that a queue has changed
            if connection.can_read(timeout=0):  # else a read would hold up the whole worker until the socket's time-out
                connection.read_response(push_request=True)
            self._ask_at = 0
            return []
        self._ask_at, self._brpop_sent_at = 0, None
        try:
            reply: list[bytes] = connection.read_response()  # skips reports that are older than the script's look
        except NoScriptError:
            self._prepared = None
            return []
        except ResponseError as refusal:
            _logger.error("The broker refused to hand out a message; nothing was taken, asking again: %s", refusal)
            reply = []
        if not reply and not connection.can_read(timeout=0):  # a report may have come along with the reply
            self._ask_in(self.brpop_timeout)
        return reply

    def _unpack(self, reply: list[bytes]) -> tuple[str, dict[str, Any]] | None:
        if len(reply) == 3:
            _logger.error(
                "A message in queue %s has no delivery tag, so no kombu sent it. It is kept in the list %r: "
                "look at it with LRANGE, and DEL the list when it is not needed.",
                reply[0].decode(),
                reply[2].decode(),
            )
        return (reply[0].decode(), loads(reply[1])) if len(reply) == 2 else None


class Poller(stock.MultiChannelPoller):
    def on_poll_start(self) -> None:
        for channel in self._channels:
            channel.resume()
        super().on_poll_start()

    def get(self, callback: object, timeout: float | None = None) -> object:
        """Without an event loop nothing else wakes up a channel that rests."""
        rest = min((channel.brpop_timeout for channel in self._channels), default=1)
        return super().get(callback, rest if timeout is None else min(timeout, rest))


class Transport(stock.Transport):
    Channel = Channel
    cycle: Any

    def __init__(self, *args: object, **kwargs: object) -> None:
        if not kombu.__version__.startswith(TESTED_KOMBU):
            raise VersionMismatch(
                f"The atomic Redis transport rests on kombu {TESTED_KOMBU}x, this is {kombu.__version__}. "
                "Install a release that goes with it, or take RabbitMQ as broker."
            )
        super().__init__(*args, **kwargs)
        self.cycle = Poller()
