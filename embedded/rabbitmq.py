"""A RabbitMQ node on this machine: find the program, start, stop, kill, freeze, start again.

The other broker that spans may wait in. Nothing in the embedded pipeline needs it; `make chaos` and tests do. A node
listens on 127.0.0.1 only, keeps its port and directory over restarts, has a port mapper (epmd) and a cookie of its own,
so it meets no other Erlang node of the machine, and ends with the process that started it.
"""

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import amqp

from embedded.child import Child
from embedded.redis import free_port

START_S = 90.0
STOP_S = 30.0
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Debian's wrapper on PATH changes the user and the environment; the script behind it does neither."""

_CONFIGURATION = """\
listeners.tcp.local = 127.0.0.1:{port}
loopback_users.guest = true
log.file.level = warning
raft.wal_max_size_bytes = 67108864
"""


class RabbitMissing(RuntimeError):
    """No rabbitmq-server here. Install it (apt install rabbitmq-server, brew install rabbitmq)."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


class RabbitFailed(RuntimeError):
    """A node did not start; carries the end of its log."""


@cache
def server_program() -> str:
    found = shutil.which("rabbitmq-server", path=os.pathsep.join([*PLACES, os.environ.get("PATH", "")]))
    mapper = shutil.which("epmd")
    if found is None or mapper is None:
        raise RabbitMissing
    return found


class RabbitServer:
    def __init__(self, directory: Path, *, configuration: str = "") -> None:
        """`configuration`: further lines of rabbitmq.conf."""
        self.directory = directory
        self._configuration = configuration
        self._name = f"spans-{secrets.token_hex(4)}@localhost"
        self._port, self._mapper_port, self._distribution_port = _ports()
        self._node: Child | None = None
        self._mapper: Child | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    @property
    def log(self) -> Path:
        return self.directory / "rabbitmq.log"

    @property
    def pid(self) -> int | None:
        return self._node.pid if self._node else None

    def running(self) -> bool:
        return self._node is not None and self._node.exit_status is None

    def start(self) -> Self:
        """Returns when it takes connections."""
        self.launch()
        until = time.monotonic() + START_S
        while not self.ready():
            if not self.running() or time.monotonic() > until:
                self.kill()
                last = "\n".join(self.said().decode(errors="replace").splitlines()[-10:])
                raise RabbitFailed(f"The RabbitMQ node in {self.directory} did not start. It said:\n{last}")
            time.sleep(0.1)
        return self

    def launch(self) -> None:
        """Starts it and does not wait."""
        program = server_program()
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=self._port) + self._configuration)
        (self.directory / "plugins").write_text("[].\n")
        environment = self._environment()
        if self._mapper is None or self._mapper.exit_status is not None:
            mapper = [shutil.which("epmd") or "epmd", "-address", "127.0.0.1", "-port", str(self._mapper_port)]
            self._mapper = Child(mapper, log=self.log, cwd=self.directory, env=environment)
        self._node = Child([program], log=self.log, cwd=self.directory, env=environment)

    def ready(self) -> bool:
        """Whether a client gets in now."""
        client = amqp.Connection(f"127.0.0.1:{self._port}", connect_timeout=2, read_timeout=5, write_timeout=5)
        with suppress(OSError, amqp.AMQPError), client:
            return True
        return False

    def _environment(self) -> Mapping[str, str]:
        home = str(self.directory.absolute())
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
            "HOME": home,  # the cookie's place
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{home}/data",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            # Loopback for the distribution too; and no busy waiting on a machine that others work on.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none",
        }

    def said(self) -> bytes:
        return self.log.read_bytes() if self.log.exists() else b""

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        if self._node:
            self._node.freeze()

    def thaw(self) -> None:
        if self._node:
            self._node.thaw()

    def stop(self, grace_s: float = STOP_S) -> bool:
        """SIGTERM: closes its files and ends. False: only SIGKILL ended it."""
        in_time = self._node is None or self._node.stop(grace_s)
        self._node = None
        self._end_mapper()
        return in_time

    def kill(self) -> None:
        """SIGKILL, as a machine that dies would."""
        if self._node:
            self._node.kill()
            self._node = None
        self._end_mapper()

    def _end_mapper(self) -> None:
        if self._mapper:
            self._mapper.kill()
            self._mapper = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(STOP_S if kind is None else 0.0)


def _ports() -> tuple[int, int, int]:
    while len(ports := {free_port(), free_port(), free_port()}) < 3:
        pass
    first, second, third = ports
    return first, second, third
