"""A Redis Cluster on this machine: masters that share the slots evenly, each with as many replicas as asked for.

Nothing in the embedded pipeline needs it; tests and proofs run the buffer's contract on it.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from embedded.redis import START_S, RedisFailed, RedisServer

REPLICATING = {"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0"}
"""A replica that comes back is whole again at once: the default waits five seconds for others to join in."""


class RedisClusterServers:
    """``nodes`` are the masters of the first day, then their replicas; who is master later, the cluster decides."""

    def __init__(
        self, directory: Path, *, masters: int = 3, replicas: int = 0, options: Mapping[str, str] | None = None
    ) -> None:
        every = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", **REPLICATING, **(options or {})}
        self.nodes = [RedisServer(directory / f"node-{n}", options=every) for n in range(masters * (1 + replicas))]
        self._masters = masters

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def client(self) -> redis.RedisCluster:
        return redis.RedisCluster(host="127.0.0.1", port=self.nodes[0].port, socket_timeout=10)

    def start(self) -> Self:
        for node in self.nodes:
            node.start()
        self._assign_slots()
        self._introduce()
        wait_until(self._agreed, "The Redis cluster's nodes did not agree in time.")
        self._replicate()
        wait_until(self.whole, "The Redis cluster's replicas were not in sync in time.")
        return self

    def _assign_slots(self) -> None:
        share = -(-16384 // self._masters)
        for epoch, node in enumerate(self.nodes[: self._masters], start=1):
            slots = range((epoch - 1) * share, min(epoch * share, 16384))
            with node.client() as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
                client.execute_command("CLUSTER ADDSLOTS", *slots)  # ADDSLOTSRANGE came with 7.0

    def _introduce(self) -> None:
        with self.nodes[0].client() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER MEET", "127.0.0.1", node.port)

    def _replicate(self) -> None:
        for n, node in enumerate(self.nodes[self._masters :]):
            with self.nodes[n % self._masters].client() as master:
                name = master.execute_command("CLUSTER MYID")
            with node.client() as client:
                client.execute_command("CLUSTER REPLICATE", name)

    def whole(self) -> bool:
        """Every node is up, agrees on the slots, and is one of so many masters or in sync with one."""
        try:
            return len(self.primaries()) == self._masters and self._agreed()
        except redis.RedisError:
            return False

    def _agreed(self) -> bool:
        return all(self._is_well(node) for node in self.nodes)

    def _is_well(self, node: RedisServer) -> bool:
        with node.client() as client:
            state = client.execute_command("CLUSTER INFO")
            agreed = state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == len(self.nodes)
            replication = client.info("replication")
        return agreed and replication.get("master_link_status", "up") == "up"

    def primaries(self) -> list[RedisServer]:
        """The running nodes that call themselves master."""
        return [node for node in self.nodes if node.running() and self._is_master(node)]

    def _is_master(self, node: RedisServer) -> bool:
        with node.client() as client:
            return bool(client.info("replication")["role"] == "master")

    def rejoin(self, port: int) -> None:
        """The node that was killed comes back; it finds its new master by itself."""
        next(node for node in self.nodes if node.port == port).start()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_until(condition: Callable[[], bool], otherwise: str, patience_s: float = START_S) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > until:
            raise RedisFailed(otherwise)
        time.sleep(0.05)
