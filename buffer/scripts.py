"""Typed calls of the Lua scripts: the only module that knows the order of arguments and the shape of replies.

A pipeline sends many calls at once, to one Redis or to the nodes of a cluster. A script that a server does not know
(a restart, SCRIPT FLUSH, a promoted replica) is loaded and only the calls that failed are sent again.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias, TypeVar

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import (
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from buffer.errors import BufferFull, BufferUnavailable
from buffer.keys import Keys, member
from buffer.model import Claim, Digest, FlushId, LeaseUs, Part, Receipt, SegmentKey, Trace

Client: TypeAlias = "redis.Redis | RedisCluster"
Argument: TypeAlias = bytes | int | str

ATTEMPTS = 4
WAIT_MS = 5000


@dataclass(frozen=True, slots=True)
class Script:
    source: str
    sha: str

    @classmethod
    def named(cls, name: str) -> Script:
        source = (files("lua") / f"{name}.lua").read_text()
        return cls(source, sha1(source.encode()).hexdigest())


APPEND = Script.named("append")
CLAIM = Script.named("claim")
LOAD = Script.named("load")
CLEANUP_SEGMENT = Script.named("cleanup-segment")
CLEANUP_QUEUE = Script.named("cleanup-queue")
REQUEUE = Script.named("requeue")
COUNT_OUTCOMES = Script.named("count-outcomes")
ENQUEUE = Script.named("enqueue")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a pipeline; ``key`` decides the node."""

    key: bytes
    words: tuple[Argument, ...]
    script: Script | None = None

    @classmethod
    def evalsha(cls, script: Script, keys: Sequence[bytes], *arguments: Argument) -> Command:
        return cls(keys[0], ("EVALSHA", script.sha, len(keys), *keys, *arguments), script)


def run(client: Client, commands: Sequence[Command], *, replicas: int = 0, foreign_types: bool = False) -> list[Any]:
    """The replies, in order, when so many replicas have what was written, too.

    Raises BufferUnavailable when one may not have been done: doing all again is safe. With ``foreign_types`` a key that
    somebody else has put there with another type gives None in its place, and stops nobody else.
    """
    replies: list[Any] = [None] * len(commands)
    todo = list(range(len(commands)))
    for _ in range(ATTEMPTS):
        try:
            for i, reply in zip(todo, _send(client, [commands[i] for i in todo], replicas), strict=True):
                replies[i] = reply
            todo = [i for i in todo if isinstance(replies[i], NoScriptError | MovedError)]
            if not todo:
                break
            _mend(client, [(commands[i], replies[i]) for i in todo])
        except BufferUnavailable:
            _look_at_cluster_again(client)
            raise
        except (RedisError, RedisClusterException) as error:
            _look_at_cluster_again(client)
            raise BufferUnavailable(f"Redis did not answer: {error}. Nothing is lost; do it again.") from error
    return [None if foreign_types and _is_wrong_type(reply) else _checked(reply) for reply in replies]


def _is_wrong_type(reply: Any) -> bool:
    return isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply)


def _checked(reply: Any) -> Any:
    if isinstance(reply, OutOfMemoryError) or (isinstance(reply, ResponseError) and "-OOM " in str(reply)):
        raise BufferFull(
            "Redis has reached maxmemory and refused to write. Nothing is lost; flush, then do it again."
        ) from reply
    if isinstance(reply, Exception):
        raise BufferUnavailable(f"Redis refused: {reply}. Nothing is lost; do it again.") from reply
    return reply


def _send(client: Client, commands: Sequence[Command], replicas: int) -> list[Any]:
    """In a cluster one pipeline a node, and redirections are seen here: redis-py would follow them without the WAIT."""
    if not isinstance(client, RedisCluster):
        return _pipeline(client, commands, replicas)
    nodes: dict[str, list[int]] = {}
    clients: dict[str, redis.Redis] = {}
    for i, command in enumerate(commands):
        node: ClusterNode = client.get_node_from_key(command.key)  # type: ignore[no-untyped-call]
        nodes.setdefault(node.name, []).append(i)
        clients[node.name] = client.get_redis_connection(node)
    replies: list[Any] = [None] * len(commands)
    for name, indices in nodes.items():
        for i, reply in zip(indices, _pipeline(clients[name], [commands[i] for i in indices], replicas), strict=True):
            replies[i] = reply
    return replies


def _pipeline(client: redis.Redis, commands: Sequence[Command], replicas: int) -> list[Any]:
    if not commands:
        return []
    with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command.words)  # type: ignore[no-untyped-call]
        if replicas:
            pipe.execute_command("WAIT", replicas, WAIT_MS)  # type: ignore[no-untyped-call]
        replies = list(pipe.execute(raise_on_error=False))
    have = replies.pop() if replicas else 0
    if isinstance(have, Exception) or have < replicas:
        raise BufferUnavailable(
            f"Redis has it, but {replicas} replicas have not after {WAIT_MS} ms: {have}. Nothing is lost; do it again."
        )
    return replies


