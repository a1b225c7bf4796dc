"""A primary, its replicas, and the sentinels that promote one of them when it is gone.

Nothing in the embedded pipeline needs it; tests and proofs fail it over. The time-outs are short, but
not as short as could be: a sentinel may take a second to reconnect to a new primary, and must not take it for dead.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from embedded.cluster import REPLICATING, wait_until
from embedded.redis import RedisServer

SERVICE = "spans"
_DOWN_AFTER_MS, _FAILOVER_MS = 2500, 3000
_SENTINEL_CONF = """\
bind 127.0.0.1
sentinel monitor {service} 127.0.0.1 {primary} {quorum}
sentinel down-after-milliseconds {service} {down_after_ms}
sentinel failover-timeout {service} {failover_ms}
sentinel parallel-syncs {service} 9
"""


class SentinelServer(RedisServer):
    """Keeps its state in a file that it rewrites; so it takes a file and no options."""

    def __init__(self, directory: Path, conf: str) -> None:
        super().__init__(directory)
        self._conf = conf

    def _arguments(self, port: int) -> list[str]:
        file = self.directory / "sentinel.conf"
        if not file.exists():
            file.write_text(f"port {port}\ndir {self.directory.absolute()}\n{self._conf}")
        return [str(file.absolute()), "--sentinel", "--port", str(port)]


class ReplicatedServer(RedisServer):
    """Comes back as a replica from its first instant. One that came back as a primary, even for a moment, would
    draw the replicas that still know its address to its empty self, and WAIT would count them."""

    follows: int | None = None

    def _arguments(self, port: int) -> list[str]:
        replica = [] if self.follows is None else ["--replicaof", "127.0.0.1", str(self.follows)]
        return [*super()._arguments(port), *replica]


class SentinelServers:
    def __init__(
        self, directory: Path, *, replicas: int = 2, sentinels: int = 3, options: Mapping[str, str] | None = None
    ) -> None:
        every = {**REPLICATING, **(options or {})}
        self.nodes = [ReplicatedServer(directory / f"redis-{n}", options=every) for n in range(1 + replicas)]
        self.sentinels: list[SentinelServer] = []
        self._directory, self._count = directory, sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def start(self) -> Self:
        primary, *replicas = self.nodes
        primary.start()
        for node in replicas:
            node.follows = primary.port
            node.start()
        conf = _SENTINEL_CONF.format(
            service=SERVICE,
            primary=primary.port,
            quorum=self._count // 2 + 1,
            down_after_ms=_DOWN_AFTER_MS,
            failover_ms=_FAILOVER_MS,
        )
        for n in range(self._count):
            self.sentinels.append(SentinelServer(self._directory / f"sentinel-{n}", conf).start())
        wait_until(self.whole, "The sentinels did not see all replicas, and one another, in time.")
        return self

    def primary_port(self) -> int:
        """As the first sentinel that runs says."""
        with next(sentinel for sentinel in self.sentinels if sentinel.running()).client() as client:
            return int(client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def primaries(self) -> list[ReplicatedServer]:
        """The node that the sentinels name, once it runs and calls itself master."""
        port = self.primary_port()
        return [node for node in self.nodes if node.running() and node.port == port and self._is_master(node)]

    def _is_master(self, node: RedisServer) -> bool:
        with node.client() as client:
            return bool(client.info("replication")["role"] == "master")

    def whole(self) -> bool:
        """All sentinels name one primary, and every other node is in sync with it, as it and they say."""
        try:
            port = self.primary_port()
            return self._replicas_online(port) and all(self._sees_all(sentinel, port) for sentinel in self.sentinels)
        except (redis.RedisError, StopIteration):
            return False

    def _replicas_online(self, port: int) -> bool:
        with redis.Redis(port=port, socket_timeout=10) as primary:
            told = primary.info("replication")
        others = range(len(self.nodes) - 1)
        return told["role"] == "master" and all(told.get(f"slave{n}", {}).get("state") == "online" for n in others)

    def _sees_all(self, sentinel: SentinelServer, port: int) -> bool:
        with sentinel.client() as client:
            master = client.sentinel_master(SERVICE)
            replicas = client.sentinel_slaves(SERVICE)
        ready = [r for r in replicas if r["flags"] == "slave"]
        agreed = master["port"] == port and master["flags"] == "master"
        return agreed and len(ready) == len(self.nodes) - 1 and master["num-other-sentinels"] == self._count - 1

    def rejoin(self, port: int) -> None:
        """The node that was killed comes back, as a replica."""
        node = next(node for node in self.nodes if node.port == port)
        node.follows = self.primary_port()
        node.start()

    def stop(self) -> None:
        for server in (*self.sentinels, *self.nodes):
            server.stop()

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
