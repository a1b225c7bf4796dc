"""Moves slots between the nodes of a cluster, key by key, the way Redis documents it; with time between the keys.

While a slot is half here and half there, Redis answers TRYAGAIN or ASK to every script of the buffer, because each
declares a prefix that is never a key: so no script runs on half of a trace. What asked is told BufferUnavailable.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import ResponseError

from embedded.cluster import RedisClusterServers
from embedded.redis import RedisServer

_MIGRATE_MS = 5000


class SlotMove:
    """One slot on its way. ``move_keys`` moves some; when the last has gone, ``finish`` tells everybody."""

    def __init__(self, servers: RedisClusterServers, slot: int, target: RedisServer) -> None:
        self.slot = slot
        self._servers = servers
        self.source, self.target = owner(servers, slot), target

    def begin(self) -> None:
        """The target first: a source that redirects to a node that does not expect it would turn callers in circles."""
        self._set(self.target, "IMPORTING", node_id(self.source))
        self._set(self.source, "MIGRATING", node_id(self.target))

    def left(self, count: int = 10) -> list[bytes]:
        with self.source.client() as client:
            return list(client.execute_command("CLUSTER GETKEYSINSLOT", self.slot, count))

    def move(self, key: bytes) -> None:
        with self.source.client() as client:
            client.migrate("127.0.0.1", self.target.port, [key], 0, _MIGRATE_MS)

    def finish(self) -> None:
        name = node_id(self.target)
        others = [node for node in self._servers.primaries() if node not in (self.source, self.target)]
        for node in (self.target, self.source, *others):
            self._set(node, "NODE", name)

    def _set(self, node: RedisServer, state: str, name: str) -> None:
        with node.client() as client:
            client.execute_command("CLUSTER SETSLOT", self.slot, state, name)


def move_slot(servers: RedisClusterServers, slot: int, target: RedisServer, pause_s: float = 0.0) -> int:
    """All of it; ``pause_s`` after each key. How many keys moved."""
    moved = 0
    with half_moved(servers, slot, target) as move:
        while keys := move.left(1):
            move.move(keys[0])
            moved += 1
            time.sleep(pause_s)
    return moved


@contextmanager
def half_moved(servers: RedisClusterServers, slot: int, target: RedisServer) -> Iterator[SlotMove]:
    """In this block the slot is on its way; at its end what is left is moved, and the target owns it."""
    move = SlotMove(servers, slot, target)
    move.begin()
    yield move
    while True:
        for key in move.left():
            move.move(key)
        try:
            return move.finish()
        except ResponseError as error:  # a key came in between
            if "still" not in str(error):
                raise


def owner(servers: RedisClusterServers, slot: int) -> RedisServer:
    with servers.nodes[0].client() as client:
        ranges = client.execute_command("CLUSTER SLOTS")
    ports = [nodes[0][1] for first, last, *nodes in ranges if first <= slot <= last]
    return next(node for node in servers.nodes if node.port in ports)


def slot_of(node: RedisServer, key: bytes) -> int:
    with node.client() as client:
        return int(client.execute_command("CLUSTER KEYSLOT", key))


def some_slot_in_use(node: RedisServer) -> int | None:
    with node.client() as client:
        key = client.randomkey()
    return None if key is None else slot_of(node, key)


def node_id(node: RedisServer) -> str:
    with node.client() as client:
        name: bytes = client.execute_command("CLUSTER MYID")
    return name.decode()