def _mend(client: Client, failed: Iterable[tuple[Command, Exception]]) -> None:
    if any(isinstance(error, MovedError) for _, error in failed):
        _look_at_cluster_again(client)
    for script in {command.script for command, _ in failed if command.script}:
        client.script_load(script.source)


def _look_at_cluster_again(client: Client) -> None:
    if isinstance(client, RedisCluster):
        with suppress(RedisError, RedisClusterException):
            client.nodes_manager.initialize()


def flat(reply: Any) -> list[Any]:
    """Field, value, field, value, ... of a hash or a zset with scores, whichever protocol the client speaks."""
    if isinstance(reply, dict):
        reply = list(reply.items())
    return [word for item in reply for word in (item if isinstance(item, list | tuple) else (item,))]


_PARTS_NAMES = struct.Struct(">HH").pack
_ROOT_SPANS_BYTES = struct.Struct(">?HI").pack


class AppendReply(NamedTuple):
    taken: int
    duplicates: int
    flushed_duplicates: int
    expired: int
    merges: int
    overflows: int
    segments: list[tuple[int, SegmentKey, int, int]]
    """Number of the trace in the call, key, state, first seen in ms.

    State: 0 waits for its root, 1 has it, 2 is full, 3 has joined another.
    """


def append(
    keys: Keys,
    traces: Sequence[tuple[Trace, Sequence[Part]]],
    *,
    now_ms: int,
    segment_ttl_ms: int,
    index_ttl_ms: int,
    max_segment_bytes: int,
    max_index_entries: int,
) -> Command:
    """In a cluster a call may have one trace, for each has its slot."""
    shape: list[bytes] = []
    words: list[Argument] = []
    for _, parts in traces:
        names: list[Argument] = [b"n"]
        for part in parts:
            ids = part.span_ids
            names += (part.parent, part.digest, *[ids[i : i + 8] for i in range(0, len(ids), 8)])
        shape.append(_PARTS_NAMES(len(parts), len(names)))
        shape += [_ROOT_SPANS_BYTES(part.has_root, part.count, part.raw_bytes) for part in parts]
        words += names
        words += [part.blob for part in parts]
    fixed = (now_ms, segment_ttl_ms, index_ttl_ms, max_segment_bytes, max_index_entries, b"".join(shape))
    hashes = [key for trace, _ in traces for key in (keys.index(trace), keys.segments(trace))]
    return Command.evalsha(APPEND, hashes, *fixed, *words)


def append_reply(reply: list[Any]) -> AppendReply:
    return AppendReply._make([*reply[:6], list(zip(*(reply[n::4] for n in range(6, 10)), strict=True))])


def enqueue(
    keys: Keys, shards: Mapping[int, tuple[Mapping[bytes, int], Collection[bytes]]], *, ttl_ms: int, latest_ms: int
) -> Command:
    """``shards``: of each the deadlines in ms by member, and the members that have joined one of them."""
    words: list[Argument] = []
    for entries, joined in shards.values():
        words += (
            len(entries),
            len(joined),
            *(word for member, ms in entries.items() for word in (ms, member)),
            *joined,
        )
    return Command.evalsha(ENQUEUE, [keys.queue(shard) for shard in shards], ttl_ms, latest_ms, *words)


def claim(keys: Keys, shard: int, *, due_ms: int, now_ms: int, lease_us: int, limit: int, ttl_ms: int) -> Command:
    zsets = (keys.queue(shard), keys.claims(shard))
    return Command.evalsha(CLAIM, zsets, due_ms, now_ms * 1000, lease_us, limit, ttl_ms)


def claim_reply(reply: list[Any]) -> list[tuple[bytes, int]]:
    """Member and deadline in ms."""
    return [(entry, int(float(deadline))) for entry, deadline in zip(reply[::2], reply[1::2], strict=True)]


class LoadReply(NamedTuple):
    fields: dict[bytes, bytes]
    expired: int
    left: SegmentKey | None
    """Holds something still, though there is nothing to publish here."""
    busy_until_ms: int
    """When another flush, that publishes what is here, has lost its lease; 0 when there is none."""


MAX_CALL_SEGMENTS = 25
"""That one call of load or cleanup-segment takes: bounds how long Redis serves nobody else."""
Named = TypeVar("Named", Claim, Receipt)


def in_calls(client: Client, named: Sequence[Named]) -> list[Sequence[Named]]:
    """What may share a call: in a cluster what is of one trace. The order within a trace stays."""
    traces: dict[Trace | None, list[Named]] = {}
    for each in named:
        traces.setdefault(each.trace if isinstance(client, RedisCluster) else None, []).append(each)
    return [
        members[start : start + MAX_CALL_SEGMENTS]
        for members in traces.values()
        for start in range(0, len(members), MAX_CALL_SEGMENTS)
    ]


