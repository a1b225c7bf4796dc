"""A Redis Cluster on this machine: masters that share the slots evenly.

Nothing in the embedded pipeline needs it; tests and proofs run the buffer's contract on it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from embedded.redis import START_S, RedisFailed, RedisServer


class RedisClusterServers:
    """A cluster of masters that share the slots evenly."""

    def __init__(self, directory: Path, *, masters: int = 3) -> None:
        options = {"cluster-enabled": "yes", "cluster-node-timeout": "2000"}
        self.nodes = [RedisServer(directory / f"node-{n}", options=options) for n in range(masters)]

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
        _wait_until(self._agreed, "The Redis cluster's nodes did not agree in time.")
        return self

    def _assign_slots(self) -> None:
        share = -(-16384 // len(self.nodes))
        for epoch, node in enumerate(self.nodes, start=1):
            slots = range((epoch - 1) * share, min(epoch * share, 16384))
            with node.client() as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", epoch)
                client.execute_command("CLUSTER ADDSLOTS", *slots)  # ADDSLOTSRANGE came with 7.0

    def _introduce(self) -> None:
        with self.nodes[0].client() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER MEET", "127.0.0.1", node.port)

    def _agreed(self) -> bool:
        for node in self.nodes:
            with node.client() as client:
                state = client.execute_command("CLUSTER INFO")
            if state["cluster_state"] != "ok" or int(state["cluster_known_nodes"]) != len(self.nodes):
                return False
        return True

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


def _wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > until:
            raise RedisFailed(otherwise)
        time.sleep(0.05)