def load(
    keys: Keys,
    claims: Sequence[Claim],
    *,
    now_ms: int,
    max_age_ms: int,
    segment_ttl_ms: int,
    index_ttl_ms: int,
    late_grace_ms: int,
) -> Command:
    """In a cluster a call may have one trace, for each has its slot."""
    names = [name for claim in claims for name in (keys.index(claim.trace), keys.segments(claim.trace))]
    words = [word for claim in claims for word in (claim.key, claim.lease_us)]
    return Command.evalsha(LOAD, names, now_ms, max_age_ms, segment_ttl_ms, index_ttl_ms, late_grace_ms, *words)


def load_reply(reply: list[Any]) -> LoadReply:
    """What a call says of one claim."""
    if reply[0]:
        _, expired, content = reply
        return LoadReply(dict(zip(content[::2], content[1::2], strict=True)), expired, None, 0)
    _, expired, key, busy_until_ms = reply
    return LoadReply({}, expired, SegmentKey(key) if key else None, busy_until_ms)


def cleanup_segment(
    keys: Keys, receipts: Sequence[Receipt], *, now_ms: int, late_grace_ms: int, max_index_entries: int
) -> Command:
    """In a cluster a call may have one trace, for each has its slot."""
    names = [name for receipt in receipts for name in (keys.index(receipt.trace), keys.segments(receipt.trace))]
    words = [word for receipt in receipts for word in (receipt.key, receipt.flush_id)]
    return Command.evalsha(CLEANUP_SEGMENT, names, now_ms, late_grace_ms, max_index_entries, *words)


class CleanupSegmentReply(NamedTuple):
    removed: int
    left: int
    where: SegmentKey
    expired: int
    repeated: int


def cleanup_segment_reply(reply: list[Any]) -> list[CleanupSegmentReply]:
    """A reply for each receipt of the call."""
    return [CleanupSegmentReply(*each) for each in reply]


class Ended(NamedTuple):
    """A claim to give back, and what it leaves behind."""

    trace: Trace
    key: SegmentKey
    shard: int
    lease_us: LeaseUs
    left: SegmentKey | None
    """Holds something still, and is to be queued."""
    deadline_ms: int


MAX_CALL_CLAIMS = 1000


def cleanup_queue(keys: Keys, claims: Iterable[Ended], *, ttl_ms: int) -> list[Command]:
    """A call a shard, or several."""
    shards: dict[int, list[Ended]] = {}
    for claim in claims:
        shards.setdefault(claim.shard, []).append(claim)
    return [
        _cleanup_queue(keys, shard, ended[start : start + MAX_CALL_CLAIMS], ttl_ms)
        for shard, ended in shards.items()
        for start in range(0, len(ended), MAX_CALL_CLAIMS)
    ]


def _cleanup_queue(keys: Keys, shard: int, claims: Iterable[Ended], ttl_ms: int) -> Command:
    arguments: list[Argument] = [ttl_ms]
    for trace, key, _, lease_us, left, deadline_ms in claims:
        remainder = b"" if left is None else member(trace, left)
        arguments += (member(trace, key), lease_us, remainder, deadline_ms)
    return Command.evalsha(CLEANUP_QUEUE, (keys.queue(shard), keys.claims(shard)), *arguments)


def requeue(keys: Keys, shard: int, entry: bytes, *, deadline_ms: int, ttl_ms: int) -> Command:
    return Command.evalsha(REQUEUE, (keys.queue(shard), keys.claims(shard)), entry, deadline_ms, ttl_ms)


def count_outcomes(key: bytes, outcomes: Mapping[str, int], ttl_ms: int) -> Command:
    return Command.evalsha(COUNT_OUTCOMES, (key,), ttl_ms, *(word for counter in outcomes.items() for word in counter))


RECORD_HEADER_BYTES = 38
RECORD_MARK = b"f"


class Record(NamedTuple):
    """A flush record as load.lua wrote it."""

    flush_id: FlushId
    segment_id: bytes
    reason: int
    late: bool
    digests: list[Digest]


def records(fields: dict[bytes, bytes]) -> tuple[list[Record], int]:
    """The flush records among a segment's fields, and how many fields are neither record nor part."""
    found: list[Record] = []
    foreign = 0
    for field, value in fields.items():
        if len(field) == 16:
            continue
        digests = [Digest(value[i : i + 16]) for i in range(RECORD_HEADER_BYTES, len(value), 16)]
        if len(field) == 17 and field[:1] == RECORD_MARK and digests and len(digests[-1]) == 16:
            found.append(Record(FlushId(field[1:]), value[:8], value[8], bool(value[9] & 2), digests))
        else:
            foreign += 1
    return sorted(found), foreign
